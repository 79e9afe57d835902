"""What a search is made of, by name: a registry for each kind of thing, and one door to all."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Generic, Protocol, TypeVar

from spaces.errors import UserError, echo, shown

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""Names stand in paths, in plans and on the command line."""


class Named(Protocol):
    """What a registry can hold."""

    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=Named)
_REGISTRIES: dict[type, Registry[Any]] = {}


class Registry(Mapping[str, T], Generic[T]):
    """The things of one kind by name, in the order in which they were added.

    Whoever makes one opens the door ``add`` of this module to its kind.

    Args:
        kind: the class of what it holds.
        word: what one of them is called in a message, ``"space"``; ``words`` where more than an s
            tells many.
        error: raised for a name that is unknown, taken or no name.
    """

    def __init__(
        self, kind: type[T], word: str, words: str = "", error: type[UserError] = UserError
    ) -> None:
        self._word, self._words, self._error = word, words or f"{word}s", error
        self._things: dict[str, T] = {}
        self._modules: dict[str, str] = {}
        _REGISTRIES[kind] = self

    @property
    def word(self) -> str:
        """What one of them is called."""
        return self._word

    def add(self, thing: T, by: str = "") -> T:
        """Add ``thing`` under its name, and give it back.

        Args:
            by: the module that adds it; the caller's by default.

        Raises:
            UserError: if its name is none, or another thing has it already.
        """
        name, by = thing.name, by or _caller()
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise self._error(
                f"{shown(by)}: the name of a {self._word} must be letters, digits, '-', '_' and "
                f"'.', at most 64, but got {echo(name)}"
            )
        if name in self._things:
            raise self._error(
                f"{shown(by)}: there is a {self._word} {name!r} already, of "
                f"{shown(self._modules[name])}; give this one another name"
            )
        self._things[name], self._modules[name] = thing, by
        return thing

    def remove(self, name: str) -> None:
        """Take back what was added under ``name``, as is done when its module fails further on."""
        del self._things[name], self._modules[name]

    def module(self, name: str) -> str:
        """The module that added what is called ``name``."""
        self[name]
        return self._modules[name]

    def added_by(self, module: str) -> dict[str, T]:
        """What ``module`` added, by name."""
        return {name: self._things[name] for name, by in self._modules.items() if by == module}

    def __getitem__(self, name: str) -> T:
        """The thing called ``name``.

        Raises:
            UserError: naming all there are, if it is none of them.
        """
        if name not in self:
            there = ", ".join(self) or "not there yet"
            raise self._error(f"unknown {self._word} {echo(name)}; the {self._words} are {there}")
        return self._things[name]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._things

    def get(self, name: str, default: Any = None) -> Any:
        """The thing called ``name``, or ``default``."""
        return self._things.get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._things)

    def __len__(self) -> int:
        return len(self._things)


def registries() -> tuple[Registry[Any], ...]:
    """Those that were made so far, in that order."""
    return tuple(_REGISTRIES.values())


def add(thing: Any, by: str = "") -> Any:
    """Add ``thing`` to the registry of its kind, and give it back: the one door for what is ours
    and for plug-ins.

    Args:
        by: the module that adds it; the caller's by default.

    Raises:
        UserError: if there is none for its kind, or it is refused there.
    """
    by = by or _caller()
    for kind in type(thing).__mro__:
        if kind in _REGISTRIES:
            return _REGISTRIES[kind].add(thing, by)
    kinds = ", ".join(kind.__name__ for kind in _REGISTRIES)
    raise UserError(f"{shown(by)}: what can be added is a {kinds}, but got {echo(thing)}")


def _caller() -> str:
    """The module outside of this one that asked."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals["__name__"] == __name__:
        frame = frame.f_back
    return str(frame.f_globals["__name__"])
