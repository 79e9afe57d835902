"""One place on the cluster that knows which stages run or have run: each runs once, whoever asks.

The driver makes the registry, outside any placement group, so that it outlives every
trial; the registry itself submits every task, so that what it hands out is not lost with
the trial that asked first. It never waits for a task: asking is quick however long a
stage takes. If its process dies it starts again, empty, and whoever waits asks again.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from trainables.stages.device import CORES
from trainables.stages.stage import NO_CACHE, Cache, Stage, by_parts, join, run_stage, runs_of

STAGE_CPUS = 0.96
"""CPUs a stage task asks for: whole cores, less what four waiting trials a core take."""
TRIAL_CPUS = 0.01
"""CPUs a kNN trial asks for: it only waits for stages (Tune refuses 0)."""
QUICK_STAGES = "quick_stages"
"""Ray resource: quick stages that run beside dear ones, which may hold every core for minutes.
Where both are asked for, each gets about half of the cores; where no node offers it, they wait in
turn.
"""
ATTEMPTS = 3
"""Times a trial asks for a stage whose task or data was lost before it gives up."""
PARTS_A_CORE = 4
"""Tasks a core that a stage over many rows is divided into: the last to end keeps few cores
waiting.
"""
NAMESPACE = "visiontune"

LARGE_SHARE = 2 / 3
"""Share of the cluster's object store that large results, which are quick to make again, may take:
more would be spilled to disk.
"""

_task_options = {"num_cpus": STAGE_CPUS, "max_retries": 2, "scheduling_strategy": "SPREAD"}


class StageError(RuntimeError):
    """A stage failed; the message names it and the cause."""


class CacheMissError(RuntimeError):
    """A result was not on disk after all, or was damaged; asked for again, it is computed."""


def _done(
    stage: Stage, start: int | None, stop: int | None, parts: int, cache: Cache, *inputs: Any
) -> Any:
    """``parts``: how many inputs at the front are its rows of the first, one after the other; 0 if
    that is there whole.
    """
    try:
        if parts:
            inputs = (join(list(inputs[:parts])), *inputs[parts:])
        result = run_stage(stage, inputs, start, stop, sliced=parts > 0)
    except Exception as error:
        raise StageError(f"{stage} failed: {type(error).__name__}: {error}") from error
    if (start or 0, stop) in ((0, None), (0, stage.rows)):  # all of it, not a part
        cache.write(stage, result)
    return result


_run = ray.remote(**_task_options)(_done)


@ray.remote(
    num_cpus=0,
    num_gpus=1,
    max_restarts=-1,
    max_task_retries=2,
    allow_out_of_order_execution=True,  # or it would wait for one whose input is not there yet
)
class OnDevice:
    """Runs stages on a GPU of its own, one after the other, in one process with one context."""

    def run(self, *asked: Any) -> Any:
        return _done(*asked)


@ray.remote(num_cpus=0, max_retries=2)
def _join(stage: Stage, cache: Cache, *parts: Any) -> Any:
    result = join(list(parts))
    cache.write(stage, result)
    return result


@ray.remote(num_cpus=0, max_retries=2)
def _read(stage: Stage, cache: Cache) -> Any:
    result = cache.read(stage)
    if result is None:
        raise CacheMissError(f"{stage} was damaged on disk")
    return result


class Part(NamedTuple):
    """Reference to a stage's result for the rows from ``start`` up to ``stop``."""

    start: int
    stop: int
    ref: Any


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class StageRegistry:
    """Digest to result of every stage asked for so far.

    A stage that maps over rows is computed in parts, one task each; where the next stage maps
    over the same rows its tasks take the parts as they are, so that what is large is never
    one piece and the next stage begins before the last part is done.

    Args:
        parts: into how many tasks a stage that maps over rows is divided.
        cache: results on disk, looked for before anything is computed.
        large_bytes: large results that are remembered at a time, about; no limit if None.
        gpus: that no trial takes, for the stages that say so.
        apart: the nodes offer ``QUICK_STAGES``.
    """

    def __init__(
        self,
        parts: int,
        cache: Cache = NO_CACHE,
        large_bytes: float | None = None,
        gpus: int = 1,
        apart: bool = False,
    ) -> None:
        self._apart = apart
        self._refs: dict[str, Any] = {}
        self._made: dict[str, list[Part]] = {}
        self._large: dict[str, int] = {}  # the least recently used first
        self._parts = parts
        self._cache = cache
        self._large_bytes = math.inf if large_bytes is None else large_bytes
        self._failures: dict[str, int] = {}
        self._gpus = gpus
        self._devices: Iterator[Any] | None = None
        self._counts = {"computed": 0, "shared": 0, "read": 0}
        self._asked: set[str] = set()

    def adopt(self, stage: Stage, refs: list[Any]) -> None:
        """Know a result that exists already; the reference is in a list, so that Ray does not
        resolve it.
        """
        self._refs[stage.digest] = refs[0]

    def request(self, *stages: Stage) -> tuple[list[Any], bool]:
        """(references to the results, whether the first was asked for before)."""
        there = stages[0].digest in self._refs
        all_of_it = (one for stage in stages for one in stage.upstream().values())
        worked = {one.digest: one for one in all_of_it if not one.light}
        new = worked.keys() - self._asked
        self._counts["shared"] += len(new) < len(worked) and all(worked[one].quick for one in new)
        self._asked |= new
        return [self._submit(stage) for stage in stages], there

    def prepare(self, stage: Stage) -> None:
        """Have a stage made that will be asked for."""
        self._submit(stage)

    def _submit(self, stage: Stage) -> Any:
        """Reference to the whole result."""
        if stage.digest not in self._refs:
            if stage.digest not in self._made and self._cache.has(stage):
                self._counts["read"] += 1
                self._refs[stage.digest] = _read.remote(_key(stage), self._cache)
            elif stage.rows is None:
                self._counts["computed"] += 1
                inputs = [self._submit(upstream) for upstream in stage.inputs]
                self._refs[stage.digest] = self._task(stage).remote(
                    _key(stage), None, None, 0, self._cache, *inputs
                )
            else:
                parts = self._submit_parts(stage)
                self._refs[stage.digest] = (
                    parts[0].ref
                    if len(parts) == 1
                    else _join.remote(_key(stage), self._cache, *(part.ref for part in parts))
                )
        self._remember(stage)
        return self._refs[stage.digest]

    def _submit_parts(self, stage: Stage) -> list[Part]:
        """The runs of rows of a stage, in order."""
        if stage.digest not in self._made:
            self._counts["computed"] += 1
            tasks = self._divided(stage)
            rest = [self._submit(upstream) for upstream in stage.inputs[1:]]
            key = _key(stage)
            self._made[stage.digest] = [
                Part(
                    start,
                    stop,
                    self._task(stage).remote(key, start, stop, parts, self._cache, *first, *rest),
                )
                for start, stop, parts, first in tasks
            ]
        self._remember(stage)
        return self._made[stage.digest]

    def _task(self, stage: Stage) -> Any:
        """What runs a stage: a process on a GPU, each in turn, or whatever core is free."""
        if stage.device == CORES:
            if stage.quick and self._apart:
                return _run.options(num_cpus=0, resources={QUICK_STAGES: 1})
            return _run.options(num_cpus=0) if stage.light else _run
        if self._devices is None:
            self._devices = itertools.cycle([OnDevice.remote() for _ in range(self._gpus)])  # type: ignore[attr-defined]
        return next(self._devices).run

    def _divided(self, stage: Stage) -> list[tuple[int, int, int, list[Any]]]:
        """(start, stop, parts of the first input, references to them) of each task; no parts if
        that input is taken whole.
        """
        first, runs = stage.inputs[0], runs_of(stage, self._parts)
        if by_parts(stage) and first.digest not in self._refs and not self._cache.has(first):
            there = self._submit_parts(first)
            if len(there) > 1:
                each = math.ceil(len(there) / len(runs))
                groups = [there[at : at + each] for at in range(0, len(there), each)]
                return [
                    (group[0].start, group[-1].stop, len(group), [part.ref for part in group])
                    for group in groups
                ]
        whole = self._submit(first)
        return [(start, stop, 0, [whole]) for start, stop in runs]

    def _remember(self, stage: Stage) -> None:
        """Note that a large result was used; let go of those unused for longest. What a task waits
        for stays until it has run.
        """
        if not stage.large:
            return
        self._large.pop(stage.digest, None)
        self._large[stage.digest] = stage.large
        while len(self._large) > 1 and sum(self._large.values()) > self._large_bytes:
            digest = next(iter(self._large))
            del self._large[digest]
            self._refs.pop(digest, None)
            self._made.pop(digest, None)

    def forget(self, stage: Stage) -> None:
        """Drop the failed results on the way to ``stage``, so that asking again runs them again.

        A stage that has failed ``ATTEMPTS`` times is remembered: its cause lies in the data.
        """
        for upstream in stage.inputs:
            self.forget(upstream)
        refs = [
            *(part.ref for part in self._made.get(stage.digest, [])),
            *([self._refs[stage.digest]] if stage.digest in self._refs else []),
        ]
        if not any(_failed(ref) for ref in refs):
            return
        self._failures[stage.digest] = self._failures.get(stage.digest, 0) + 1
        if self._failures[stage.digest] < ATTEMPTS:
            self._refs.pop(stage.digest, None)
            self._made.pop(stage.digest, None)

    def stats(self) -> dict[str, int]:
        """Stages computed and read from disk, and trials for which no dear stage was made: others
        had asked for those that they have in common.
        """
        return dict(self._counts)


