"""The outbox: what MLflow is to be told, kept as one JSON line a fact until it is told.

The driver only appends: it never waits for a server. ``search.tracking.sender`` reads on from
where it last came to, whenever it can.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Field, TypeAdapter, with_config
from typing_extensions import TypedDict

from analysis.run.notes import note
from analysis.run.records import State, TrialRecord
from trainables.io.files import append_lines, cut_half_line, make_folder, set_aside, write_whole


@with_config(ConfigDict(extra="allow"))
class _Fact(TypedDict):
    """What any fact is; a later version may say more in one."""


class RunFact(_Fact):
    """The message that a driver began: MLflow gets the plan and the dataset as params, the versions
    as tags.

    Attributes:
        study: the identity of the run; None in messages of the first release.
        data: ``spec``, ``classes``, ``sizes`` and ``fingerprint`` of the dataset; None where there
            is no dataset.
    """

    kind: Literal["run"]
    time: float
    note: str
    params: dict[str, Any]
    tags: dict[str, str]
    study: NotRequired[str]
    data: NotRequired[dict[str, Any] | None]


class _Ended(_Fact):
    """A record (``analysis.run.records.TrialRecord``), and every step that the trial reported."""

    space: str
    number: int
    state: State
    config: dict[str, Any]
    metrics: dict[str, float]
    accuracy_by_k: list[float]
    started: float
    seconds: float
    node: str
    failure: str | None
    pruned_by: str | None
    violations: list[str]
    parent: NotRequired[int | None]
    history: NotRequired[list[dict[str, Any]]]


class TrialFact(_Ended):
    """A trial ended."""

    kind: Literal["trial"]


class ReplicaFact(_Ended):
    """One ended that was run again: trial ``of``, with another seed; its own number is among the
    replicas.
    """

    kind: Literal["replica"]
    of: int
    seed: int


class ReportFact(_Fact):
    """The report was written; ``files`` by their paths in the run."""

    kind: Literal["report"]
    files: list[str]


class EndFact(_Fact):
    """The driver stopped, and the run is in ``state``."""

    kind: Literal["end"]
    time: float
    state: Literal["running", "finished", "stopped", "failed"]
    metrics: dict[str, float]


class UnreadableFact(_Fact):
    """The disk lost it: it is told again if it was a trial's."""

    kind: Literal["unreadable"]


Fact = RunFact | TrialFact | ReplicaFact | ReportFact | EndFact | UnreadableFact
UNREADABLE: UnreadableFact = {"kind": "unreadable"}


def trial_fact(record: TrialRecord, history: list[dict[str, Any]]) -> TrialFact:
    """A finished trial, with every step it reported."""
    fact: Any = {"kind": "trial", **record.model_dump(mode="json"), "history": history}
    told: TrialFact = fact
    return told


def replica_fact(
    record: TrialRecord, history: list[dict[str, Any]], of: int, seed: int
) -> ReplicaFact:
    """The same of trial ``of`` run again with another seed."""
    fact: Any = {**trial_fact(record, history), "kind": "replica", "of": of, "seed": seed}
    told: ReplicaFact = fact
    return told


@functools.cache
def _reader() -> TypeAdapter[Fact]:
    return TypeAdapter(Annotated[Fact, Field(discriminator="kind")])


def _fact(line: bytes) -> Fact:
    try:
        return _reader().validate_python(json.loads(line))
    except (ValueError, RecursionError):
        return UNREADABLE


class Outbox:
    """The facts of one run, in the order they happened: all that writes or reads them.

    Attributes:
        seconds: that appending has taken: all that a search ever waits for MLflow.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._facts = folder / "facts.jsonl"
        self._cursor = folder / "sent.json"
        self._mirrored = folder / ".mirrored"
        self.seconds = 0.0

    def repair(self) -> None:
        """Drop half a line that a killed driver left, move aside what is no outbox, and forget a
        mark of what was sent that no longer fits; for the driver, before it appends.
        """
        make_folder(self._folder, self._folder.parent)
        for path in (self._facts, self._cursor):
            if path.is_symlink() or (path.exists() and not path.is_file()):
                note(
                    f"{path}: no file; moved to {set_aside(path)}, and MLflow is told "
                    "everything again"
                )
        cut_half_line(self._facts)
        if self._cursor.is_file() and not self.sent():
            self.mark_sent(
                0, self.place()
            )  # or it may fit again by chance, once the file has grown

    def append(self, fact: Fact) -> None:
        began = time.perf_counter()
        make_folder(self._folder, self._folder.parent)
        append_lines(self._facts, json.dumps(fact, ensure_ascii=False) + "\n")
        self.seconds += time.perf_counter() - began

    def read(self, offset: int = 0, most: int | None = None) -> Iterator[tuple[Fact, int]]:
        """Facts from byte ``offset`` on, each with the offset behind it; only whole lines."""
        if not self._facts.is_file():
            return
        with open(self._facts, "rb") as file:
            file.seek(offset)
            for count, line in enumerate(file):
                if not line.endswith(b"\n") or (most is not None and count >= most):
                    return
                offset += len(line)
                yield _fact(line), offset

    def sent(self) -> int:
        """Offset behind the last fact that MLflow has for certain; 0 if in doubt, since sending
        twice does no harm.
        """
        try:
            offset = int(json.loads(self._cursor.read_bytes())["offset"])
            if offset <= 0:
                return 0
            with open(self._facts, "rb") as file:
                file.seek(offset - 1)
                return offset if file.read(1) == b"\n" else 0
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return 0

    def place(self) -> str:
        """The MLflow that was last sent to; empty if nothing says it."""
        try:
            return str(json.loads(self._cursor.read_bytes())["place"])
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return ""

    @property
    def mirrored(self) -> bool:
        """Whether the run is at a URI too."""
        return self._mirrored.is_file()

    def mark_mirrored(self, offset: int) -> None:
        """Let no more be sent than lies at the run's URI: who goes on from there must not meet in
        MLflow what it does not know.
        """
        write_whole(self._mirrored, str(offset), within=self._folder.parent)

    def sendable(self, most: int) -> list[tuple[Fact, int]]:
        """The next facts for MLflow, ``most`` at a time."""
        limit = int(self._mirrored.read_text()) if self.mirrored else None
        return [
            (fact, offset)
            for fact, offset in self.read(self.sent(), most)
            if limit is None or offset <= limit
        ]

    def mark_sent(self, offset: int, place: str = "") -> None:
        """Note that MLflow at ``place`` has all up to ``offset`` for certain."""
        content = json.dumps({"offset": offset, "place": place})
        write_whole(self._cursor, content, within=self._folder.parent)

    def waiting(self) -> int:
        """How many facts MLflow has not been told for certain."""
        if not self._facts.is_file():
            return 0
        with open(self._facts, "rb") as file:
            file.seek(self.sent())
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
