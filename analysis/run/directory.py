"""The run directory: where everything about one search lies.

RUNS/NAME/run.json         who the run is, and digests of what was written with it for good
          plan.yaml        the plan, as resolved
          data.json        the dataset's facts: classes, sizes, fingerprint, skipped files
          val_labels.npy   the true classes of the validation images
          state.json       what the driver last said of itself
          provenance.json  each session's code, package versions and plan
          study.journal    the Optuna studies, one per space
          trials/SPACE/N/  trial.json, what is tried, from its beginning; steps.jsonl, its reports;
                           result.json, how it ended, log.txt, and traceback.txt of a failure;
                           predictions.npy, shares.npy; weights/ of a network: best and last epoch;
                           end/ while others may go on from it, in a population
          replicas/        the best trials run again with other seeds: jobs.json, and trials/
          start/           the bundle that networks start from, if they do
          warm-start.json  the trials of earlier searches that its samplers know, if there are any
          requests/        what was asked of the driver and is not done yet
          outbox/          what MLflow is to be told
          set-aside/       what trials that are run again had left: their records were no good
          report/          tables, plots and the HTML report
          tune/            Ray Tune's own directory: disposable

Where RUNS is a URI, this is its working copy (``analysis.run.working_copy``), and weights/,
end/ and tune/ lie at the URI alone.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.plan.plan import Plan, read_plan
from analysis.run.data_file import read_data
from analysis.run.driver_lock import is_locked, take_lock
from analysis.run.identity import name_at_first, read_identity
from analysis.run.jobs import with_replicas
from analysis.run.notes import note
from analysis.run.records import DataFacts, DriverState, TrialRecord
from analysis.run.sealed import DamagedError, RunError, read_as, sealed, unsealed
from analysis.run.trial_files import BEGUN, PREDICTIONS, RECORD, SHARES, STEPS, Integers, TrialFiles
from analysis.run.working_copy import REPLICAS, copy_of
from spaces import plugins
from trainables.io.files import append_lines, make_folder, npy_bytes, read_json, sha256, write_whole

if TYPE_CHECKING:  # numpy is loaded where an array is read: many commands need none
    import numpy as np
    import numpy.typing as npt


__all__ = ["RunDirectory", "RunError"]


@dataclass(frozen=True)
class RunDirectory:
    """One search's directory; see the module for what lies where."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def plan_file(self) -> Path:
        return self.path / "plan.yaml"

    def plan(self) -> Plan:
        """What the search was told, as its file says now.

        Raises:
            PluginError: if a plug-in that the run needs is not there, or has changed.
            PlanError: if the file is missing, or no plan.
        """
        plugins.need(self.plugins(), f"run {self.name}")
        return read_plan(self.plan_file)

    def plugins(self) -> dict[str, str]:
        """SHA-256 of the source of each plug-in that the run needs, by name, as it was when the run
        began.
        """
        if known := read_identity(self.path):
            return known.plugins
        try:  # what its last session ran with, which is no more than a note
            said = read_json(self.path / "provenance.json")[-1]["plugins"]
            return {str(name): str(sha256) for name, sha256 in said.items()}
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return {}

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
        return RunDirectory(self.path / REPLICAS)

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

    @property
    def state_file(self) -> Path:
        return self.path / "state.json"

    def trial(self, space: str, number: int) -> Path:
        return self.path / "trials" / space / f"{number:05d}"

    # --- the driver

    def identity(self) -> str:
        """The run among all runs anywhere, whatever its directory is called; empty if nothing says
        it any more.

        Raises:
            NewerError: if a newer version wrote the run.
        """
        if known := read_identity(self.path):
            return known.study
        state = self.state()
        return state.study or (f"{name_at_first(self.path)}-{state.id}" if state.id else "")

    def state(self) -> DriverState:
        """What the driver last said of itself; what a run is without that note is for its trials to
        say.

        Raises:
            NewerError: if a newer version wrote it.
        """
        try:
            return read_as(DriverState, self.state_file.read_bytes(), self.state_file)
        except FileNotFoundError:
            why = f"{self.state_file}: missing"
        except OSError as error:
            why = f"{self.state_file}: no readable file ({error.strerror})"
        except DamagedError as error:
            why = str(error)
        if self.plan_file.is_file():
            note(f"{why}; how the run stands is told by its trials alone")
        return DriverState(
            state="stopped", reason="the driver's note is missing; visiontune resume goes on"
        )

    def write_state(self, state: DriverState) -> None:
        write_whole(self.state_file, sealed(state.model_dump(mode="json")))

    def lock(self) -> int | None:
        """Take the driver's lock: a file descriptor to keep open, or None if a live driver has it,
        here or on another machine.
        """
        return None if self.elsewhere() else take_lock(self.path)

    def alive(self) -> bool:
        """Whether a driver works on this run now, here or, for a run at a URI, on another
        machine.
        """
        return is_locked(self.path) or bool(self.elsewhere())

    def elsewhere(self) -> str:
        """The other machine on which a driver works on this run now; empty if there is none."""
        copy = copy_of(self.path.parent)
        lease = copy.elsewhere(self.path.name) if copy else None
        return lease.node if lease else ""

    # --- facts and records

    def data(self) -> DataFacts:
        """What is known of the dataset.

        Raises:
            RunError: if data.json is missing, or not as it was written.
        """
        return read_data(self.path)

    def write_data(self, facts: DataFacts) -> None:
        write_whole(self.path / "data.json", facts.model_dump_json(indent=1))

    @property
    def trial_files(self) -> TrialFiles:
        return TrialFiles(self.path)

    def validation_labels(self) -> npt.NDArray[np.int64] | None:
        """(n,) true classes of the images that configurations are compared on; None, and noted, if
        they are not as they were written.
        """
        return self.trial_files.labels

    def write_validation_labels(self, labels: npt.NDArray[np.int64]) -> None:
        write_whole(self.path / "val_labels.npy", npy_bytes(labels))

    def begin_trial(self, space: str, number: int, facts: dict[str, Any]) -> None:
        """Keep what is tried; once."""
        path = self.trial(space, number) / BEGUN
        if not path.exists():
            write_whole(
                path,
                sealed({"space": space, "number": number, **facts}),
                forced=False,
                within=self.path,
            )

    def begun(self, space: str, number: int) -> dict[str, Any] | None:
        """What ``begin_trial`` kept; None if there is nothing, or nothing that can be read.

        Raises:
            NewerError: if a newer version wrote it.
        """
        path = self.trial(space, number) / BEGUN
        try:
            facts = unsealed(path.read_bytes(), path)
        except (OSError, DamagedError):
            return None
        return facts if (facts.get("space"), facts.get("number")) == (space, number) else None

    def write_record(
        self,
        record: TrialRecord,
        log: str,
        traceback: str | None,
        predictions: npt.NDArray[np.uint16] | None,
        shares: npt.NDArray[np.float16] | None = None,
        sure: bool = True,
    ) -> None:
        """Keep a finished trial; ``result.json`` comes last, so it stands for all of it.

        Args:
            shares: (n, classes) that each class was given.
            sure: a power cut shall not take these arrays.

        Raises:
            RunError: if the trial is finished already: a record is never written again.
        """
        folder = self.trial(record.space, record.number)
        path = folder / RECORD
        if path.is_symlink() or path.exists():
            raise RunError(
                f"{path}: trial {record.key} is finished, and is never written again; another "
                "driver may be at work on this run"
            )
        digests = dict(record.digests)
        write_whole(folder / "log.txt", log, within=self.path)
        if traceback:
            write_whole(folder / "traceback.txt", traceback, within=self.path)
        for name, array in ((PREDICTIONS, predictions), (SHARES, shares)):
            if array is not None:
                write_whole(folder / name, npy_bytes(array), within=self.path, forced=sure)
                digests[name] = sha256(folder / name)
        if (folder / STEPS).is_file():
            digests[STEPS] = sha256(folder / STEPS)
        whole = record.model_copy(update={"digests": digests})
        write_whole(path, sealed(whole.model_dump(mode="json")), within=self.path)

    def set_trial_aside(self, space: str, number: int) -> Path:
        """Move all that a trial has left out of the way, so that it is run again from its
        beginning; returns where it is kept.
        """
        folder = self.path / "set-aside"
        make_folder(folder, self.path)
        count, place = 1, folder / f"{space}-{number:05d}"
        while place.exists():
            count += 1
            place = folder / f"{space}-{number:05d}-{count}"
        os.rename(self.trial(space, number), place)
        return place

    def record(self, space: str, number: int) -> TrialRecord | None:
        """The record of a finished trial; None if it has none yet.

        Raises:
            DamagedError: if the file is not what was recorded of this trial.
        """
        return self.trial_files.record(space, number)

    def records(self) -> list[TrialRecord]:
        """Every finished trial, by space and number, with its replicas; one whose record cannot be
        believed is noted and left out.
        """
        return with_replicas(self.trial_files.records(), self.replicas.path)

    def ended(self) -> list[tuple[str, int]]:
        """(space, number) of every trial that has a record, without reading any."""
        return [
            (space, number)
            for space, number in self.trial_files.all()
            if (self.trial(space, number) / RECORD).is_file()
        ]

    def predictions(self, record: TrialRecord) -> Integers | None:
        """(n,) predicted classes of the validation images, where they were kept."""
        return self.trial_files.predictions(record)

    def append_step(self, space: str, number: int, row: dict[str, Any]) -> None:
        """Keep one report of a trial."""
        folder = self.trial(space, number)
        make_folder(folder, self.path)
        append_lines(folder / STEPS, json.dumps(row) + "\n", forced=False)

    def steps(
        self, space: str, number: int, record: TrialRecord | None = None
    ) -> list[dict[str, Any]]:
        """Every report of a trial: ``step`` counted from 0, ``time``, ``seconds`` and the metrics;
        half a line is left out.

        Args:
            record: of a finished one, whose digest tells whether they are all there.
        """
        return self.trial_files.steps(space, number, record.digests.get(STEPS) if record else None)

    def weights(self, space: str, number: int) -> Path:
        """Folder of a network's weights."""
        return self.trial(space, number) / "weights"

    def text(self, space: str, number: int, name: str) -> str:
        path = self.trial(space, number) / name
        try:
            return path.read_text(errors="replace")
        except FileNotFoundError:
            return ""
        except OSError as error:
            note(f"{path}: no readable file ({error.strerror})")
            return ""
