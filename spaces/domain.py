"""What one parameter may be: its domain, when it applies, and how a user narrows it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from spaces.errors import UserError, echo

Value = bool | int | float | str
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
    """

    name: str
    domain: Domain
    doc: str
    allowed: Domain | None = None
    when: Mapping[str, tuple[Value, ...]] | None = None
    otherwise: Value | None = None
    before: Value | None = None
    added: bool = False

    @property
    def limits(self) -> Domain:
        return self.allowed or self.domain

    def applies(self, config: Mapping[str, Value]) -> bool:
        return all(config[parent] in values for parent, values in (self.when or {}).items())


@dataclass(frozen=True)
class Space:
    """A named set of parameters, some of which apply only under conditions on others.

    ``parameters`` are ordered: a condition names parameters that stand before it, so
    sampling them in order is define-by-run and never draws one that does not apply.

    Attributes:
        reports: what a trial reports along the way, which is what a pruner can judge:
            an ``epoch`` at a time (each better informed than the last), a ``fold`` at a
            time (each a sample of the same accuracy), or ``nothing`` before its end.
        metrics: what a finished trial says of itself beside accuracy, by name.
        needs_images: whether a dataset is read for it.
        config: what a complete configuration is as its learner takes it: a dataclass, say, whose
            fields are the parameters.
    """

    name: str
    doc: str
    parameters: tuple[Parameter, ...]
    reports: Literal["nothing", "epoch", "fold"] = "nothing"
    metrics: tuple[str, ...] = ("val_accuracy", "balanced_accuracy", "macro_f1", "seconds")
    needs_images: bool = True
    config: Callable[[Mapping[str, Any]], Any] = dict

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for parameter in self.parameters:
            missing = set(parameter.when or {}) - seen
            if missing or parameter.name in seen:
                raise SpaceError(
                    f"{self.name}: parameter {parameter.name} is repeated or stands before "
                    f"{missing}"
                )
            if parameter.when and parameter.otherwise is None:
                raise SpaceError(
                    f"{self.name}: conditional parameter {parameter.name} needs a value for "
                    "otherwise"
                )
            seen.add(parameter.name)

    def become(self, parameters: tuple[Parameter, ...]) -> None:
        """Have these parameters from now on, for whoever holds this space: plug-ins add to some.

        Raises:
            SpaceError: if they do not go together; it keeps those it had then.
        """
        before = self.parameters
        object.__setattr__(self, "parameters", parameters)
        try:
            self.__post_init__()
        except SpaceError:
            object.__setattr__(self, "parameters", before)
            raise

    def asked(self) -> Space:
        """This space without what is ``added`` and can make no difference in its domains, so that
        configurations are the same whatever is there beside what they use.
        """
        kept: list[Parameter] = []
        idle: dict[str, Value | None] = {}
        domains = {parameter.name: parameter.domain for parameter in self.parameters}
        for parameter in self.parameters:
            conditions = dict(parameter.when or {})
            may = all(
                idle[name] in values
                if name in idle
                else any(value in domains[name] for value in values)
                for name, values in conditions.items()
            )
            if parameter.added and (not may or parameter.domain == Choice((parameter.before,))):  # type: ignore[arg-type]
                said = parameter.before if parameter.before is not None else parameter.otherwise
                idle[parameter.name] = said
                continue
            left = {name: values for name, values in conditions.items() if name not in idle}
            kept.append(replace(parameter, when=left or None))
        return replace(self, parameters=tuple(kept)) if idle else self

    @property
    def stepwise(self) -> bool:
        """Whether a trial reports along the way, so that it can be judged and gone on with
        there.
        """
        return self.reports != "nothing"

    def typed(self, config: Mapping[str, Any]) -> Any:
        """A complete configuration as what ``config`` of the space makes of it."""
        return self.config(config)

    @property
    def conditional(self) -> bool:
        """Whether some parameter may not apply."""
        return any(parameter.when for parameter in self.parameters)

    def __getitem__(self, name: str) -> Parameter:
        for parameter in self.parameters:
            if parameter.name == name:
                return parameter
        allowed = ", ".join(parameter.name for parameter in self.parameters)
        raise SpaceError(f"space {self.name} has no parameter {echo(name)}; it has {allowed}")

    def sample(self, suggest: Suggest) -> dict[str, Value]:
        """One complete configuration; ``suggest(name, domain)`` is asked only for what applies."""
        config: dict[str, Value] = {}
        for parameter in self.parameters:
            if parameter.applies(config):
                config[parameter.name] = suggest(parameter.name, parameter.domain)
            else:
                assert parameter.otherwise is not None  # held by __post_init__
                config[parameter.name] = parameter.otherwise
        return config

    def grid(self) -> Iterator[dict[str, Value]]:
        """Every combination that differs, as the parameters that apply, in a fixed order."""
        yield from self._grid(0, {}, {})

    def _grid(
        self, index: int, config: dict[str, Value], active: dict[str, Value]
    ) -> Iterator[dict[str, Value]]:
        if index == len(self.parameters):
            yield dict(active)
            return
        parameter = self.parameters[index]
        if not parameter.applies(config):
            assert parameter.otherwise is not None
            yield from self._grid(index + 1, config | {parameter.name: parameter.otherwise}, active)
            return
        for value in parameter.domain.values():
            choice = {parameter.name: value}
            yield from self._grid(index + 1, config | choice, active | choice)

    def narrow(self, settings: Mapping[str, Any]) -> Space:
        """This space with some domains replaced by what a user asked for.

        Args:
            settings: parameter name to one value, a list of values, or a range written
                ``"low..high"``. Strings are read as the type the parameter has.

        Raises:
            SpaceError: naming every setting that is not allowed, in one line.
        """
        problems: list[str] = []
        parameters = {parameter.name: parameter for parameter in self.parameters}
        for name, setting in settings.items():
            try:
                parameter = self[name]
                parameters[name] = replace(
                    parameter, domain=_read_setting(self.name, parameter, setting)
                )
            except SpaceError as error:
                problems.append(str(error))
        if problems:
            raise SpaceError("; ".join(problems))
        return replace(self, parameters=tuple(parameters.values()))

    def point(self, settings: Mapping[str, str]) -> dict[str, Value]:
        """Values of some parameters, as a user typed them.

        Raises:
            SpaceError: for an unknown parameter, or a value outside what is searched.
        """
        values: dict[str, Value] = {}
        for name, text in settings.items():
            parameter = self[name]
            values[name] = _read_value(text, parameter)
            if values[name] not in parameter.domain:
                raise SpaceError(
                    f"{self.name}.{name} must be {parameter.domain} in this search, but got "
                    f"{echo(text)}"
                )
        return values

    def check(self, config: Mapping[str, Any]) -> dict[str, Value]:
        """``config`` completed with the values of parameters that do not apply.

        Raises:
            SpaceError: for an unknown parameter, a missing one, or a value not allowed.
        """
        problems = [
            f"space {self.name} has no parameter {echo(name)}"
            for name in set(config) - {p.name for p in self.parameters}
        ]
        full: dict[str, Value] = {}
        for parameter in self.parameters:
            if not parameter.applies(full):
                assert parameter.otherwise is not None
                full[parameter.name] = parameter.otherwise
                continue
            value = config.get(parameter.name, parameter.before)
            if value is None or value not in parameter.limits:
                problems.append(
                    f"{self.name}.{parameter.name} must be {parameter.limits}, but got "
                    f"{echo(value)}"
                )
                break
            full[parameter.name] = value
        if problems:
            raise SpaceError("; ".join(problems))
        return full


def _read_setting(space: str, parameter: Parameter, setting: Any) -> Domain:
    """The domain that ``setting`` (``5``, ``"3,5,8"``, ``"1..10"``, ``[3, 5]``) asks for."""
    refusal = SpaceError(
        f"{space}.{parameter.name} must be {parameter.limits}, but got {_shown(setting)}"
    )
    if isinstance(setting, str) and ".." in setting:
        ends = [_read_value(end, parameter) for end in setting.split("..")]
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
    values = tuple(dict.fromkeys(_read_value(item, parameter) for item in items))
    if not values or any(value not in parameter.limits for value in values):
        raise refusal
    return Choice(values)


def _read_value(text: Any, parameter: Parameter) -> Value:
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