def _key(stage: Stage) -> Stage:
    """What a task needs of a stage: not what it was made from, but the digest it is kept under."""
    return Stage(
        stage.function, stage.parameters, rows=stage.rows, large=stage.large, known=stage.digest
    )


def _failed(ref: Any) -> bool:
    """Whether the task behind ``ref`` has ended without a result."""
    try:
        ray.get(ref, timeout=0)
    except GetTimeoutError:
        return False
    except RayError:
        return True
    return False


def fetch(registry: str | Any, *stages: Stage) -> tuple[list[Any], bool]:
    """(results of the stages, whether another trial had asked for the first before).

    Args:
        registry: the actor, or its name.

    Raises:
        StageError: naming the stage and the cause, if one fails, or if it was lost
            ``ATTEMPTS`` times in a row.
    """
    if isinstance(registry, str):
        registry = ray.get_actor(registry, namespace=NAMESPACE)
    names = ", ".join(str(stage) for stage in stages[:1])
    for attempt in range(1, ATTEMPTS + 1):
        try:
            refs, there = ray.get(registry.request.remote(*stages))
            return ray.get(refs), there
        except RayTaskError as error:
            ray.get([registry.forget.remote(stage) for stage in stages])
            cause = error.cause if isinstance(error.cause, Exception) else error
            if isinstance(cause, CacheMissError) and attempt < ATTEMPTS:
                continue
            raise StageError(
                f"{cause}"
                if isinstance(cause, StageError)
                else f"{names} failed: {type(cause).__name__}: {cause}"
            ) from cause
        except RayError as error:  # a worker, a node or the registry died, or memory ran out
            if attempt == ATTEMPTS:
                raise StageError(
                    f"{names} was lost {ATTEMPTS} times: {type(error).__name__}: {error}"
                ) from error
            for stage in stages:
                registry.forget.remote(stage)
            time.sleep(attempt)
    raise AssertionError("unreachable")
