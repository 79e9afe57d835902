"""The registry of stages as a driver sees it: how many were computed, and what is made ahead."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

ASK_EVERY = 2.0
"""Seconds between two questions to the registry."""
Config = dict[str, Any]


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
        """``stages: 12 computed, 5 read from disk, shared by 340 trials``; empty before the first
        answer.

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
            "stages: {computed} computed, {read} read from disk, shared by {shared} trials".format(
                **self._counts
            )
            if self._counts
            else ""
        )


class Lookahead:
    """Starts the work of configurations that one space will come to: a grid says what comes next,
    and its stages are made while cheaper trials end, so that no core waits.

    Args:
        coming: its configurations in the order in which they will be proposed; may have no end to
            speak of.
        work: names the work that a configuration needs. Many may need the same.
        start: starts that work, and returns at once.
        depth: how many different works to be ahead.
    """

    def __init__(
        self,
        coming: Iterator[Config],
        work: Callable[[Config], str],
        start: Callable[[Config], None],
        depth: int,
    ) -> None:
        self._coming = coming
        self._work = work
        self._start = start
        self._depth = depth
        self._places: dict[str, int] = {}

    def begin(self) -> None:
        """Nothing is tried yet: start the first works."""
        self._fill(0)

    def reached(self, config: Config) -> None:
        """This configuration is tried now: be ``depth`` works ahead of it."""
        self._fill(self._places.get(self._work(config), 0))

    def _fill(self, here: int) -> None:
        while len(self._places) <= here + self._depth:
            following = next(self._coming, None)
            if following is None:
                return
            work = self._work(following)
            if work not in self._places:
                self._places[work] = len(self._places)
                self._start(following)
