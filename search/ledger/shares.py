"""Which of several spaces gets the next trial.

Shares are of the time that trials take, so that neither cheap nor dear trials starve the others.
Where they move, each space is tried a little first; then the one that is ahead gets two thirds of
the time and the others share the rest, but for those that cannot catch up any more, which get none
(the elimination of rising bandits, Li et al., AAAI 2020).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from statistics import median

from analysis.plan.plan import Plan
from analysis.run.records import TrialRecord
from spaces.objectives import METRICS
from trainables.learners import LEARNERS

FIRST_TRIALS = 5
"""Ended trials of a space before it is compared with the others,"""
FIRST_PART = 0.25
"""or as soon as it has had its even part of this much of the search's time."""
AHEAD = 2.0
"""Time that the space ahead gets, by what all others get together."""


@dataclass
class Spent:
    """What a space has had, and what came of it.

    Attributes:
        seconds: that its ended trials took.
        ended: how many they are.
        values: of its complete trials within the constraints, larger is better, with the seconds it
            had had by then; in the order in which they ended.
    """

    seconds: float = 0.0
    ended: int = 0
    values: list[tuple[float, float]] = field(default_factory=list)

    @property
    def best(self) -> float:
        return max((value for _, value in self.values), default=-math.inf)

    def within_reach(self, more: float) -> float:
        """The value that it may come to in ``more`` seconds. Each doubling of its time gives it at
        most what the last one gave, or, if that was luck, what it gives the best of as many normal
        draws.
        """
        if len(self.values) < 2:
            return math.inf if self.values or not self.ended else -math.inf
        then = [value for at, value in self.values if at <= self.seconds / 2]
        gained = self.best - max(then) if then else math.inf
        count = len(self.values)
        spread = self.best - median(value for _, value in self.values)
        a_doubling = max(gained, spread * math.log(2) / (2 * math.log(count)))
        return self.best + a_doubling * math.log2(1 + more / max(self.seconds, 1e-9))


class Shares:
    """Counts what each space has had, and says whose turn it is.

    Args:
        say: told, once, that a space cannot catch up.
    """

    def __init__(self, plan: Plan, say: Callable[[str], None] = lambda line: None) -> None:
        self._shares, self._objective = plan.shares, plan.objective
        self.go_by(plan)
        self._sign = 1 if METRICS[plan.objective].direction == "maximize" else -1
        self._spent = {name: Spent() for name in plan.spaces}
        self._running: dict[tuple[str, int], float] = {}
        self._most = 1
        self._say = say
        self._told: set[str] = set()

    def go_by(self, plan: Plan) -> None:
        """Look at the time limit of a plan that was changed."""
        self._limit = plan.limits.seconds or math.inf

    def begin(self, key: tuple[str, int]) -> None:
        """A trial runs from now on."""
        self._running[key] = time.monotonic()
        self._most = max(self._most, len(self._running))

    def count(self, record: TrialRecord) -> None:
        """Take in a trial that has ended."""
        self._running.pop((record.space, record.number), None)
        spent = self._spent.get(record.space)
        if spent is None or record.infeasible:
            return
        spent.ended += 1
        spent.seconds += record.seconds
        value = record.metrics.get(self._objective)
        if record.state == "COMPLETE" and not record.violations and value is not None:
            spent.values.append((spent.seconds, self._sign * value))

    def order(
        self, spaces: Collection[str], started: Mapping[str, int], seconds: float, trials: int
    ) -> list[str]:
        """The spaces, the one whose turn it is first; those that get nothing are left out.

        Args:
            spaces: those of which there is something left to try.
            started: trials of each so far.
            seconds: that the search has taken.
            trials: that are left to finish.
        """
        if self._shares == "equal":
            return sorted(spaces, key=lambda name: started[name])
        now = time.monotonic()
        ages = {name: [now - at for key, at in self._running.items() if key[0] == name]
                for name in self._spent}  # fmt: skip
        used = {name: spent.seconds + sum(ages[name]) for name, spent in self._spent.items()}
        if isinstance(self._shares, str):
            ended = sum(spent.ended for spent in self._spent.values())
            by_trials = trials * sum(used.values()) / ended if ended else math.inf
            left = min(max(0.0, self._limit - seconds) * self._most, by_trials)
            shares = self._moving(spaces, used, left)
        else:
            shares = {name: self._shares[name] for name in spaces}
        return sorted(
            shares,
            # at the very beginning none has used any time
            key=lambda name: (used[name] / shares[name], len(ages[name]), started[name]),
        )

    def _moving(
        self, spaces: Collection[str], used: Mapping[str, float], left: float
    ) -> dict[str, float]:
        """The shares of the spaces that get some, with so many seconds of trials left."""
        begun = {name for name, _ in self._running if not self._spent[name].ended}
        waiting = any(not LEARNERS[name].holds_cores for name in begun)
        enough = FIRST_PART * (sum(used.values()) + left) / len(used)
        first = max(self._spent, key=lambda name: self._spent[name].best)
        ahead, alive, new = self._spent[first], [], []
        for name in spaces:
            spent = self._spent[name]
            if not spent.ended and (name in begun or (waiting and not LEARNERS[name].holds_cores)):
                continue  # one after the other: stages of two would take twice as long
            if spent.ended < FIRST_TRIALS and used[name] < enough:
                new.append(name)
            elif name == first or (reach := spent.within_reach(left)) > ahead.best:
                alive.append(name)
            elif not ahead.values:
                alive.append(name)  # nothing has come of any yet
            elif name not in self._told:
                self._told.add(name)
                had = (
                    f"best {self._sign * spent.best:.4g}, hardly more than "
                    f"{self._sign * reach:.4g} in the time left"
                    if spent.values
                    else f"none of its {spent.ended} was complete"
                )
                best = f"{self._sign * ahead.best:.4g}"
                self._say(f"{name} gets no more trials: {had}; {first} has {best}")
        if new:
            return dict.fromkeys(new, 1.0)
        if not alive and not begun:
            return dict.fromkeys(spaces, 1.0)  # the one ahead has no more combinations
        return {name: AHEAD * max(1, len(alive) - 1) if name == first else 1.0 for name in alive}

    def so_far(self) -> dict[str, dict[str, float]]:
        """What each space has had: ``trials``, their ``seconds`` and, if there is one, the
        ``best``.
        """
        return {
            name: {
                "trials": spent.ended,
                "seconds": round(spent.seconds, 1),
                **({"best": self._sign * spent.best} if spent.values else {}),
            }
            for name, spent in self._spent.items()
        }
