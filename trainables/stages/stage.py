"""Stages: pure functions with a digest, so that work shared by many trials is done once.

A stage is a function, its parameters and the stages it reads. Its digest covers all that
decides its answer: the same digest means the same bytes. Run here, in one process, by
``compute``; run on a cluster, once for whoever asks, by ``trainables.stages.registry``.
"""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from threadpoolctl import threadpool_limits

from spaces import plugins
from trainables.stages.device import CORES

BLOCK = 64
"""Rows that are always computed together, so that the bits do not depend on the chunking."""


@dataclass(frozen=True, eq=False)
class Stage:
    """One step of a pipeline.

    Attributes:
        function: a module-level function ``function(*inputs, **parameters)`` that returns
            an array, a dict of arrays, or a frozen value; pure, and seeded by its parameters.
        parameters: its keyword arguments, JSON values. ``device`` among them says where it
            computes; a GPU is asked for by that.
        inputs: the stages whose results are its positional arguments.
        rows: if given, the function maps over this many rows of its first input: it is
            called for runs of rows with ``start``, the index of the first, and its results
            are joined in order. If None it is called once.
        grain: how many rows are worth a task of their own, which has a cost of its own.
        content: what its answer is known to be (a fingerprint), used for the digest in
            place of function and parameters.
        large: bytes of the result, about, if it is large and quick to make again: such a
            result is kept on no disk, and only for a while in memory. 0 for all others.
        light: whether trials that hold the cores themselves wait for it: it is run without asking
            for a core.
        quick: it is cheap beside what it is made of, and runs beside the dear stages, not after
            them.
        known: its digest, where its inputs are left out of it.
    """

    function: Callable[..., Any]
    parameters: dict[str, Any]
    inputs: tuple[Stage, ...] = ()
    rows: int | None = None
    grain: int = BLOCK
    content: str | None = None
    large: int = 0
    light: bool = False
    quick: bool = False
    known: str | None = None

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def device(self) -> str:
        return str(self.parameters.get("device", CORES))

    @cached_property
    def digest(self) -> str:
        """SHA-256 of everything that decides the answer, 64 hex digits."""
        if self.known:
            return self.known
        what = (
            [self.content]
            if self.content
            else [f"{self.function.__module__}.{self.name}", self.parameters, _version()]
        )
        key = [what, self.rows is not None, [stage.digest for stage in self.inputs]]
        return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()

    def upstream(self) -> dict[str, Stage]:
        """This stage and all that it is made of, each once, by digest."""
        found: dict[str, Stage] = {}
        waiting = [self]
        while waiting:
            stage = waiting.pop()
            if stage.digest not in found:
                found[stage.digest] = stage
                waiting += stage.inputs
        return found

    def __str__(self) -> str:
        settings = ", ".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.name}({settings})"


def _version() -> str:
    """Of all source that may decide an answer, that of plug-ins too."""
    return code_version() + plugins.digest()


class Cache(Protocol):
    """Where results may outlive the process that computed them."""

    def has(self, stage: Stage) -> bool:
        """Whether a result seems to be there; ``read`` may still find it damaged."""

    def read(self, stage: Stage) -> Any:
        """The result, or None if there is none that can be trusted."""

    def write(self, stage: Stage, result: Any) -> None:
        """Keep a result, if it is of a kind worth keeping; never raises for what the disk does."""


class _NoCache:
    """The cache that is off."""

    def has(self, stage: Stage) -> bool:
        return False

    def read(self, stage: Stage) -> Any:
        return None

    def write(self, stage: Stage, result: Any) -> None:
        """Keeps nothing."""


NO_CACHE: Cache = _NoCache()


