"""Image files of which memory should not hold all: read once, on all cores, as small as they are
asked for, and packed into files that are mapped into memory (``trainables.stages.shards``).

A shard holds a run of files, known by their names, sizes and times and by how they are read, so
that another search begins from what there is, and a process that was killed has lost the run that
it was at.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from spaces.errors import DatasetError, UserError, echo
from trainables.images.image_file import Reading, outcomes, read_header
from trainables.images.rule import Needs, UInt8, middle
from trainables.io.remote import ListedFile, fetched
from trainables.stages.cache import DiskCache
from trainables.stages.shards import PIXELS, Shards, kept
from trainables.stages.stage import Stage

VARIABLE = "VISIONTUNE_PACKED_GIB"
MOST_GIB = 2.0
"""What images may take of the memory unless the environment variable says otherwise."""
PROBED = 200
"""Files whose headers tell how large images are."""
SHARD_BYTES, FEWEST, MOST = 2**27, 64, 2048
"""Of a shard, about, and the images that it may have."""
AT_ONCE = 8
"""Shards whose files are being read at a time."""
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Estimate:
    """What images are by the headers of some of them.

    Attributes:
        bytes: that all of them take.
        width, height: of the one in the middle, pixels.
    """

    bytes: int
    width: int
    height: int

    @property
    def shorter(self) -> int:
        return min(self.width, self.height)


def most_in_memory() -> int:
    """Bytes of images that are not packed.

    Raises:
        UserError: if the environment variable that says it is no number from 0 on.
    """
    given = os.environ.get(VARIABLE, "")
    try:
        gib = float(given or MOST_GIB)
        if not 0 <= gib < 2**30:
            raise ValueError
    except ValueError:
        raise UserError(
            f"{VARIABLE} must be a number of GiB from 0 on, but got {echo(given)}"
        ) from None
    return int(gib * 2**30)


def estimate(some: Sequence[Path], count: int, how: Reading) -> Estimate:
    """What ``count`` images take when they are read, by some of their files."""
    sizes = [header.size for path in some if (header := read_header(path))]
    seen = np.array([_size(*size, how) for size in sizes] or [(1, 1)], np.float64)
    mean = float(seen.prod(axis=1).mean()) * (1 if how.color == "grey" else 3)
    width, height = (int(side) for side in np.median(seen, axis=0))
    return Estimate(int(mean * count), width, height)


def _size(width: int, height: int, how: Reading) -> tuple[int, int]:
    left, top, right, bottom = middle(width, height, how.rule.fit)
    width, height = right - left, bottom - top
    if how.rule.fit == "pad":
        width = height = max(width, height)
    scale = min(1.0, (how.max_side or max(width, height)) / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def packed_images(**parameters: Any) -> Any:
    """Names the stages of shards, which are made by ``FileRuns``."""
    raise NotImplementedError


@dataclass(frozen=True)
class FileRuns:
    """Makes shards of files.

    Attributes:
        paths, names: of all files; names as they lie below ``uri``, if there is one.
        runs: first and last + 1 of those of each shard.
        uri: where the files lie if they are not here, or empty ones in their places; what is
            fetched of them is not kept. Empty for none.
    """

    paths: tuple[str, ...]
    runs: tuple[tuple[int, int], ...]
    how: Reading
    names: tuple[str, ...] = ()
    uri: str = ""

    def __call__(self, number: int) -> dict[str, Any]:
        """A shard's images in a row, their (n, 3) shapes, 0 × 0 where there is none, and why.

        Raises:
            RemoteError: if its files cannot be fetched.
        """
        return packed(self.outcomes(range(*self.runs[number])))

    def outcomes(self, rows: Sequence[int]) -> Iterator[UInt8 | Needs | DatasetError]:
        """What is in the files at ``rows``, in their order."""
        with self._opened(rows) as paths:
            for row, path, found in zip(rows, paths, outcomes(paths, self.how), strict=True):
                if isinstance(found, DatasetError):
                    found = DatasetError(str(found).replace(str(path), self.paths[row]))
                yield found

    @contextmanager
    def _opened(self, rows: Sequence[int]) -> Iterator[list[Path]]:
        files = [Path(self.paths[row]) for row in rows]
        if not self.uri or all(map(_whole, files)):
            yield files
            return
        with fetched(self.uri, [self.names[row] for row in rows]) as copies:
            yield copies

    def sound(self, found: dict[str, Any]) -> bool:
        """Whether each file of a shard could be read."""
        return not any(isinstance(why, str) for why in json.loads(found["said"].tobytes()).values())

    def mended(self, number: int, found: dict[str, Any]) -> bool:
        """Whether a file can be read now that could not be: the disk or the network was at
        fault.
        """
        said, start = json.loads(found["said"].tobytes()), self.runs[number][0]
        bad = [start + int(row) for row, reason in said.items() if isinstance(reason, str)]
        return bool(bad) and any(
            not isinstance(outcome, DatasetError) for outcome in self.outcomes(bad)
        )


def _whole(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def packed(found: Iterator[UInt8 | Needs | DatasetError]) -> dict[str, Any]:
    """What a shard holds of files."""
    pixels, shapes, said = bytearray(), [], {}
    for row, outcome in enumerate(found):
        if isinstance(outcome, np.ndarray):
            pixels += np.ascontiguousarray(outcome).reshape(-1).data
            shapes.append((*outcome.shape, 1)[:3])
        else:
            shapes.append((0, 0, 0))
            said[row] = asdict(outcome) if isinstance(outcome, Needs) else str(outcome)
    return {
        PIXELS: np.frombuffer(bytes(pixels), np.uint8),
        "shapes": np.array(shapes, np.int64).reshape(-1, 3),
        "said": np.frombuffer(json.dumps(said).encode(errors="surrogatepass"), np.uint8),
    }


def made_here(make: FileRuns, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The shards of these numbers, one after another, whose files are read on all cores; of files
    that are fetched no more lie here at a time than one shard's.
    """
    step = 1 if make.uri else AT_ONCE
    for at in range(0, len(numbers), step):
        group = numbers[at : at + step]
        found = make.outcomes([row for number in group for row in range(*make.runs[number])])
        for number in group:
            start, stop = make.runs[number]
            yield packed(itertools.islice(found, stop - start))
        next(found, None)  # its threads end here


