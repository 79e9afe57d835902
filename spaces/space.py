"""A space: parameters, in the order in which they are drawn, and how a user narrows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from spaces.domain import (
    Choice,
    Domain,
    Parameter,
    SpaceError,
    Suggest,
    Value,
    narrower,
    read_setting,
    read_value,
)
from spaces.errors import echo


@dataclass(frozen=True)
class Space:
    """A named set of parameters, some of which apply only under conditions on others.

    ``parameters`` are ordered: a condition names parameters that stand before it, so
    sampling them in order is define-by-run and never draws one that does not apply.

    Attributes:
        reports: what a trial reports along the way, which is what a pruner can judge:
            an ``epoch`` at a time (each better informed than the last), a ``fold`` at a
            time (each a sample of the same accuracy), or ``nothing`` before its end; where a plan
            says so, a ``part`` of the training images at a time in place of nothing.
        metrics: what a finished trial says of itself beside accuracy, by name.
        needs_images: whether a dataset is read for it.
        config: what a complete configuration is as its learner takes it: a dataclass, say, whose
            fields are the parameters.
        recipe: domains in place of parameters' own, by name, for those that nobody set; of the
            domains that there are once it is narrowed.
        pruner: that a search of many of its trials has unless it is told otherwise.
        start: values of a configuration that is good as a rule, where prefixes are too dear to
            begin with any: the first that the sampler ``reuse`` proposes, as far as a search has
            them.
    """

    name: str
    doc: str
    parameters: tuple[Parameter, ...]
    reports: Literal["nothing", "epoch", "fold", "part"] = "nothing"
    metrics: tuple[str, ...] = ("val_accuracy", "balanced_accuracy", "macro_f1", "seconds")
    needs_images: bool = True
    config: Callable[[Mapping[str, Any]], Any] = dict
    recipe: Callable[[Mapping[str, Domain]], Mapping[str, Domain]] | None = None
    pruner: str = "none"
    start: Mapping[str, Value] = field(default_factory=dict)

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
        for name in self.start:
            self[name]  # raises, naming what there is

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
    def prefix(self) -> tuple[str, ...]:
        """The parameters that decide what is dear about a trial; none if they, or all others, are
        one value in this search.
        """
        kinds = {parameter.prefix for parameter in self.parameters if parameter.varies}
        return tuple(p.name for p in self.parameters if p.prefix) if len(kinds) == 2 else ()

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
                    parameter, domain=read_setting(self.name, parameter, setting)
                )
            except SpaceError as error:
                problems.append(str(error))
        if problems:
            raise SpaceError("; ".join(problems))
        if self.recipe is not None:
            better = self.recipe({name: each.domain for name, each in parameters.items()})
            for name in better.keys() - settings.keys():
                parameters[name] = replace(parameters[name], domain=better[name])
        return replace(self, parameters=tuple(parameters.values()))

    def within(self, settings: Mapping[str, Any]) -> Space:
        """This space with parts of some domains in their place, each of the kind that it was.

        Args:
            settings: as ``narrow`` takes them.

        Raises:
            SpaceError: for one that is wider, or of another kind.
        """
        parts = {
            name: replace(
                self[name],
                domain=narrower(self.name, self[name], setting),
                allowed=self[name].limits,
            )
            for name, setting in settings.items()
        }
        return replace(self, parameters=tuple(parts.get(p.name, p) for p in self.parameters))

    def point(self, settings: Mapping[str, Any]) -> dict[str, Value]:
        """Values of some parameters, as a user typed or wrote them.

        Raises:
            SpaceError: for an unknown parameter, or a value outside what is searched.
        """
        values: dict[str, Value] = {}
        for name, text in settings.items():
            parameter = self[name]
            values[name] = read_value(text, parameter)
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
