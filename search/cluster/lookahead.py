"""A grid says what comes next: its stages are made while cheaper trials end, so that no core
waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Config = dict[str, Any]


class Lookahead:
    """Starts the work of configurations that one space will come to.

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
