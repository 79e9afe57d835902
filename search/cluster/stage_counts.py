"""How many stages a search computed, shared and read from disk, asked for without waiting."""

from __future__ import annotations

import time
from typing import Any

ASK_EVERY = 2.0
"""Seconds between two questions to the registry."""


class StageCounts:
    """What the registry last said of itself.

    Args:
        ray: the module.
        registry: the actor.
    """

    def __init__(self, ray: Any, registry: Any) -> None:
        self._ray = ray
        self._registry = registry
        self._asked: Any = None
        self._asked_at = 0.0
        self._counts: dict[str, int] = {}

    def line(self, wait: float = 0.0) -> str:
        """``stages: 12 computed, 340 shared, 5 read from disk``; empty before the first answer.

        Args:
            wait: seconds to wait for a fresh answer.
        """
        if self._asked is None and (wait or time.monotonic() - self._asked_at > ASK_EVERY):
            self._asked, self._asked_at = self._registry.stats.remote(), time.monotonic()
        if self._asked is not None:
            ready, _ = self._ray.wait([self._asked], timeout=wait)
            if ready:
                self._asked = None
                try:
                    self._counts = self._ray.get(ready[0])
                except self._ray.exceptions.RayError:
                    return ""  # it died; the next one counts from nothing
        return (
            "stages: {computed} computed, {shared} shared, {read} read from disk".format(
                **self._counts
            )
            if self._counts
            else ""
        )
