"""The best trials once more with other seeds, on validation images alone, before a winner is named.

The best of many trials was lucky on its seed. A trial that was run again stands by the mean of the
others.
"""

from __future__ import annotations

import json
import math
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from analysis.plan.limits import Ending
from analysis.plan.replicate import Replicate
from analysis.ranking.leaderboard import ranked
from analysis.run.directory import RunDirectory
from analysis.run.notes import note
from analysis.run.records import TrialRecord
from analysis.run.sealed import DamagedError
from analysis.run.trial_files import RECORD
from analysis.run.working_copy import place_of, remote_of
from search.ledger.leftovers import checkpoints
from search.ledger.outbox import Outbox, replica_fact
from spaces import get_space
from spaces.objectives import metrics_of
from trainables.io.files import cut_half_line, write_whole
from trainables.io.remote import join_place


@dataclass(frozen=True)
class Job:
    """One trial to be run again with one seed; its place in jobs.json is its number among the
    replicas.
    """

    space: str
    trial: int
    seed: int


@dataclass(frozen=True)
class Rerun:
    """A job that is to run, as ``search.cluster.tune_adapters`` wants a proposal."""

    space: str
    number: int
    config: dict[str, Any]

    @property
    def key(self) -> tuple[str, int]:
        return self.space, self.number


class Replicas:
    """What ``search.cluster.tune_adapters`` asks and tells in place of the ledger; no study hears
    of it.

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
        jobs_file = self._run.path / "jobs.json"
        self._jobs = [Job(**job) for job in self._run.jobs()]
        wanted = [
            Job(record.space, record.number, seed + 1 + i)
            for record in order
            for i in range(wish.seeds)
        ]
        self._jobs += [job for job in wanted if job not in self._jobs]
        if self._jobs:
            write_whole(jobs_file, json.dumps([asdict(job) for job in self._jobs]), within=run.path)
        self._configs = {
            (record.space, record.number): dict(record.config) for record in run.records()
        }
        self._left = deque(
            number for number, job in enumerate(self._jobs) if not self._done(number, job)
        )
        told = {fact["number"] for fact, _ in outbox.read() if fact["kind"] == "replica"}
        for number, job in enumerate(self._jobs):
            # a killed driver wrote it down and did not say so
            if number not in told and self._done(number, job):
                self._tell(number)
        self._last: dict[tuple[str, int], int] = {}
        self._began: dict[tuple[str, int], float] = {}
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
        return len(self._began)

    @property
    def left(self) -> int:
        """Jobs that have not begun."""
        return len(self._left)

    @property
    def finished_reason(self) -> str:
        """Why it has come to its end; empty while one runs or is to be begun."""
        return "" if self._left or self._began else "all replicas are done"

    def tune_config(
        self, shared: Mapping[str, Any]
    ) -> Callable[[str, int, dict[str, Any]], dict[str, Any]]:
        """Makes Tune's config for a job, from what the search's own trials share."""

        def config_of(space: str, number: int, config: dict[str, Any]) -> dict[str, Any]:
            stepwise = get_space(space).reports != "nothing"
            own = {
                "space": space,
                "number": number,
                "config": config,
                "checkpoints": stepwise,
                "seed": self._jobs[number].seed,
            }
            if "how" in shared:
                own["how"] = replace(
                    shared["how"], trials=join_place(place_of(self._run.path), "trials", "cnn")
                )
            return {**shared, "gate": None, **own, "restore": self.checkpoints(space, number)}

        return config_of

    def checkpoints(self, space: str, number: int) -> list[str]:
        """That a job has left."""
        return (
            checkpoints(self._run, space, number) if get_space(space).reports != "nothing" else []
        )

    def propose(self) -> Rerun | None:
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
        self._last[key] = max((int(row["step"]) for row in self._run.steps(*key)), default=-1)
        self._began[key] = time.time()
        return Rerun(job.space, number, self._configs[job.space, job.trial])

    def report(self, key: tuple[str, int], result: Mapping[str, Any]) -> bool:
        """Write down one step; nothing is pruned."""
        step = int(result.get("step", 0))
        if key in self._last and step > self._last[key]:
            self._last[key] = step
            row = {
                "step": step,
                "time": time.time(),
                **metrics_of(result),
                "seconds": float(result.get("seconds", 0.0)),
            }
            self._run.append_step(*key, row)
        return False

    def end(self, key: tuple[str, int], result: Mapping[str, Any]) -> None:
        """Write down how one ended."""
        if key not in self._began:
            return
        space, number = key
        job, stepwise = self._jobs[number], get_space(space).reports != "nothing"
        value = result.get(self._objective)
        failure = result.get("failure")
        if not failure and not (isinstance(value, int | float) and math.isfinite(value)):
            failure = f"the trial ended and its {self._objective} was {value}"
        if stepwise and not failure:
            self.report(key, result)
        began, rows = self._began.pop(key), self._run.steps(*key)
        metrics = {} if failure else metrics_of(result)
        record = TrialRecord(
            space=space, number=number, state="FAIL" if failure else "COMPLETE",
            config=self._configs[space, job.trial],
            metrics=metrics, started=began,
            seconds=sum(row["seconds"] for row in rows) if rows else float(result.get("seconds",
            0.0)),
            node=str(result.get("node", "")), failure=failure, steps=len(rows),
        )  # fmt: skip
        # the trial's own are those that are exported
        self._drop(f"trials/{space}/{number:05d}/weights")
        self._run.write_record(record, str(result.get("log", "")), result.get("traceback"), None)
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
        if not self._left and not self._began:
            self._drop("tune")

    def _drop(self, name: str) -> None:
        shutil.rmtree(self._run.path / name, ignore_errors=True)
        if remote := remote_of(self._run.path):
            remote.delete_folder(name)
