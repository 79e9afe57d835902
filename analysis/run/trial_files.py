"""A trial's own files, and whether they can be believed: its record, the array and the steps beside
it.

A record says with SHA-256 digests what lies beside it. Where it is of a version that wrote none,
what it says is compared with the predictions that were kept; what contradicts itself is no record,
and its trial is run again when the search goes on.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from analysis.run.identity import read_identity
from analysis.run.notes import note
from analysis.run.records import TrialRecord
from analysis.run.sealed import DamagedError, read_as
from analysis.run.working_copy import REPLICAS
from spaces.errors import UserError, on_one_line
from trainables.io.files import read_json, read_npy, sha256

if TYPE_CHECKING:  # numpy is loaded where an array is read: many commands need none
    import numpy as np
    import numpy.typing as npt

RECORD, BEGUN, PREDICTIONS, STEPS = "result.json", "trial.json", "predictions.npy", "steps.jsonl"
LABELS = "val_labels.npy"
SHARES = "shares.npy"
FRACTIONS = ("val_accuracy", "balanced_accuracy", "macro_f1", "train_accuracy", "test_accuracy")
"""Metrics that lie between 0 and 1."""
SAME = 1e-6
"""Accuracies of the same images that differ by less are the same."""
Integers: TypeAlias = "npt.NDArray[np.integer[Any]]"


class UnreadableError(UserError):
    """A file that this user may not read: what it holds may be whole."""


def read_bytes(path: Path) -> bytes:
    """A file's content.

    Raises:
        FileNotFoundError: if it is not there.
        UnreadableError: if it may not be read.
        DamagedError: if it is no file.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise UnreadableError(
            f"{path}: cannot be read ({error.strerror}); make it readable for this user"
        ) from None
    except OSError as error:
        raise DamagedError(f"{path}: no readable file ({error.strerror})") from None


