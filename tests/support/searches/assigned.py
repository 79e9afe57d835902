"""What a worker is given, as a search gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from spaces.domain import Value
from trainables.learners import LEARNERS, Assignment, Shared


def assigned(
    space: str,
    config: Mapping[str, Value],
    number: int = 0,
    *,
    seed: int = 0,
    shared: Shared | None = None,
    run: str = "",
    **changes: Any,
) -> Assignment:
    """A trial of ``space``; ``changes`` are fields of its assignment. Without a run it writes no
    checkpoints.
    """
    changes = {**({} if run else {"checkpoints": ""}), **changes}
    shared = replace(shared or Shared(seed=seed), seed=seed)
    return replace(LEARNERS[space].assign(shared, run, number, config), **changes)


def given(*args: Any, **more: Any) -> dict[str, Any]:
    """The same as Tune's config of the trial."""
    return {"assignment": assigned(*args, **more), "attempt": 0}
