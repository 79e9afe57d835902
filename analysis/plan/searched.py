"""What a plan searches: its spaces, as its settings narrow them, and what is tried first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from analysis.plan.settings import Settings
from spaces import Space, get_space
from spaces.domain import SpaceError, Value
from spaces.errors import echo
from trainables.learners import LEARNERS, Learner

MOST_SUFFIXES = 32
"""Suffixes of a prefix that the sampler ``reuse`` tries, on average, however little they cost."""


class Searched(Settings):
    """Settings, and the spaces that they make."""

    @property
    def needs_images(self) -> bool:
        """Whether any of the spaces reads a dataset."""
        return any(get_space(name).needs_images for name in self.spaces)

    @property
    def steps(self) -> int:
        """Steps of a training in its first space: its own ``steps``, or ``training.epochs``."""
        space = self.search_spaces()[self.spaces[0]]
        said = [p.domain.values() for p in space.parameters if p.name == "steps"]
        return int(max(said[0])) if said else self.training.epochs

    @property
    def learners(self) -> tuple[Learner, ...]:
        """Those of its spaces."""
        return tuple(LEARNERS[name] for name in self.spaces)

    def prefixes(self) -> dict[str, tuple[str, ...]]:
        """Space to the parameters that decide what is dear about a trial, where there are some."""
        found = {name: space.prefix for name, space in self.search_spaces().items()}
        return {name: names for name, names in found.items() if names}

    def suffixes(self) -> float | None:
        """How many trials of a prefix its sampler tries on average, at most; None where it does not
        go by what they cost.
        """
        most = self.sampler_options.get("most", MOST_SUFFIXES)
        return float(most) if self.sampler == "reuse" else None

    def narrowed_spaces(self, more: Mapping[str, Any] | None = None) -> dict[str, Space]:
        """The spaces within which samplers draw now.

        Args:
            more: what is to be narrowed further.

        Raises:
            SpaceError: for what is wider than what is searched, or of another kind.
        """
        spaces = self.search_spaces()
        for settings in (self.narrowed, more or {}):
            for name, setting in settings.items():
                having = [
                    one for one in spaces.values() if name in {p.name for p in one.parameters}
                ]
                for space in having:
                    spaces[space.name] = space.within({name: setting})
                if not having:
                    next(iter(spaces.values()))[name]  # raises, naming what there is
        return spaces

    def search_spaces(self) -> dict[str, Space]:
        """The spaces, narrowed by ``set``; a setting applies wherever its parameter exists.

        Raises:
            SpaceError: for a setting that is not allowed, or that no space has.
        """
        spaces = {name: get_space(name) for name in self.spaces}
        for name in self.set:
            if not any(name in {p.name for p in space.parameters} for space in spaces.values()):
                next(iter(spaces.values()))[name]  # raises, naming what there is
        narrowed = {}
        for name, space in spaces.items():
            own = {p.name for p in space.parameters}
            narrowed[name] = space.narrow(
                {key: value for key, value in self.set.items() if key in own}
            ).asked()
            if self.parts and not space.stepwise:
                narrowed[name] = replace(narrowed[name], reports="part")
        return narrowed

    def first_points(self) -> list[tuple[str, dict[str, Value]]]:
        """(space, values of parameters) of each configuration that is to be tried first.

        Raises:
            SpaceError: if one cannot be tried.
        """
        spaces, points = self.search_spaces(), []
        for place, asked in enumerate(self.try_first, 1):
            name = asked.get("space", self.spaces[0] if len(spaces) == 1 else "")
            try:
                if name not in spaces:
                    raise SpaceError(f"space must be {' or '.join(spaces)}, but got {echo(name)}")
                values = {key: value for key, value in asked.items() if key != "space"}
                points.append((str(name), spaces[str(name)].point(values)))
            except SpaceError as error:
                raise SpaceError(f"try_first, configuration {place}: {error}") from None
        return points
