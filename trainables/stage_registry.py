"""One place on the cluster that knows which stages run or have run: each runs once, whoever asks.

The driver makes the registry, outside any placement group, so that it outlives every
trial; the registry itself submits every task, so that what it hands out is not lost with
the trial that asked first. It never waits for a task: asking is quick however long a
stage takes. If its process dies it starts again, empty, and whoever waits asks again.
"""

from __future__ import annotations

import time
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from trainables.stages import Stage, chunks, join, run_stage

STAGE_CPUS = 0.96
"""CPUs a stage task asks for: whole cores, less what four waiting trials a core take."""
TRIAL_CPUS = 0.01
"""CPUs a kNN trial asks for: it only waits for stages (Tune refuses 0)."""
ATTEMPTS = 3
"""Times a trial asks for a stage whose task or data was lost before it gives up."""
NAMESPACE = "visiontune"

_task_options = {"num_cpus": STAGE_CPUS, "max_retries": 2, "scheduling_strategy": "SPREAD"}


class StageError(RuntimeError):
    """A stage failed; the message names it and the cause."""


@ray.remote(**_task_options)
def _run(stage: Stage, start: int | None, stop: int | None, *inputs: Any) -> Any:
    return run_stage(stage, inputs, start, stop)


@ray.remote(num_cpus=0, max_retries=2)
def _join(*parts: Any) -> Any:
    return join(list(parts))


@ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)
class StageRegistry:
    """Digest to result of every stage asked for so far.

    Args:
        parts: into how many tasks a stage that maps over rows is divided.
    """

    def __init__(self, parts: int) -> None:
        self._refs: dict[str, Any] = {}
        self._parts = parts
        self._failures: dict[str, int] = {}
        self._shared = 0

    def adopt(self, stage: Stage, refs: list[Any]) -> None:
        """Know a result that exists already; the reference is in a list, so that Ray does not resolve it."""
        self._refs[stage.digest] = refs[0]

    def request(self, stage: Stage) -> tuple[list[Any], bool]:
        """([reference to the result], whether it was there already)."""
        there = stage.digest in self._refs
        self._shared += there
        return [self._submit(stage)], there

    def _submit(self, stage: Stage) -> Any:
        if stage.digest not in self._refs:
            inputs = [self._submit(upstream) for upstream in stage.inputs]
            self._refs[stage.digest] = self._tasks(stage, inputs)
        return self._refs[stage.digest]

    def _tasks(self, stage: Stage, inputs: list[Any]) -> Any:
        # A task needs the stage alone, not what it was made from.
        bare = Stage(stage.function, stage.parameters, rows=stage.rows)
        if stage.rows is None:
            return _run.remote(bare, None, None, *inputs)
        runs = list(chunks(stage.rows, self._parts))
        parts = [_run.remote(bare, start, stop, *inputs) for start, stop in runs]
        return parts[0] if len(parts) == 1 else _join.remote(*parts)

    def forget(self, stage: Stage) -> None:
        """Drop the failed results on the way to ``stage``, so that asking again runs them again.

        A stage that has failed ``ATTEMPTS`` times is remembered: its cause lies in the data.
        """
        for upstream in stage.inputs:
            self.forget(upstream)
        ref = self._refs.get(stage.digest)
        if ref is None or not _failed(ref):
            return
        self._failures[stage.digest] = self._failures.get(stage.digest, 0) + 1
        if self._failures[stage.digest] < ATTEMPTS:
            del self._refs[stage.digest]

    def stats(self) -> dict[str, int]:
        """Stages known, and how often a trial asked for one that was there already."""
        return {"computed": len(self._refs), "shared": self._shared}


def _failed(ref: Any) -> bool:
    """Whether the task behind ``ref`` has ended without a result."""
    try:
        ray.get(ref, timeout=0)
    except GetTimeoutError:
        return False
    except RayError:
        return True
    return False


def fetch(registry: Any, stage: Stage) -> tuple[Any, bool]:
    """(result of ``stage``, whether another trial had asked for it before).

    Raises:
        StageError: naming the stage and the cause, if it fails, or if it was lost
            ``ATTEMPTS`` times in a row.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            refs, there = ray.get(registry.request.remote(stage))
            return ray.get(refs[0]), there
        except RayTaskError as error:
            registry.forget.remote(stage)
            cause = error.cause if isinstance(error.cause, Exception) else error
            raise StageError(f"{stage} failed: {type(cause).__name__}: {cause}") from cause
        except RayError as error:  # a worker, a node or the registry died, or memory ran out
            if attempt == ATTEMPTS:
                raise StageError(f"{stage} was lost {ATTEMPTS} times: {type(error).__name__}: {error}") from error
            registry.forget.remote(stage)
            time.sleep(attempt)
    raise AssertionError("unreachable")
