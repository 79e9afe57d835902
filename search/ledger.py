"""The ledger of one search: what is to be tried, what was begun, what came out.

It knows the studies, the run directory and the outbox, and nothing of Ray. A trial's end
is written in an order that a kill at any moment leaves repairable: its record first, then
the study, then the outbox. ``Ledger`` mends on opening what a killed driver left between.
"""

from __future__ import annotations

import heapq
import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.leaderboard import METRICS, ranked
from analysis.records import RunDirectory, TrialRecord
from search.outbox import Outbox
from search.plan import Plan
from search.study import CONFIG, SpaceStudy, open_storage
from spaces.domain import Value

KEPT_PREDICTIONS = 10
"""Predictions are kept of trials that were among this many best when they ended."""

Key = tuple[str, int]


@dataclass(frozen=True)
class Proposal:
    """A trial to run: the space, its number there, and its complete configuration."""

    space: str
    number: int
    config: dict[str, Value]

    @property
    def key(self) -> Key:
        return self.space, self.number


class Ledger:
    """Opens or continues the studies of a run.

    Attributes:
        finished_reason: why no more trials are proposed; empty while they are.
        best: the best finished trial so far, as the leaderboard ranks them.
        gave_up: whether too many trials failed since the ledger was opened.
    """

    def __init__(self, run: RunDirectory, plan: Plan) -> None:
        self._run = run
        self._plan = plan
        self.outbox = Outbox(run.outbox)
        self.outbox.repair()
        storage = open_storage(run.journal)
        spaces = plan.search_spaces()
        self._studies = {name: SpaceStudy(storage, space, plan.sampler, plan.seed) for name, space in spaces.items()}
        self._exhausted: set[str] = set()
        self._running: dict[Key, Proposal] = {}
        self._unfinished: deque[Key] = deque()
        self.counts = {"COMPLETE": 0, "PRUNED": 0, "FAIL": 0}
        self._started = dict.fromkeys(self._studies, 0)
        self._top: list[float] = []
        self.best: TrialRecord | None = None
        self.finished_reason = ""
        self.gave_up = False
        self._recover()
        self._failed_before = self.counts["FAIL"]

    # --- what to try

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def done(self) -> int:
        """Trials that count towards the plan's number."""
        return self.counts["COMPLETE"] + self.counts["PRUNED"]

    def propose(self) -> Proposal | None:
        """The next trial to run, or None: wait, or ``finished_reason`` says why there is no more."""
        if self.counts["FAIL"] - self._failed_before > self._plan.max_failed:
            self.gave_up = True
            self._finish(f"{self.counts['FAIL'] - self._failed_before} trials failed (max_failed: {self._plan.max_failed})")
            return None
        if self.done >= self._plan.trials:
            self._finish(f"all {self._plan.trials} trials are done")
            return None
        if self.done + self.running >= self._plan.trials:
            return None
        while self._unfinished:
            space, number = self._unfinished.popleft()
            return self._begin(space, *self._studies[space].continue_trial(number))
        for space in sorted(self._studies, key=lambda name: self._started[name]):
            if space in self._exhausted:
                continue
            asked = self._studies[space].ask()
            if asked is not None:
                self._started[space] += 1
                return self._begin(space, *asked)
            self._exhausted.add(space)
        self._finish(f"the grid has no more than {self.done} combinations")
        return None

    def _begin(self, space: str, number: int, config: dict[str, Value]) -> Proposal:
        proposal = Proposal(space, number, config)
        self._running[proposal.key] = proposal
        return proposal

    def _finish(self, reason: str) -> None:
        """No more trials: the search ends once those that run have ended."""
        if not self._running:
            self.finished_reason = reason

    # --- what came out

    def end(self, key: Key, result: Mapping[str, Any]) -> TrialRecord | None:
        """Write down how a trial ended; None if it is not running (Tune may tell an end twice).

        Args:
            result: what the trainable returned, or a ``failure`` that says what became of it.
        """
        proposal = self._running.get(key)
        if proposal is None:
            return None
        value = result.get(self._plan.objective)
        failure = result.get("failure")
        if not failure and (not isinstance(value, int | float) or not math.isfinite(value)):
            failure = f"the trial ended without a finite {self._plan.objective}: got {value!r}"
        seconds = float(result.get("seconds", 0.0))
        record = TrialRecord(
            space=proposal.space,
            number=proposal.number,
            state="FAIL" if failure else "COMPLETE",
            config=proposal.config,
            metrics={} if failure else {name: float(result[name]) for name in METRICS if name in result},
            accuracy_by_k=() if failure else tuple(result.get("accuracy_by_k", ())),
            started=float(result.get("started", time.time() - seconds)),
            seconds=seconds,
            node=str(result.get("node", "")),
            failure=failure,
        )
        predictions = result.get("predictions")
        keep = predictions if not failure and self._among_best(float(value or 0.0)) else None
        traceback = result.get("traceback") or failure
        self._run.write_record(record, result.get("log", ""), traceback, None if keep is None else np.asarray(keep, np.uint16))
        self._tell(record)
        self.outbox.append(trial_fact(record))
        del self._running[key]
        self._count(record)
        return record

    def _tell(self, record: TrialRecord) -> None:
        study = self._studies[record.space]
        if record.state == "COMPLETE":
            study.complete(record.number, record.metrics[self._plan.objective], record.metrics | {"seconds": record.seconds})
        else:
            study.fail(record.number, record.failure or "")

    def _count(self, record: TrialRecord) -> None:
        self.counts[record.state] += 1
        self.best = next(iter(ranked([record, *([self.best] if self.best else [])], self._plan.objective)), None)

    def _among_best(self, value: float) -> bool:
        if len(self._top) < KEPT_PREDICTIONS:
            heapq.heappush(self._top, value)
            return True
        return heapq.heappushpop(self._top, value) < value or value == self._top[0]

    # --- what a killed driver left

    def _recover(self) -> None:
        """Count what is finished, tell what was written but not told, queue what was begun."""
        told = {(fact["space"], fact["number"]) for fact, _ in self.outbox.read() if fact["kind"] == "trial"}
        for space, study in self._studies.items():
            for trial in study.trials():
                self._started[space] += 1
                record = self._run.record(space, trial.number)
                if record is None and not trial.state.is_finished():
                    self._unfinished.append((space, trial.number))
                    continue
                if record is None:  # finished by someone else's hand: the study is all there is
                    record = _record_of(space, trial)
                if not trial.state.is_finished():
                    self._tell(record)
                if (space, trial.number) not in told:
                    self.outbox.append(trial_fact(record))
                self._count(record)
                if self._plan.objective in record.metrics:
                    self._among_best(record.metrics[self._plan.objective])


def _record_of(space: str, trial: Any) -> TrialRecord:
    """What the study alone knows of a finished trial."""
    attributes = trial.user_attrs
    return TrialRecord(
        space=space,
        number=trial.number,
        state=trial.state.name,
        config=attributes.get(CONFIG, trial.params),
        metrics={name: attributes[name] for name in METRICS if name in attributes},
        started=trial.datetime_start.timestamp() if trial.datetime_start else 0.0,
        seconds=trial.duration.total_seconds() if trial.duration else 0.0,
        failure=None if trial.state.name == "COMPLETE" else "its record is missing",
    )


def trial_fact(record: TrialRecord) -> dict[str, Any]:
    """A finished trial as the outbox keeps it."""
    return {"kind": "trial", **record.model_dump(mode="json")}
