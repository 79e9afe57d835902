"""Finished stages on disk, for the next search: whole, checked, and within a size limit.

    CACHE/DIGEST.safetensors   the arrays of the result
          DIGEST.json          the stage's name and settings, and the SHA-256 of the arrays' file

Files appear whole or not at all, the JSON last, so it stands for both. A file that is not
what its JSON says is thrown away and its stage computed again. Only data is stored: arrays
in safetensors and JSON, nothing that reading could execute.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import mmap
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from trainables.io.files import read_json, remove, write_whole
from trainables.stages.stage import NO_CACHE, Cache, Stage

logger = logging.getLogger("visiontune.cache")
ARRAY = ""
"""The key of a result that is one array; a dict of arrays has its own keys."""
TYPES = {"U8": np.uint8, "I64": np.int64}
"""Of arrays that can be left on the disk."""
GIB = 2**30
DAMAGED = (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
"""What reading a file raises that does not hold what was written."""
LEFTOVER_SECONDS = 3600.0
"""Age at which a temporary file was left by a process that was killed."""


@dataclass(frozen=True)
class KeptResult:
    """One kept result.

    Attributes:
        stage: its function's name and settings.
        bytes: on disk, both files together.
        used: when it was last read or written, Unix seconds.
    """

    digest: str
    stage: str
    bytes: int
    used: float


@dataclass(frozen=True)
class DiskCache:
    """Results of stages in one folder, shared by whoever runs searches there.

    Args:
        folder: made when first written to.
        limit: bytes that it may hold; the least recently used results go first.
    """

    folder: Path
    limit: int

    def has(self, stage: Stage) -> bool:
        return _worth_keeping(stage) and self._note(stage.digest).is_file()

    def read(self, stage: Stage) -> Any:
        """The result; None if there is none, or if it was damaged, which is then thrown away."""
        arrays = self._found(stage, lambda data, facts: load(_whole(data.read_bytes(), facts)))
        return arrays if arrays is None or set(arrays) != {ARRAY} else arrays[ARRAY]

    def mapped(self, stage: Stage, checked: bool = False) -> dict[str, Any] | None:
        """The arrays of a result as ``read`` gives them, left on the disk until they are looked at.

        Args:
            checked: compare the SHA-256 too, which looks at all of them, and not the size alone.
        """

        def mapped(data: Path, facts: dict[str, Any]) -> dict[str, Any]:
            with open(data, "rb") as file:
                whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if len(whole) != facts["bytes"]:
                raise ValueError("its size differs")
            return _laid_out(np.frombuffer(_whole(whole, facts) if checked else whole, np.uint8))

        return self._found(stage, mapped)

    def _found(
        self, stage: Stage, read: Callable[[Path, dict[str, Any]], dict[str, Any]]
    ) -> dict[str, Any] | None:
        if not self.has(stage):
            return None
        note, data = self._note(stage.digest), self._data(stage.digest)
        try:
            arrays = read(data, read_json(note))
        except FileNotFoundError:
            # another process made room meanwhile, or a file was removed by hand
            self._drop(stage.digest)
            return None
        except (*DAMAGED, SafetensorError) as error:
            logger.warning(
                "cache: %s of %s is damaged (%s); thrown away, computed again", data, stage, error
            )
            self._drop(stage.digest)
            return None
        with contextlib.suppress(OSError):
            os.utime(note)
        return arrays

    def write(self, stage: Stage, result: Any) -> None:
        """Keep a result of arrays; what cannot be written is logged and left."""
        arrays = _arrays(result)
        if arrays is None or not _worth_keeping(stage):
            return
        content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
        facts = {
            "stage": str(stage),
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            "written": time.time(),
        }
        if len(content) > self.limit:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for place in (self._note(stage.digest), self._data(stage.digest)):
                if place.is_dir():  # nothing of ours, and in the way
                    remove(place)
            write_whole(self._data(stage.digest), content, forced=False)
            write_whole(self._note(stage.digest), json.dumps(facts), forced=False)
            self._make_room()
        except OSError as error:
            logger.warning(
                "cache: %s could not be kept in %s (%s); the search goes on without it",
                stage,
                self.folder,
                error,
            )

    def entries(self) -> list[KeptResult]:
        """What is kept, the most recently used first."""
        return sorted(self._entries(), key=lambda entry: (-entry.used, entry.digest))

    def clear(self) -> int:
        """Remove everything kept, and what killed writers left; returns how many results there
        were.
        """
        entries = self.entries()
        for entry in entries:
            self._drop(entry.digest)
        self._sweep(0.0)
        return len(entries)

    def _entries(self) -> Iterator[KeptResult]:
        for note in self.folder.glob("*.json"):
            if not re.fullmatch(r"[0-9a-f]{64}", note.stem):
                continue
            try:
                about, size = note.stat(), self._data(note.stem).stat().st_size
                name = str(read_json(note)["stage"])
            except DAMAGED:
                name, size = "damaged", 0
                with contextlib.suppress(OSError):
                    about = note.stat()
                    yield KeptResult(note.stem, name, about.st_size, about.st_mtime)
                continue
            yield KeptResult(note.stem, name, size + about.st_size, about.st_mtime)

    def _make_room(self) -> None:
        """Drop the least recently used results until the rest fits the limit."""
        entries = self.entries()
        total = sum(entry.bytes for entry in entries)
        while entries and total > self.limit:
            oldest = entries.pop()
            self._drop(oldest.digest)
            total -= oldest.bytes
        self._sweep(LEFTOVER_SECONDS)

    def _sweep(self, age: float) -> None:
        """Remove temporary files, and data that no note stands for, of at least this age in
        seconds.
        """
        for path in (*self.folder.glob(".*"), *self.folder.glob("*.safetensors")):
            if path.suffix == ".safetensors" and path.with_suffix(".json").exists():
                continue
            with contextlib.suppress(OSError):
                if time.time() - path.stat().st_mtime >= age:
                    path.unlink()

    def _drop(self, digest: str) -> None:
        for path in (self._note(digest), self._data(digest)):
            remove(path)

    def _note(self, digest: str) -> Path:
        return self.folder / f"{digest}.json"

    def _data(self, digest: str) -> Path:
        return self.folder / f"{digest}.safetensors"


def stage_cache(runs_dir: Path, gib: float) -> Cache:
    """The cache of the searches in ``runs_dir``, of at most ``gib`` GiB; 0 is none at all."""
    return cache_folder(runs_dir, int(gib * GIB)) if gib > 0 else NO_CACHE


def cache_folder(runs_dir: Path, limit: int = 0) -> DiskCache:
    """The cache of the searches in ``runs_dir``; to look at or clear, a limit means nothing."""
    return DiskCache(runs_dir.absolute() / ".cache" / "stages", limit)


def shards_folder(runs_dir: Path) -> Path:
    """Where images are packed for the searches in ``runs_dir``."""
    return runs_dir.absolute() / ".cache" / "shards"


def _whole(content: Any, facts: dict[str, Any]) -> Any:
    """``content`` itself, if it is what its note says."""
    if hashlib.sha256(content).hexdigest() != facts["sha256"]:
        raise ValueError("SHA-256 differs")
    return content


def _laid_out(content: np.ndarray[Any, Any]) -> dict[str, Any]:
    """The arrays in the bytes of a safetensors file, none of which is copied."""
    begin = 8 + int.from_bytes(content[:8].tobytes(), "little")
    header = json.loads(content[8:begin].tobytes())
    return {
        name: content[begin + about["data_offsets"][0] : begin + about["data_offsets"][1]]
        .view(TYPES[about["dtype"]])
        .reshape(about["shape"])
        for name, about in header.items()
    }


def _worth_keeping(stage: Stage) -> bool:
    """Not what is large and quick to make, nor the dataset itself."""
    return not stage.large and stage.content is None


def _arrays(result: Any) -> dict[str, Any] | None:
    if isinstance(result, np.ndarray):
        return {ARRAY: result}
    if (
        isinstance(result, dict)
        and result
        and all(isinstance(value, np.ndarray) for value in result.values())
    ):
        return result
    return None