@functools.cache
def code_version() -> str:
    """SHA-256 of this package's source: changed code never meets old results."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def run_stage(
    stage: Stage,
    inputs: tuple[Any, ...],
    start: int | None = None,
    stop: int | None = None,
    sliced: bool = False,
) -> Any:
    """``stage`` on its inputs; only rows ``start:stop`` of the first if it maps over rows.

    Runs with one BLAS thread: results must not depend on how many cores a machine has.

    Args:
        sliced: the first input holds those rows alone already.
    """
    with threadpool_limits(1):
        if stage.rows is None:
            return stage.function(*inputs, **stage.parameters)
        first, *rest = inputs
        return stage.function(
            first if sliced else first[start:stop], *rest, start=start, **stage.parameters
        )


def runs_of(stage: Stage, parts: int) -> list[tuple[int, int]]:
    """The runs of rows (start, stop) that ``stage`` is computed in: ``parts``, or fewer if there
    are too few rows for that.
    """
    assert stage.rows is not None
    return list(chunks(stage.rows, min(parts, math.ceil(stage.rows / stage.grain))))


def chunks(rows: int, parts: int) -> Iterator[tuple[int, int]]:
    """About ``parts`` runs (start, stop) that cover ``rows``, each a multiple of BLOCK but the
    last.
    """
    blocks = -(-rows // BLOCK)
    size = BLOCK * max(1, -(-blocks // max(1, parts)))
    for start in range(0, rows, size):
        yield start, min(start + size, rows)


def join(parts: list[Any]) -> Any:
    """The results of runs of rows as one: arrays end to end, dicts key by key, others by their own
    ``joined``.
    """
    import numpy as np

    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], dict):
        return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)
    return type(parts[0]).joined(parts)


def by_parts(stage: Stage) -> bool:
    """Whether ``stage`` can take its first input in the parts in which that is computed."""
    return stage.rows is not None and bool(stage.inputs) and stage.inputs[0].rows == stage.rows


def compute(
    stage: Stage,
    memo: dict[str, Any] | None = None,
    workers: int | None = None,
    cache: Cache = NO_CACHE,
) -> Any:
    """The result of ``stage``, computing what it needs in this process.

    Args:
        memo: results by digest; read and filled, so that calls can share work.
        workers: processes for stages that map over rows; all cores if None.
        cache: results kept on disk; read and filled.
    """
    memo = {} if memo is None else memo
    if stage.digest not in memo:
        found = cache.read(stage)
        if found is None:
            inputs = tuple(
                _input(stage, at, memo, workers, cache) for at in range(len(stage.inputs))
            )
            found = _run_here(stage, inputs, workers or os.cpu_count() or 1)
            cache.write(stage, found)
        memo[stage.digest] = found
    return memo[stage.digest]


@dataclass(frozen=True)
class _Unmade:
    """A large input that is made run of rows by run of rows, where it is used."""

    stage: Stage
    inputs: tuple[Any, ...]


def _input(stage: Stage, at: int, memo: dict[str, Any], workers: int | None, cache: Cache) -> Any:
    upstream = stage.inputs[at]
    if at == 0 and upstream.large and by_parts(stage) and upstream.digest not in memo:
        return _Unmade(
            upstream, tuple(compute(above, memo, workers, cache) for above in upstream.inputs)
        )
    return compute(upstream, memo, workers, cache)


def _run_here(stage: Stage, inputs: tuple[Any, ...], workers: int) -> Any:
    if stage.rows is None:
        return run_stage(stage, inputs)
    runs = runs_of(stage, 4 * workers)
    if workers == 1 or stage.rows < 4 * BLOCK:
        return join([_run_rows(stage, inputs, start, stop) for start, stop in runs])
    from joblib import Parallel, delayed

    own = {"initializer": plugins.load_sources, "initargs": (plugins.sources(),)}
    with warnings.catch_warnings():
        # joblib ends one that has grown, as torch makes it, and starts another: nothing is lost
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning)
        return join(
            Parallel(n_jobs=workers, **(own if plugins.loaded() else {}))(
                delayed(_run_rows)(stage, inputs, start, stop) for start, stop in runs
            )
        )


def _run_rows(stage: Stage, inputs: tuple[Any, ...], start: int, stop: int) -> Any:
    first, *rest = inputs
    if not isinstance(first, _Unmade):
        return run_stage(stage, inputs, start, stop)
    return run_stage(
        stage, (run_stage(first.stage, first.inputs, start, stop), *rest), start, stop, sliced=True
    )
