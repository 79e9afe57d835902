"""How long a search will still take, from what its trials took so far."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from analysis.run.records import TrialRecord

ENOUGH = 5
"""Trials from which a pace is told: the first wait for workers, and for stages, too."""
HALF, SEEN = 10, 200
"""So many trials ago counts half as much as now, since costs may rise or fall as a search goes on;
what is older than the second counts nothing.
"""
LATE = 1.5
"""A trial that has run for so many times what it should is longer than those that have ended."""
IDLE = 5.0
"""Seconds between two trials that still are the search's own; more is a pause between sessions."""


@dataclass
class Costs:
    """Seconds of the latest trials of one kind, each with its place among all, and how many there
    were in all.
    """

    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=SEEN))
    places: deque[int] = field(default_factory=lambda: deque(maxlen=SEEN))
    count: int = 0

    def add(self, seconds: float, place: int) -> None:
        """Take in one more."""
        self.seconds.append(seconds)
        self.places.append(place)
        self.count += 1

    def mean(self, now: int) -> float:
        """Weighted by how recent each is."""
        weights = [0.5 ** ((now - place) / HALF) for place in self.places]
        return math.fsum(map(math.prod, zip(weights, self.seconds, strict=True))) / sum(weights)


@dataclass(frozen=True)
class Running:
    """A trial that has begun, at ``started`` in Unix seconds."""

    space: str
    config: Mapping[str, object]
    started: float


@dataclass(frozen=True)
class Left:
    """What is expected of the rest of a search.

    Attributes:
        seconds: until it ends.
        trials: that end in them.
    """

    seconds: float
    trials: int


class Pace:
    """Takes in trials as they end, and says what the rest will take.

    Where many cheap trials share what a dear one has paid for, the first few are dear ones, and a
    mean over them would promise hours: the first trial of a prefix and those after it are counted
    apart, and how many of each are to come is what the sampler makes of their costs.

    Args:
        prefixes: space to the parameters that decide what is dear about a trial; none for most.
        most: trials of a prefix, on average, however little they cost, where the sampler goes by
            their costs; None where it does not.
    """

    def __init__(self, prefixes: Mapping[str, Sequence[str]], most: float | None) -> None:
        self._prefixes, self._most = prefixes, most
        self._paid: dict[str, dict[tuple[object, ...], float]] = {}
        self._dear: dict[str, Costs] = {}
        self._cheap: dict[str, Costs] = {}
        self._spaces: deque[str] = deque(maxlen=SEEN)
        self._count = 0
        self._work = self._wall = 0.0
        self.last_end = -math.inf

    def count(self, record: TrialRecord) -> None:
        """Take in a trial that has ended; in the order in which they do."""
        if record.infeasible or record.state == "FAIL":
            return
        end, space = record.started + record.seconds, record.space
        fade = 0.5 ** (1 / HALF)
        since = max(0.0, min(end - self.last_end, record.seconds + IDLE))
        if self.last_end == -math.inf:
            since = record.seconds
        self._work = fade * self._work + record.seconds
        self._wall = fade * self._wall + since
        self.last_end = max(self.last_end, end)
        key = self._key(space, record.config)
        paid = self._paid.setdefault(space, {})
        # who began before its stages were there has waited for them, as the first has
        waited = record.started < paid.setdefault(key, end)
        kind = self._dear if waited and key else self._cheap
        costs = kind.setdefault(space, Costs())
        costs.add(record.seconds, self._count)
        self._spaces.append(space)
        self._count += 1

    def left(
        self, trials: int, seconds: float, running: Sequence[Running] = (), now: float = -math.inf
    ) -> Left | None:
        """What is to be expected; None before there is enough to go by.

        Args:
            trials: that are left to finish, those that run among them.
            seconds: until a time limit.
            now: Unix seconds.
        """
        if self._count < ENOUGH or not self._work:
            return None
        ages = [max(0.0, now - trial.started) for trial in running]
        work = self._work + sum(ages)
        wall = self._wall + (min(max(0.0, now - self.last_end), max(ages)) if ages else 0.0)
        to_come = max(0, trials - len(running))
        expected = [self._expected(trial) for trial in running]
        late = [age for age, of in zip(ages, expected, strict=True) if age > LATE * of]
        # what ended first is what took least: those that are late were no part of the mean
        longer = sum(late) / min(self._count, HALF)
        coming = self._each(to_come, running) + longer if to_come else 0.0
        begun = sum(max(0.0, of - age) for age, of in zip(ages, expected, strict=True))
        needed = (coming * to_come + begun + longer * len(late)) * wall / work
        if needed <= seconds:
            return Left(needed, max(0, trials))
        part = max(0.0, seconds) / needed
        return Left(max(0.0, seconds), round(part * trials))

    def _key(self, space: str, config: Mapping[str, object]) -> tuple[object, ...]:
        """What is dear about a trial."""
        return tuple(config.get(name) for name in self._prefixes.get(space, ()))

    def _expected(self, trial: Running) -> float:
        """Seconds that a trial which runs takes in all."""
        now = self._count
        dear, cheap = self._dear.get(trial.space), self._cheap.get(trial.space)
        when = self._paid.get(trial.space, {}).get(self._key(trial.space, trial.config), math.inf)
        paid = trial.started >= when
        costs = (cheap or dear) if paid else (dear or cheap)
        return costs.mean(now) if costs else self._each(1, ())

    def _each(self, trials: int, running: Sequence[Running]) -> float:
        """Seconds that a trial to come takes by itself, on average."""
        weights = dict.fromkeys(self._spaces, 0.0)
        for age, name in enumerate(reversed(self._spaces)):
            weights[name] += 0.5 ** (age / HALF)
        total = sum(weights.values())
        return sum(
            weight / total * self._of_space(name, max(1.0, trials * weight / total), running)
            for name, weight in weights.items()
        )

    def _of_space(self, name: str, trials: float, running: Sequence[Running]) -> float:
        """The same of one space, of which so many are to come."""
        now, dear, cheap = self._count, self._dear.get(name), self._cheap.get(name)
        if not dear or not cheap:
            costs = dear or cheap
            assert costs is not None
            return costs.mean(now)
        paid, ended = self._paid[name], dear.count + cheap.count
        share = dear.count / ended
        if self._most is not None:
            ratio = max(1.0, median(dear.seconds) / max(1e-3, median(cheap.seconds)) - 1)
            target = min(self._most, 2.0 ** round(math.log2(ratio)))
            if target >= 2:  # else the sampler does not share
                of_it = [trial for trial in running if trial.space == name]
                being_paid = {self._key(name, trial.config) for trial in of_it} - set(paid)
                tried = ended + len(of_it) + trials
                bought = max(0.0, tried / target - len(paid) - len(being_paid))
                share = min(1.0, bought * dear.count / len(paid) / trials)
        return share * dear.mean(now) + (1 - share) * cheap.mean(now)