class TrialFiles:
    """Reads the trials of one run directory.

    Args:
        run: its path.
    """

    def __init__(self, run: Path) -> None:
        self._run = run

    def all(self) -> list[tuple[str, int]]:
        """Space and number of every trial that has a folder, in order."""
        found = [
            (path.parent.name, int(path.name))
            for path in (self._run / "trials").glob("*/*")
            if path.name.isdecimal()
        ]
        return sorted(found)

    def folder(self, space: str, number: int) -> Path:
        return self._run / "trials" / space / f"{number:05d}"

    def record(self, space: str, number: int) -> TrialRecord | None:
        """The record of a finished trial; None if it has none yet.

        Raises:
            DamagedError: if what is there is not the record of this trial, or contradicts the
                predictions beside it.
            NewerError: if a newer version wrote it.
            UnreadableError: if it may not be read.
        """
        path = self.folder(space, number) / RECORD
        try:
            record = read_as(TrialRecord, read_bytes(path), path)
        except FileNotFoundError:
            return None
        if (record.space, record.number) != (space, number):
            raise DamagedError(f"{path}: not what was recorded here, but trial {record.key}")
        if why := _no_accuracy(record) or self._contradiction(record):
            raise DamagedError(f"{path}: not what was recorded ({why})")
        return record

    def records(self) -> Iterator[TrialRecord]:
        """The record of every finished trial, in order; one that cannot be believed is noted and
        left out.

        Raises:
            NewerError: if a newer version wrote one.
            UnreadableError: if one may not be read.
        """
        for space, number in self.all():
            try:
                record = self.record(space, number)
            except DamagedError as error:
                self.note_lost(space, number, str(error))
                continue
            if record is not None:
                yield record
            else:
                self.note_lost(space, number)

    def note_lost(self, space: str, number: int, why: str = "") -> None:
        """Note that a trial does not count, as its record is damaged, or gone where there was one.

        Args:
            why: what is wrong with its record; nothing where it has none.
        """
        folder = self.folder(space, number)
        if not why and (folder / "log.txt").exists():  # written just before the record
            why = f"{folder / RECORD}: missing"
        if why:
            note(
                f"{why}; trial {space}/{number} does not count, and is run again when the search "
                "goes on: visiontune resume"
            )

    def predictions(self, record: TrialRecord) -> Integers | None:
        """(n,) predicted classes, if they were kept and are as they were written; else None, and
        noted if they should be there.
        """
        found = self._predictions(record.space, record.number, record.digests.get(PREDICTIONS))
        if isinstance(found, str):
            note(f"{found}; nothing is said that needs the predictions of trial {record.key}")
            return None
        return found

    def _predictions(self, space: str, number: int, digest: str | None) -> Integers | str | None:
        """The array; why it cannot be used; or None if there is none and there should be none."""
        path = self.folder(space, number) / PREDICTIONS
        try:
            if digest and sha256(path) != digest:
                return f"{path}: not what was recorded (its SHA-256 is another)"
            found = read_npy(path)
        except FileNotFoundError:
            return f"{path}: missing" if digest else None
        except (ValueError, OSError) as error:
            return (
                on_one_line(error)
                if isinstance(error, ValueError)
                else f"{path}: no readable file ({error.strerror})"
            )
        if found.ndim != 1 or found.dtype.kind not in "iu":
            return (
                f"{path}: predictions are (n,) integers, but it holds {found.dtype} {found.shape}"
            )
        if self.labels is not None and len(found) != len(self.labels):
            return (
                f"{path}: of {len(found):,} images, but there are {len(self.labels):,} true "
                f"classes in {LABELS}"
            )
        return found

    @cached_property
    def labels(self) -> npt.NDArray[np.int64] | None:
        """(n,) true classes of the validation images; None, and noted, if they are not there as
        they were written.
        """
        # replicas, which have no plan of their own, are judged by the images of their run
        within = self._run.name == REPLICAS and not (self._run / "plan.yaml").exists()
        run = self._run.parent if within else self._run
        path, identity = run / LABELS, read_identity(run)
        wanted = identity.sha256s.get(LABELS) if identity else None
        try:
            found = read_npy(path)
            why = (
                ""
                if wanted in (None, sha256(path))
                else f"{path}: not what was written (its SHA-256 is another)"
            )
            if found.ndim != 1 or found.dtype.kind not in "iu":
                why = (
                    f"{path}: true classes are (n,) integers, but it holds {found.dtype} "
                    f"{found.shape}"
                )
        except FileNotFoundError:
            why = (
                f"{path}: missing"
                if wanted or any((self._run / "trials").glob(f"*/*/{PREDICTIONS}"))
                else ""
            )
            found = None
        except (ValueError, OSError) as error:
            why, found = (
                (
                    str(error)
                    if isinstance(error, ValueError)
                    else f"{path}: no readable file ({error.strerror})"
                ),
                None,
            )
        if found is not None and not why and wanted is None and self._contradicted(found):
            why = f"{path}: contradicts the accuracies of the trials whose predictions were kept"
        if why:
            note(
                f"{why}; no interval, comparison or confusion matrix without it; visiontune "
                "resume writes it again from the images"
            )
            return None
        return None if found is None else found.astype("int64")

    def _contradicted(self, labels: Integers) -> bool:
        """Whether more of the first trials whose predictions were kept contradict these labels than
        agree with them.
        """
        agree = contradict = 0
        for path in sorted((self._run / "trials").glob(f"*/*/{PREDICTIONS}"))[:20]:
            try:
                said = read_json(path.parent / RECORD)["metrics"]["val_accuracy"]
                given = read_npy(path)
                same = (
                    given.shape == labels.shape
                    and abs(float((given == labels).mean()) - float(said)) < SAME
                )
            except (OSError, ValueError, KeyError, TypeError):
                continue
            agree, contradict = agree + same, contradict + (not same)
        return contradict > max(agree, 1)

    def _contradiction(self, record: TrialRecord) -> str:
        """How a record contradicts the predictions beside it; empty if it does not, or nobody can
        tell.
        """
        said = record.metrics.get("val_accuracy")
        if PREDICTIONS in record.digests:
            return ""  # both are as they were written, or the array is not and is not believed
        if (
            record.state != "COMPLETE"
            or said is None
            or not (self.folder(record.space, record.number) / PREDICTIONS).is_file()
        ):
            return ""
        given = self._predictions(record.space, record.number, record.digests.get(PREDICTIONS))
        if given is None or isinstance(given, str) or self.labels is None:
            return ""
        there = float((given == self.labels).mean())
        return (
            ""
            if abs(there - said) < SAME
            else (
                f"val_accuracy {said:.6g}, but {PREDICTIONS} beside it has {there:.6g} of the "
                "images right"
            )
        )

    def steps(self, space: str, number: int, digest: str | None = None) -> list[dict[str, Any]]:
        """Every report of a trial; half a last line is left out, and any other that is no report is
        noted.
        """
        path = self.folder(space, number) / STEPS
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            if digest:
                note(
                    f"{path}: missing; nothing is said of how trial {space}/{number} went along "
                    "the way"
                )
            return []
        except OSError as error:
            note(
                f"{path}: no readable file ({error.strerror}); nothing is said of how trial "
                f"{space}/{number} went along the way"
            )
            return []
        lines = content.split(b"\n")[:-1]
        rows = [row for line in lines if (row := _step(line)) is not None]
        if digest and hashlib.sha256(content).hexdigest() != digest:
            note(
                f"{path}: not what was recorded (its SHA-256 is another); what is said of trial "
                f"{space}/{number} along the way may be wrong"
            )
        elif len(rows) < len(lines):
            note(f"{path}: {len(lines) - len(rows)} of its lines are no reports, and are left out")
        return rows


def _step(line: bytes) -> dict[str, Any] | None:
    """One report, if it is one."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    fits = (
        isinstance(row, dict)
        and type(row.get("step")) is int
        and all(_number(row.get(name)) for name in ("time", "seconds"))
    )
    return {name: value for name, value in row.items() if _number(value)} if fits else None


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _no_accuracy(record: TrialRecord) -> str:
    """Which of a record's accuracies is none; empty if all are."""
    shares: Mapping[str, float] = {
        name: record.metrics[name] for name in FRACTIONS if name in record.metrics
    }
    for name, value in [
        *shares.items(),
        *((f"accuracy_by_k {k}", value) for k, value in enumerate(record.accuracy_by_k, 1)),
    ]:
        if not (math.isfinite(value) and 0 <= value <= 1):
            return f"{name} is {value}, and an accuracy lies between 0 and 1"
    return ""
