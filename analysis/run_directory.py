"""The run directory: where everything about one search lies.

RUNS/NAME/plan.yaml          the plan, as resolved
          data.json          the dataset's facts: classes, sizes, fingerprint, skipped files
          val_labels.npy     the true classes of the validation images
          state.json         what the driver last said of itself
          provenance.json    each session's code, package versions and plan
          study.journal      the Optuna studies, one per space
          trials/SPACE/N/    result.json, log.txt; steps.jsonl, a line a report;
                             traceback.txt of a failure; predictions.npy of a trial
                             that was among the best; weights/ of a network: best and last epoch
          replicas/          the best trials run again with other seeds: jobs.json says which, and trials/ as above
          start/             the bundle that networks start from, if they do
          requests/          what was asked of the driver and is not done yet
          outbox/            what MLflow is to be told
          report/            tables, plots and the HTML report
          tune/              Ray Tune's own directory: disposable

Where RUNS is a URI, this is its working copy (``analysis.working_copy``), and weights/ and tune/ lie at the URI alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.records import DataFacts, DriverState, TrialRecord
from analysis.working_copy import copy_of, working_copy
from spaces.errors import UserError, on_one_line
from trainables.files import append_lines, npy_bytes, read_json, write_whole
from trainables.remote import is_uri

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class RunError(UserError):
    """A run, or a trial of it, that does not exist or does not hold what was asked for."""


@dataclass(frozen=True)
class RunDirectory:
    """One search's directory; see the module for what lies where."""

    path: Path

    @classmethod
    def find(cls, run: str, runs_dir: Path) -> RunDirectory:
        """The run called ``run``, or at the path or URI ``run``; fetched first, where the runs directory is at a URI.

        Raises:
            RunError: if there is none; says which there are.
            RemoteError: if the URI cannot be read.
        """
        if is_uri(run):
            place, mark, query = run.partition("?")
            parent, _, run = place.rstrip("/").rpartition("/")
            runs_dir = working_copy(parent + mark + query)
        if copy := copy_of(runs_dir):
            if NAME.fullmatch(run):
                copy.fetch(run, driver_here=cls(runs_dir / run)._locked())
            if not (runs_dir / run / "plan.yaml").is_file():
                others = ", ".join(copy.names()[:8]) or "none yet"
                raise RunError(f"no run {run!r} in {copy.remote.uri}; there are {others}")
        for path in (runs_dir / run, Path(run)):
            with contextlib.suppress(OSError):  # a name too long for a file is no run either
                if (path / "plan.yaml").is_file():
                    return cls(path.absolute())
        names = sorted(p.parent.name for p in runs_dir.glob("*/plan.yaml")) if runs_dir.is_dir() else []
        there = f"there are {', '.join(names[:8])}" if names else "there are none yet"
        raise RunError(f"no run {run!r} in {runs_dir}; {there}")

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def plan_file(self) -> Path:
        return self.path / "plan.yaml"

    @property
    def journal(self) -> Path:
        return self.path / "study.journal"

    @property
    def outbox(self) -> Path:
        return self.path / "outbox"

    @property
    def start(self) -> Path:
        return self.path / "start"

    @property
    def replicas(self) -> RunDirectory:
        return RunDirectory(self.path / "replicas")

    @property
    def report(self) -> Path:
        return self.path / "report"

    @property
    def stop_file(self) -> Path:
        return self.path / "stop"

    @property
    def requests(self) -> Path:
        return self.path / "requests"

    @property
    def log_file(self) -> Path:
        return self.path / "driver.log"

    def trial(self, space: str, number: int) -> Path:
        return self.path / "trials" / space / f"{number:05d}"

    # --- the driver

    def state(self) -> DriverState:
        try:
            return DriverState.model_validate_json((self.path / "state.json").read_bytes())
        except FileNotFoundError:
            return DriverState(id=uuid.uuid4().hex[:8], state="stopped", reason="never started")

    def write_state(self, state: DriverState) -> None:
        write_whole(self.path / "state.json", state.model_dump_json())

    def lock(self) -> int | None:
        """Take the driver's lock: a file descriptor to keep open, or None if a live driver has it, here or on another machine.

        The kernel holds it for the process, so a dead driver holds nothing.
        """
        if self.elsewhere():
            return None
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        for _ in range(20):  # somebody who only looks holds it for an instant
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return descriptor
            except BlockingIOError:
                time.sleep(0.05)
        os.close(descriptor)
        return None

    def alive(self) -> bool:
        """Whether a driver works on this run now, here or, for a run at a URI, on another machine."""
        return self._locked() or bool(self.elsewhere())

    def elsewhere(self) -> str:
        """The other machine on which a driver works on this run now; empty if there is none."""
        copy = copy_of(self.path.parent)
        lease = copy.elsewhere(self.path.name) if copy else None
        return lease.node if lease else ""

    def _locked(self) -> bool:
        """Whether a driver on this machine works on this run now."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False

    # --- facts and records

    def data(self) -> DataFacts:
        try:
            return DataFacts.model_validate_json((self.path / "data.json").read_bytes())
        except FileNotFoundError:
            raise RunError(f"{self.path}: no data.json; the search ended before it had read its images, run it again") from None

    def write_data(self, facts: DataFacts) -> None:
        write_whole(self.path / "data.json", facts.model_dump_json(indent=1))

    def validation_labels(self) -> npt.NDArray[np.int64] | None:
        """(n,) true classes of the images that configurations are compared on."""
        try:
            return np.asarray(np.load(self.path / "val_labels.npy", allow_pickle=False))
        except FileNotFoundError:
            return None

    def write_validation_labels(self, labels: npt.NDArray[np.int64]) -> None:
        write_whole(self.path / "val_labels.npy", npy_bytes(labels))

    def write_record(self, record: TrialRecord, log: str, traceback: str | None, predictions: npt.NDArray[np.uint16] | None) -> None:
        """Keep a finished trial; ``result.json`` comes last, so it stands for all of it."""
        folder = self.trial(record.space, record.number)
        write_whole(folder / "log.txt", log)
        if traceback:
            write_whole(folder / "traceback.txt", traceback)
        if predictions is not None:
            write_whole(folder / "predictions.npy", npy_bytes(predictions))
        write_whole(folder / "result.json", record.model_dump_json(indent=1))

    def record(self, space: str, number: int) -> TrialRecord | None:
        """The record of a finished trial; None if it has none yet.

        Raises:
            RunError: if the file is not what this program writes.
        """
        path = self.trial(space, number) / "result.json"
        try:
            return TrialRecord.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise RunError(f"{path}: not a trial's record ({on_one_line(error)}); remove the folder to run the trial again") from error

    def records(self) -> list[TrialRecord]:
        """Every finished trial, by space and number, with its replicas."""
        keys, replicas = sorted(self._trial_keys()), self.replicated()
        records = [record for space, number in keys if (record := self.record(space, number)) is not None]
        return [record.model_copy(update={"replicas": replicas.get(record.key, {})}) for record in records] if replicas else records

    def replicated(self) -> dict[str, dict[int, dict[str, float]]]:
        """Of each trial that was run again with every seed that was asked for: seed to metrics."""
        jobs_file = self.replicas.path / "jobs.json"
        if not jobs_file.is_file():
            return {}
        found: dict[str, dict[int, dict[str, float]]] = {}
        unfinished = set()
        for number, job in enumerate(read_json(jobs_file)):
            key, record = f"{job['space']}/{job['trial']}", self.replicas.record(job["space"], number)
            if record is None:
                unfinished.add(key)
            elif record.state == "COMPLETE":
                found.setdefault(key, {})[int(job["seed"])] = record.metrics
        return {key: metrics for key, metrics in found.items() if key not in unfinished}

    def _trial_keys(self) -> Iterator[tuple[str, int]]:
        for path in (self.path / "trials").glob("*/*"):
            if re.fullmatch(r"\d+", path.name):
                yield path.parent.name, int(path.name)

    def ended(self) -> Iterator[tuple[float, str, int]]:
        """(when its record was written, space, number) of every finished trial, without reading any."""
        for space, number in self._trial_keys():
            with contextlib.suppress(FileNotFoundError):
                yield (self.trial(space, number) / "result.json").stat().st_mtime, space, number

    def predictions(self, record: TrialRecord) -> npt.NDArray[np.uint16] | None:
        """(n,) predicted classes of the validation images, kept for trials that were among the best."""
        try:
            return np.asarray(np.load(self.trial(record.space, record.number) / "predictions.npy", allow_pickle=False))
        except FileNotFoundError:
            return None

    def append_step(self, space: str, number: int, row: dict[str, Any]) -> None:
        """Keep one report of a trial."""
        folder = self.trial(space, number)
        folder.mkdir(parents=True, exist_ok=True)
        append_lines(folder / "steps.jsonl", json.dumps(row) + "\n", forced=False)

    def steps(self, space: str, number: int) -> list[dict[str, Any]]:
        """Every report of a trial: ``step`` counted from 0, ``time``, ``seconds`` and the metrics; half a line is left out."""
        try:
            lines = (self.trial(space, number) / "steps.jsonl").read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return []
        return [json.loads(line) for line in lines]

    def weights(self, space: str, number: int) -> Path:
        """Folder of a network's weights."""
        return self.trial(space, number) / "weights"

    def text(self, space: str, number: int, name: str) -> str:
        path = self.trial(space, number) / name
        return path.read_text() if path.is_file() else ""
