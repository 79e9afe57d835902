"""The plan: everything a search is told, in one frozen value."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError, model_validator

from analysis.plan.addresses import as_begun
from analysis.plan.complaints import PlanError, complaints
from analysis.plan.limits import Bound
from analysis.plan.seen import Seen
from analysis.plan.settings import NO_DATASET
from analysis.plan.yaml_text import YamlError, read_yaml_file
from spaces.errors import echo
from trainables.learners import LEARNERS


class Plan(Seen):
    """Everything a search is told, and what follows from that."""

    @model_validator(mode="after")
    def _settings_fit(self) -> Plan:
        self.narrowed_spaces()
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"an objective stands twice: {', '.join(self.objectives)}")
        if isinstance(self.shares, dict) and set(self.shares) != set(self.spaces):
            raise ValueError(
                f"shares must name each of {', '.join(self.spaces)}, but name "
                f"{echo(', '.join(self.shares))}"
            )
        if self.shares == "moving" and self.tradeoff:
            raise ValueError(
                f"shares: moving goes by one objective, but there is {', '.join(self.objectives)}"
            )
        if self.needs_images and self.dataset == NO_DATASET:
            raise ValueError(
                "dataset none is for spaces that need no images, but there is "
                f"{', '.join(self.spaces)}"
            )
        if not self.needs_images:
            object.__setattr__(self, "dataset", NO_DATASET)
        if self.population:
            said = self.trials if "trials" in self.model_fields_set else None
            object.__setattr__(self, "trials", self.population.trials(self.steps, said))
        return self

    @property
    def objectives(self) -> tuple[str, ...]:
        """All of them, the primary one first."""
        return (self.objective, *self.tradeoff)

    @property
    def uses_gpus(self) -> bool:
        """Whether trials of any of them are given a GPU where there is one; never where the plan
        says none.
        """
        return self.gpus_per_trial != 0 and any(one.gpu == "any" for one in self.learners)

    @property
    def trial_gpus(self) -> float:
        """``gpus_per_trial``, 0 where nobody has decided yet."""
        return self.gpus_per_trial or 0.0

    def gpus_of(self, space: str) -> float:
        """GPUs that a trial of ``space`` gets."""
        return 0.0 if LEARNERS[space].gpu == "none" else self.trial_gpus

    def words(self) -> tuple[str, ...]:
        """All that it may call by a name which a plug-in has given."""
        values = (
            value
            for setting in self.set.values()
            for value in (setting if isinstance(setting, list) else str(setting).split(","))
        )
        kind = self.dataset.partition(":")[0]
        named = (
            *self.spaces,
            kind,
            self.sampler,
            self.pruner,
            *self.objectives,
            *self.constraints,
            *self.set,
        )
        return (*named, *(str(value).strip() for value in values))

    def bounds(self) -> dict[str, Bound]:
        """Every constraint by metric, ``max_model_mb`` included."""
        own = [learner.most_mb for learner in self.learners if learner.most_mb]
        limit = self.max_model_mb or max(own, default=None)
        size = {} if limit is None else {"model_mb": Bound(max=limit)}
        return {**size, **self.constraints}

    def excesses(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """Constraint to how far a trial is out of bounds, at most 0 within them."""
        bounds = self.bounds().items()
        return {name: bound.excess(metrics[name]) for name, bound in bounds if name in metrics}

    def violations(self, metrics: Mapping[str, float]) -> tuple[str, ...]:
        """Constraints that a trial breaks, in words."""
        return tuple(
            f"{name} {metrics[name]:.4g} is not {bound}"
            for name, bound in self.bounds().items()
            if name in metrics and bound.excess(metrics[name]) > 0
        )

    def to_yaml(self) -> str:
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def make_plan(settings: dict[str, Any], where: str = "plan") -> Plan:
    """A plan from plain settings.

    Raises:
        PlanError: one line with every setting that is wrong, what is allowed, and what was got.
    """
    try:
        return Plan(**settings)
    except ValidationError as error:
        raise PlanError(f"{where}: {complaints(error, Plan)}") from None
    except TypeError as error:
        raise PlanError(f"{where}: {error}") from None


def read_plan(path: Path) -> Plan:
    """The plan in a YAML file.

    Raises:
        PlanError: if the file is missing, is no YAML mapping, or the plan is wrong.
    """
    try:
        settings = read_yaml_file(path, "plan")
    except YamlError as error:
        raise PlanError(str(error)) from None
    if not isinstance(settings, dict) or not all(isinstance(key, str) for key in settings):
        raise PlanError(
            f"{path}: a plan is a YAML mapping of settings, but got {type(settings).__name__}"
        )
    tracking = settings.get("tracking")
    if (
        (path.parent / "data.json").is_file()
        and isinstance(tracking, dict)
        and isinstance(tracking.get("uri"), str)
    ):
        settings["tracking"] = {**tracking, "uri": as_begun(tracking["uri"], path.parent.parent)}
    return make_plan(settings, str(path))
