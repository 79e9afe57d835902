"""One long row of bytes that lies in many files, each a result on disk under its own digest.

Files are mapped into memory when something of them is looked at, so that all processes of a machine
share what its memory holds of them. One that is not there, on another node of a cluster or since
somebody removed it, is made again from what it was made of, and no other.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from spaces.errors import UserError, on_one_line
from trainables.io.files import alone
from trainables.stages.cache import DiskCache
from trainables.stages.stage import Stage

UInt8 = npt.NDArray[np.uint8]
PIXELS = "pixels"
"""The key of a result that is the row's bytes."""
MOST_OPEN = 512
"""Files that a process has open at a time."""


class ShardError(UserError):
    """A file that cannot be kept, or that is made otherwise than it was."""


class Shards:
    """The bytes of the results of ``stages``, one after another.

    Args:
        sizes: bytes of each.
        make: makes the result of a number again.
    """

    def __init__(
        self,
        cache: DiskCache,
        stages: Sequence[Stage],
        sizes: Sequence[int],
        make: Callable[[int], dict[str, Any]],
    ) -> None:
        self.cache, self.stages, self.sizes, self.make = cache, tuple(stages), tuple(sizes), make
        self._stops = list(itertools.accumulate(sizes))
        self._open: dict[int, UInt8] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Shards, (self.cache, self.stages, self.sizes, self.make)

    @property
    def nbytes(self) -> int:
        """Of all files together."""
        return self._stops[-1] if self._stops else 0

    def __add__(self, other: Shards) -> Shards:
        """The bytes of both, one after another."""
        count, one, two = len(self.stages), self.make, other.make
        return Shards(
            self.cache,
            (*self.stages, *other.stages),
            (*self.sizes, *other.sizes),
            partial(_either, count, one, two),
        )

    def release(self) -> None:
        """Let go of what is mapped, until something of it is looked at again."""
        self._open.clear()

    def __getitem__(self, which: slice) -> UInt8:
        """The bytes from ``start`` to ``stop``; a copy only where they lie in several files."""
        start, stop = which.start, which.stop
        number = bisect.bisect_right(self._stops, start)
        if stop <= start:
            return np.empty(0, np.uint8)
        begin = self._stops[number] - self.sizes[number]
        if stop <= self._stops[number]:
            return self._part(number)[start - begin : stop - begin]
        return np.concatenate([self[start : self._stops[number]], self[self._stops[number] : stop]])

    def _part(self, number: int) -> UInt8:
        if number not in self._open:
            while len(self._open) >= MOST_OPEN:
                del self._open[next(iter(self._open))]
            stage = self.stages[number]
            found = kept(self.cache, stage, lambda: self.make(number))[PIXELS]
            if len(found) != self.sizes[number]:
                raise ShardError(
                    f"{stage} has other images than when this search began; start a new search"
                )
            self._open[number] = found
        return self._open[number]


def _either(
    count: int, one: Callable[[int], Any], two: Callable[[int], Any], number: int
) -> dict[str, Any]:
    found: dict[str, Any] = one(number) if number < count else two(number - count)
    return found


def kept(cache: DiskCache, stage: Stage, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The arrays of ``stage`` on the disk, made if they are not there; by one process of a machine
    at a time.

    Raises:
        ShardError: if they cannot be written.
    """
    found, why = cache.mapped(stage), ""
    if found is None:
        try:
            with alone(cache.folder):
                found = cache.mapped(stage)
                if found is None:
                    cache.write(stage, make())
                    found = cache.mapped(stage)
        except OSError as error:
            why = f" ({on_one_line(error)})"
    if found is None:
        raise ShardError(
            f"images that are more than memory should hold cannot be packed in {cache.folder}{why};"
            " make room there, or name another --runs-dir"
        )
    return found
