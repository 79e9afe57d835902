"""The plan: everything a search is told, in one frozen value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError, model_validator

from analysis.plan.addresses import as_begun
from analysis.plan.complaints import complaints
from analysis.plan.limits import Bound
from analysis.plan.settings import NO_DATASET, Settings
from analysis.plan.yaml_text import YamlError, read_yaml_file
from spaces import Space, get_space
from spaces.domain import SpaceError, Value
from spaces.errors import UserError, echo
from trainables.data import ReadOptions
from trainables.data.options import MIN_SIZE, MOST_CHOSEN, fitting_size
from trainables.data.validation import MANY, Validation, usual_scheme
from trainables.images.rule import Rule
from trainables.learners import LEARNERS, Learner

MOST_SUFFIXES = 32
"""Suffixes of a prefix that the sampler ``reuse`` tries, on average, however little they cost."""
MAX_SIDE = 512
"""Pixels that the longer side of a photograph keeps."""
SIDES = 4
"""Or so many times the side of the squares that learners see: 800 photographs of 1024 × 768 take 29
MB for squares of 32, and 472 MB at 512.
"""


class PlanError(UserError):
    """A plan that cannot be run; the message lists everything that is wrong with it."""


class Plan(Settings):
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

    @property
    def uses_gpus(self) -> bool:
        """Whether trials of any of them are given a GPU where there is one; never where the plan
        says none.
        """
        return self.gpus_per_trial != 0 and any(one.gpu == "any" for one in self.learners)

    @property
    def held_out(self) -> bool:
        """Whether any of them is judged on images held out, and no other way."""
        return any(learner.held_out for learner in self.learners if learner.space.needs_images)

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

    def read_options(self) -> ReadOptions:
        """How the dataset is to be read."""
        folds = self.validation == "auto" and usual_scheme(self._judged, val=False) == "k-fold"
        held = folds or {"hold-out": True, "auto": self.held_out}.get(self.validation, False)
        return ReadOptions(
            color="rgb" if any(learner.color == "rgb" for learner in self.learners) else "grey",
            max_side=self._side,
            skip_unreadable=self.skip_unreadable,
            hold_out=self.hold_out if held else 0.0,
            hold_out_from=MANY if folds else 0,
            keep_val=self.validation == "auto",
            seed=self.seed,
            rule=Rule(orientation=self.orientation, fit=self.fit),
            square=self._square,
        )

    @property
    def _square(self) -> int | None:
        """The side of the squares that all learners see, 0 where what fits the images decides; None
        where they see more of them.
        """
        if self._sides - {0} or not self._only_squares:
            return None
        return self.training.image_size or 0

    @property
    def _sides(self) -> frozenset[int]:
        """Sides of images that configurations may ask for, 0 for that of the training."""
        spaces = self.search_spaces().values()
        sides = (p.domain for space in spaces for p in space.parameters if p.name == "side")
        return frozenset(int(value) for domain in sides for value in domain.values())

    @property
    def _only_squares(self) -> bool:
        seeing = [learner for learner in self.learners if learner.space.needs_images]
        return bool(seeing) and all(learner.squares for learner in seeing)

    def with_size(self, shorter: int) -> tuple[Plan, tuple[str, ...]]:
        """The plan with the side decided at which networks see images whose shorter side is
        ``shorter`` pixels, in the middle, if it does not say; and what is to be told of it.
        """
        if self.training.image_size or not any(learner.squares for learner in self.learners):
            return self, ()
        size = fitting_size(shorter)
        training = self.training.model_copy(update={"image_size": size})
        told = (
            f"networks see images at {size} × {size} pixels: half of them have a shorter side of "
            f"{shorter} or more; training: {{image_size: N}} or --set side=N says otherwise"
        )
        plan = self.model_copy(update={"training": training})
        return plan, (told,) if shorter > MIN_SIZE else ()

    def with_side(self) -> Plan:
        """The plan with ``max_side`` decided, so that a later release reads its images as this one
        does.
        """
        return self.model_copy(update={"max_side": self._side})

    @property
    def _side(self) -> int:
        if self.max_side is not None:
            return self.max_side
        if not self._only_squares:
            return MAX_SIDE
        asked = self._sides | {self.training.image_size or MOST_CHOSEN}
        return min(MAX_SIDE, SIDES * max(asked))

    def validation_for(self, splits: dict[str, int]) -> Validation:
        """How configurations are compared on a dataset with these splits.

        Raises:
            PlanError: if the plan asks for a val split that is not there.
        """
        usual = usual_scheme(self._judged, val="val" in splits)
        scheme = usual if self.validation == "auto" else self.validation
        if scheme == "hold-out":
            scheme = "val"
        if scheme == "val" and "val" not in splits:
            raise PlanError(
                f"validation: val needs a val split, but {self.dataset} has "
                f"{', '.join(splits)}; use leave-one-out, k-fold or hold-out"
            )
        return Validation(scheme, self.folds, self.seed)

    @property
    def _judged(self) -> Sequence[Sequence[str]]:
        return [one.validations for one in self.learners if one.space.needs_images]

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
