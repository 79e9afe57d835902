"""The running count of a search: trials by state, the best so far, and all that limits look at."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable, Iterable

from analysis.plan.limits import SearchTotals
from analysis.plan.plan import Plan
from analysis.ranking.leaderboard import ranked
from analysis.ranking.pace import Left, Pace, Running
from analysis.run.records import TrialRecord
from search.ledger.running import Running as RunningTrial
from search.ledger.shares import Shares
from spaces.objectives import METRICS

KEPT_PREDICTIONS = 10
"""Predictions are kept of trials that were among this many best when they ended,"""
KEPT_BYTES = 512 * 2**20
"""and of all others while those of one run take no more than this."""
KEPT_SHARES = 20
"""What they give each class is kept of trials that were among this many best of their space."""


class Tally:
    """Counts finished trials, in the order they ended.

    Attributes:
        counts: COMPLETE, PRUNED and FAIL trials of all sessions.
        infeasible: how many of the PRUNED were not run, since they break a constraint.
        best: the best trial so far, as the leaderboard ranks them.
        shares: what each space has had.
    """

    def __init__(self, plan: Plan, say: Callable[[str], None] = lambda line: None) -> None:
        self.shares = Shares(plan, say)
        self._pace = Pace(plan.prefixes(), plan.suffixes())
        self._objective = plan.objective
        self._metric = METRICS[plan.objective]
        self._limits = plan.limits
        self.counts = {"COMPLETE": 0, "PRUNED": 0, "FAIL": 0}
        self.infeasible = 0
        self.best: TrialRecord | None = None
        self.gpu_seconds = 0.0
        self._gained_at: float | None = None
        self._since_gain = 0
        self._failed_in_a_row = 0
        self._top: dict[str, list[float]] = {}
        self._before = (0, 0)

    def go_by(self, plan: Plan) -> None:
        """Look at the limits of a plan that was changed."""
        self._limits = plan.limits
        self.shares.go_by(plan)

    def begin_session(self) -> None:
        """Count failures afresh: whoever resumes a search that gave up means it."""
        self._before = (self.counts["FAIL"], self.infeasible)
        self._failed_in_a_row = 0

    @property
    def done(self) -> int:
        """Trials that count towards the plan's number."""
        return self.counts["COMPLETE"] + self.counts["PRUNED"] - self.infeasible

    def count(self, record: TrialRecord) -> None:
        self.shares.count(record)
        self._pace.count(record)
        self.counts[record.state] += 1
        self.gpu_seconds += record.gpu_seconds
        if record.infeasible:
            self.infeasible += 1
            return
        if record.state == "FAIL":
            self._failed_in_a_row += 1
            return
        self._failed_in_a_row = 0
        self._since_gain += 1
        if record.state == "PRUNED" or record.violations or self._objective not in record.metrics:
            return
        value = record.metrics[self._objective]
        if self._gained_at is None or self._metric.better(value, self._with_gain(self._gained_at)):
            self._gained_at, self._since_gain = value, 0
        self.best = ranked([record, *([self.best] if self.best else [])], self._objective)[0]

    def _with_gain(self, value: float) -> float:
        gain = self._limits.plateau.gain if self._limits.plateau else 0.0
        return value + gain if self._metric.direction == "maximize" else value - gain

    def among_best(self, value: float, space: str = "") -> bool:
        """Whether a value of the objective is among the best so far, of all trials or of those of a
        space; these include it from now on.
        """
        score = value if self._metric.direction == "maximize" else -value
        top = self._top.setdefault(space, [])
        if len(top) < (KEPT_SHARES if space else KEPT_PREDICTIONS):
            heapq.heappush(top, score)
            return True
        return heapq.heappushpop(top, score) < score or score == top[0]

    def room_for(self, size: int) -> bool:
        """Whether as many predictions as there are trials, of ``size`` bytes each, may be kept."""
        return (self.counts["COMPLETE"] + 1) * size <= KEPT_BYTES

    def left(self, plan: Plan, seconds: float, running: Iterable[RunningTrial]) -> Left | None:
        """What is to be expected of the rest; None before enough trials have ended to tell.

        Args:
            plan: how far the search goes.
            seconds: since the run began, all sessions together.
            running: trials.
        """
        begun = [Running(one.proposal.space, one.proposal.config, one.started) for one in running]
        until = (plan.limits.seconds or math.inf) - seconds
        return self._pace.left(plan.trials - self.done, until, begun, time.time())

    def standing(self, trials: int, seconds: float, gpu_seconds: float) -> SearchTotals:
        """How the search stands.

        Args:
            trials: the plan's number.
            seconds: since the run began, all sessions together.
            gpu_seconds: of trials that run now.
        """
        best = self.best.metrics[self._objective] if self.best else None
        reached = (
            best is not None
            and self._limits.target is not None
            and not self._metric.better(self._limits.target, best)
        )
        return SearchTotals(
            trials=trials,
            done=self.done,
            seconds=seconds,
            gpu_hours=(self.gpu_seconds + gpu_seconds) / 3600,
            best=best,
            reached=reached,
            since_gain=self._since_gain,
            failed=self.counts["FAIL"] - self._before[0],
            failed_in_a_row=self._failed_in_a_row,
            infeasible=self.infeasible - self._before[1],
        )
