"""What one parameter may be: its domain, when it applies, and how a user narrows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from spaces.errors import UserError, echo

Value = bool | int | float | str
MOST_NAME = 4096
"""Characters of a name, which may be a path."""
MOST_VALUES = 1000
"""That a user may list for one parameter."""


class SpaceError(UserError):
    """A space, a parameter or a value that does not exist or is not allowed."""


@dataclass(frozen=True)
class Integer:
    """Whole numbers from ``low`` to ``high``, both included."""

    low: int
    high: int
    log: bool = False

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, int)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
        )

    def values(self) -> tuple[Value, ...]:
        return tuple(range(self.low, self.high + 1))

    def __str__(self) -> str:
        return f"a whole number in {self.low}..{self.high}"


@dataclass(frozen=True)
class Float:
    """Real numbers from ``low`` to ``high``, both included."""

    low: float
    high: float
    log: bool = False

    def __contains__(self, value: object) -> bool:
        return (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and self.low <= value <= self.high
        )

    def values(self) -> tuple[Value, ...]:
        raise SpaceError(
            f"a grid needs a list of values, but got {self}: narrow it, for instance --set "
            f"name={self.low},{self.high}"
        )

    def __str__(self) -> str:
        return f"a number in {self.low}..{self.high}"


@dataclass(frozen=True)
class Choice:
    """One of a short list of values."""

    options: tuple[Value, ...]

    def __contains__(self, value: object) -> bool:
        return any(type(value) is type(option) and value == option for option in self.options)

    def values(self) -> tuple[Value, ...]:
        return self.options

    def __str__(self) -> str:
        return "one of " + ", ".join(_word(option) for option in self.options)


@dataclass(frozen=True)
class Name:
    """A name of something that no list could hold; only for what a user may ask for.

    Attributes:
        doc: what may be named.
    """

    doc: str

    def __contains__(self, value: object) -> bool:
        return isinstance(value, str) and 0 < len(value) <= MOST_NAME and value.isprintable()

    def __str__(self) -> str:
        return self.doc


Domain = Integer | Float | Choice
Suggest = Callable[[str, Domain], Value]


@dataclass(frozen=True)
class Parameter:
    """One thing a search may vary.

    Attributes:
        domain: what a search tries by default.
        doc: what it is, with its unit.
        allowed: what a user may ask for; wider than ``domain`` where a value is
            valid but too slow to be tried unasked. The domain itself if None.
        when: parameters declared before this one, with the values under which this
            one applies; all must hold. It always applies if empty.
        otherwise: the value it has where it does not apply.
        before: the value that configurations had, unsaid, before this parameter existed;
            None if it must be said.
        added: it belongs to something that may be there or not, such as a plug-in's network.
        prefix: stages that cost most of a trial are known by it, and trials with the same share
            them.
        anew: a training reads it anew in each step, and keeps nothing that depends on it, so that
            it may change on the way.
    """

    name: str
    domain: Domain
    doc: str
    allowed: Domain | Name | None = None
    when: Mapping[str, tuple[Value, ...]] | None = None
    otherwise: Value | None = None
    before: Value | None = None
    added: bool = False
    prefix: bool = False
    anew: bool = False

    @property
    def limits(self) -> Domain | Name:
        return self.allowed or self.domain

    @property
    def varies(self) -> bool:
        """Whether a search tries more than one value."""
        if isinstance(self.domain, Choice):
            return len(self.domain.options) > 1
        return self.domain.low < self.domain.high

    @property
    def only(self) -> Value:
        """The value of one that does not vary."""
        return self.domain.options[0] if isinstance(self.domain, Choice) else self.domain.low

    def applies(self, config: Mapping[str, Value]) -> bool:
        return all(config[parent] in values for parent, values in (self.when or {}).items())


def read_setting(space: str, parameter: Parameter, setting: Any) -> Domain:
    """The domain that ``setting`` (``5``, ``"3,5,8"``, ``"1..10"``, ``[3, 5]``) asks for."""
    refusal = SpaceError(
        f"{space}.{parameter.name} must be {parameter.limits}, but got {_shown(setting)}"
    )
    named = isinstance(parameter.limits, Name)
    if isinstance(setting, str) and ".." in setting and not named:
        ends = [read_value(end, parameter) for end in setting.split("..")]
        if len(ends) != 2 or any(end not in parameter.limits for end in ends):
            raise refusal
        low, high = ends
        if (
            isinstance(parameter.limits, Choice)
            or isinstance(low, bool | str)
            or isinstance(high, bool | str)
            or low > high
        ):
            raise refusal
        if isinstance(parameter.limits, Integer):
            return Integer(int(low), int(high))
        assert isinstance(parameter.limits, Float)
        return Float(float(low), float(high), log=parameter.limits.log)
    items: Sequence[Any] = (
        setting.split(",")
        if isinstance(setting, str)
        else setting
        if isinstance(setting, list | tuple)
        else [setting]
    )
    if len(items) > MOST_VALUES:
        raise SpaceError(
            f"{space}.{parameter.name} may be narrowed to {MOST_VALUES:,} values at most, but "
            f"got {len(items):,}"
        )
    values = tuple(dict.fromkeys(read_value(item, parameter) for item in items))
    if not values or any(value not in parameter.limits for value in values):
        raise refusal
    return Choice(values)


def narrower(space: str, parameter: Parameter, setting: Any) -> Domain:
    """The part of a parameter's domain that ``setting`` asks for; of the same kind as it.

    Raises:
        SpaceError: if it is wider, or of another kind.
    """
    now, asked = parameter.domain, read_setting(space, parameter, setting)
    if not isinstance(now, Choice) and isinstance(asked, Choice) and len(asked.options) == 1:
        (only,) = asked.options
        asked = replace(now, low=only, high=only)  # type: ignore[arg-type]
    if isinstance(now, Choice) and isinstance(asked, Choice):
        wider = [option for option in asked.options if option not in now]
        kept: Domain = Choice(tuple(option for option in now.options if option in asked))
    elif isinstance(asked, Choice) or type(asked) is not type(now):
        raise SpaceError(
            f"{space}.{parameter.name} is {now} in this search and may become narrower, but not "
            f"another kind of domain; got {_shown(setting)}"
        )
    else:
        wider = [end for end in (asked.low, asked.high) if end not in now]
        kept = replace(now, low=asked.low, high=asked.high)  # type: ignore[arg-type]
    if wider:
        raise SpaceError(
            f"{space}.{parameter.name} is {now} in this search and may only become narrower, but "
            f"got {_shown(setting)}"
        )
    return kept


def read_value(text: Any, parameter: Parameter) -> Value:
    """``text`` as the type ``parameter`` has; unchanged where it is of no such type."""
    if not isinstance(text, str):
        if (
            isinstance(parameter.limits, Float)
            and isinstance(text, int)
            and not isinstance(text, bool)
        ):
            try:
                return float(text)
            except OverflowError:
                return text
        return text if isinstance(text, bool | int | float) else echo(text)
    text = text.strip()
    if isinstance(parameter.limits, Choice):
        return next((option for option in parameter.limits.options if _word(option) == text), text)
    if isinstance(parameter.limits, Name):
        return text
    try:
        number = float(text)
    except ValueError:
        return text
    if not math.isfinite(number):
        return text
    if isinstance(parameter.limits, Integer):
        return int(number) if number == int(number) else text
    return number


def _shown(setting: Any) -> str:
    """What somebody set, in an error."""
    writable = isinstance(setting, bool | float | str) or (
        isinstance(setting, int) and abs(setting) < 10**18
    )
    return echo(_word(setting)) if writable else repr(echo(setting))


def _word(value: Any) -> str:
    """A value as a user types it: ``true``, ``3``, ``euclidean``."""
    return str(value).lower() if isinstance(value, bool) else str(value)