Maker: TypeAlias = Callable[[FileRuns, Sequence[int]], Iterator[dict[str, Any]]]
_maker: ContextVar[Maker] = ContextVar("maker", default=made_here)


@contextmanager
def made_by(maker: Maker) -> Iterator[None]:
    """In the block, ``maker`` makes shards that are not there."""
    before = _maker.set(maker)
    try:
        yield
    finally:
        _maker.reset(before)


def pack(
    cache: DiskCache,
    names: Sequence[str],
    paths: Sequence[Path],
    how: Reading,
    uri: str = "",
    there: Mapping[str, ListedFile] = MappingProxyType({}),
) -> tuple[Shards, Int64, dict[int, Needs | DatasetError]]:
    """The images in files, packed; those that are already are not read again.

    Args:
        names: of the files, by which they are known with their sizes and times.
        uri: below which the files lie, if they are not here: they are fetched, a shard's at a
            time, and not kept.
        there: what they are there, by name.

    Returns:
        their pixels; the (n, 3) shape of each; and by its number why there is none of a file.

    Raises:
        ShardError: if they cannot be written.
    """
    rows = run_length(how)
    runs = tuple((at, min(at + rows, len(paths))) for at in range(0, len(paths), rows))
    make = FileRuns(tuple(map(str, paths)), runs, how, tuple(names) if uri else (), uri)
    marks = [_mark(name, path, there.get(name)) for name, path in zip(names, paths, strict=True)]
    about = {**asdict(how), "rule": asdict(how.rule)}
    stages = [
        Stage(
            packed_images,
            {"files": hashlib.sha256("\n".join(marks[start:stop]).encode()).hexdigest(), **about},
        )
        for start, stop in runs
    ]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        before = list(pool.map(lambda stage: cache.mapped(stage, checked=True), stages))
    results = {
        number: found
        for number, found in enumerate(before)
        if found is not None and not make.mended(number, found)
    }
    missing = [number for number in range(len(runs)) if number not in results]
    for number, arrays in zip(missing, _maker.get()(make, missing), strict=True):
        cache.write(stages[number], arrays)  # in place of one that was made otherwise
        results[number] = kept(cache, stages[number], partial(dict, arrays))
    ordered = [results[number] for number in range(len(runs))]
    shapes = np.concatenate([one["shapes"] for one in ordered])
    said = {
        start + int(row): _said(reason)
        for (start, _), one in zip(runs, ordered, strict=True)
        for row, reason in json.loads(one["said"].tobytes()).items()
    }
    return Shards(cache, stages, [len(one[PIXELS]) for one in ordered], make), shapes, said


def run_length(how: Reading) -> int:
    """Images of a shard, which depends on nothing but how they are read."""
    each = (how.square or how.max_side or 512) ** 2 * (1 if how.color == "grey" else 3)
    fitting = max(1, SHARD_BYTES // each)
    return max(FEWEST, min(MOST, 2 ** (fitting.bit_length() - 1)))


def _mark(name: str, path: Path, there: ListedFile | None) -> str:
    if there is not None:
        return f"{name}\0{there.size}\0{there.written}"
    try:
        about = os.stat(path)
        return f"{name}\0{about.st_size}\0{about.st_mtime_ns}"
    except OSError:
        return f"{name}\0missing"


def _said(reason: Any) -> Needs | DatasetError:
    return DatasetError(reason) if isinstance(reason, str) else Needs(**reason)
