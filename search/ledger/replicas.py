"""The best trials once more with other seeds, on validation images alone, before a winner is named.

The best of many trials was lucky on its seed. A trial that was run again stands by the mean of the
others.
"""

from __future__ import annotations

import math
import shutil
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from analysis.plan.limits import Ending
from analysis.plan.replicate import Replicate
from analysis.ranking.leaderboard import ranked
from analysis.ranking.schedule import schedule
from analysis.run.directory import RunDirectory
from analysis.run.jobs import Job, read_jobs, write_jobs
from analysis.run.notes import note
from analysis.run.sealed import DamagedError
from analysis.run.trial_files import RECORD
from analysis.run.working_copy import remote_of
from search.ledger.outbox import Outbox, replica_fact
from search.ledger.running import Running
from search.ledger.trial_source import Key, Proposal
from trainables.io.files import cut_half_line
from trainables.learners import LEARNERS


class Replicas:
    """A source of trials (``search.ledger.trial_source``) of which no study hears.

    Args:
        run: the search, which has ended.
        wish: how many trials, and seeds.
        objective: by which the best are found.
        seed: of the search: the others are those after it.
        outbox: where MLflow is told how each has ended.
        say: told when one has ended.

    Attributes:
        ending: why no more are begun, once all were.
    """

    def __init__(
        self,
        run: RunDirectory,
        wish: Replicate,
        objective: str,
        seed: int,
        outbox: Outbox,
        say: Callable[[str], None],
    ) -> None:
        self._run, self._objective, self._outbox, self._say = run.replicas, objective, outbox, say
        order = ranked(
            (record.model_copy(update={"replicas": {}}) for record in run.records()), objective
        )[: wish.top]
        self._jobs = read_jobs(self._run.path)
        wanted = [
            Job(record.space, record.number, seed + 1 + i)
            for record in order
            for i in range(wish.seeds)
        ]
        self._jobs += [job for job in wanted if job not in self._jobs]
        if self._jobs:
            write_jobs(self._run.path, self._jobs)
        self._search = run
        self._trials = {(record.space, record.number): record for record in run.records()}
        self._population = any(record.parent is not None for record in self._trials.values())
        self._left = deque(
            number for number, job in enumerate(self._jobs) if not self._done(number, job)
        )
        told = {fact["number"] for fact, _ in outbox.read() if fact["kind"] == "replica"}
        for number, job in enumerate(self._jobs):
            # a killed driver wrote it down and did not say so
            if number not in told and self._done(number, job):
                self._tell(number)
        self._running: dict[Key, Running] = {}
        self.ending: Ending | None = None

    def _done(self, number: int, job: Job) -> bool:
        try:
            record = self._run.record(job.space, number)
        except DamagedError as error:
            note(f"{error}; it is run again")
            return False
        return record is not None and record.state == "COMPLETE"

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def left(self) -> int:
        """Jobs that have not begun."""
        return len(self._left)

    @property
    def finished_reason(self) -> str:
        """Why it has come to its end; empty while one runs or is to be begun."""
        return "" if self._left or self._running else "all replicas are done"

    def propose(self) -> Proposal | None:
        """The next to run; None where there is none."""
        if not self._left:
            return None
        number = self._left.popleft()
        job = self._jobs[number]
        key = (job.space, number)
        path = self._run.trial(*key) / RECORD
        if path.is_symlink() or path.exists():  # it failed, or what it says cannot be believed
            self._run.set_trial_aside(*key)
        cut_half_line(self._run.trial(*key) / "steps.jsonl")
        trial = self._trials[job.space, job.trial]
        proposal = Proposal(job.space, number, dict(trial.config), job.seed, goes_on=True)
        if self._population:
            *way, _ = schedule(self._search, job.space, job.trial)
            before = tuple((one.until, dict(one.record.config)) for one in way)
            proposal = replace(proposal, before=before, until=trial.steps)
        self._running[key] = Running(proposal, LEARNERS[job.space].space.stepwise)
        self._running[key].go_on(self._run.steps(*key))
        return proposal

    def report(self, key: Key, result: Mapping[str, Any]) -> bool:
        """Write down one step; nothing is pruned."""
        running = self._running.get(key)
        if running and int(result.get("step", 0)) > running.last_step:
            self._run.append_step(*key, running.step({"step": 0, **result}))
        return False

    def end(self, key: Key, result: Mapping[str, Any]) -> None:
        """Write down how one ended."""
        running = self._running.get(key)
        if running is None:
            return
        space, number = key
        job = self._jobs[number]
        value = result.get(self._objective)
        failure = result.get("failure")
        if not failure and not (isinstance(value, int | float) and math.isfinite(value)):
            failure = f"the trial ended and its {self._objective} was {value}"
        if running.stepwise and not failure:
            self.report(key, result)
        del self._running[key]
        metrics = {} if failure else running.measured(result)
        record = running.record("FAIL" if failure else "COMPLETE", metrics, result, failure=failure)
        # the trial's own are those that are exported
        self._drop(f"trials/{space}/{number:05d}/weights")
        given = result.get("predictions")
        kept = None if failure or given is None else np.asarray(given, np.uint16)
        self._run.write_record(record, str(result.get("log", "")), result.get("traceback"), kept)
        self._tell(number)
        found = (
            f"failed: {failure}" if failure else f"{self._objective} {metrics[self._objective]:.4f}"
        )
        done = sum(self._done(n, j) for n, j in enumerate(self._jobs))
        self._say(
            f"{done}/{len(self._jobs)} again with other seeds: {space}/{job.trial}, seed "
            f"{job.seed}: {found}"
        )

    def _tell(self, number: int) -> None:
        job = self._jobs[number]
        if record := self._run.record(job.space, number):
            self._outbox.append(
                replica_fact(record, self._run.steps(job.space, number), job.trial, job.seed)
            )

    def clear(self) -> None:
        """Delete checkpoints, once nothing is left to go on from them."""
        if not self._left and not self._running:
            self._drop("tune")

    def _drop(self, name: str) -> None:
        shutil.rmtree(self._run.path / name, ignore_errors=True)
        if remote := remote_of(self._run.path):
            remote.delete_folder(name)
