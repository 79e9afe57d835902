"""The plan: everything a search is told, in one frozen value."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from analysis.plan.addresses import MOST_ADDRESS, Tracking, as_begun, study_storage
from analysis.plan.complaints import complaints
from analysis.plan.limits import Bound, Limits
from analysis.plan.replicate import Replicate
from analysis.plan.training import Training
from analysis.plan.yaml_text import YamlError, read_yaml_file
from spaces import Space, get_space
from spaces.errors import UserError, echo
from spaces.objectives import METRICS
from spaces.samplers import PRUNERS, SAMPLERS
from trainables.data import ReadOptions, absolute_spec
from trainables.data.validation import Validation
from trainables.learners import LEARNERS, Learner

NO_DATASET = "none"
"""Dataset of a plan whose spaces need no images."""
MAX_SIDE = 512
"""Pixels that the longer side of a photograph keeps."""
SIDES = 4
"""Or so many times the side of the squares that learners see: 800 photographs of 1024 × 768 take 29
MB for squares of 32, and 472 MB at 512.
"""
Option = bool | int | float | str
Setting = bool | int | float | str | list[bool | int | float | str]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""A name of a run."""


class PlanError(UserError):
    """A plan that cannot be run; the message lists everything that is wrong with it."""


class Plan(BaseModel):
    """Everything a search is told. Plans are data: nothing in one is ever executed.

    Attributes:
        spaces: the spaces to search; trials are shared out among them in turn.
        dataset: SPEC of the images.
        trials: how many to finish (COMPLETE or PRUNED), over all spaces together.
        name: of the run directory; made from space and dataset if empty.
        sampler: who proposes, one of ``spaces.samplers.SAMPLERS``.
        sampler_options: its options.
        pruner: who stops weak trials, one of ``spaces.samplers.PRUNERS``.
        pruner_options: its options.
        storage: where the Optuna studies live: a database URL; by default a journal in the run
            directory.
        seed: of samplers, folds and vocabularies.
        objective: what is to be best (``spaces.objectives`` says which way), measured on
            validation images only. Given as a list, the rest of it is ``tradeoff``.
        tradeoff: further objectives: the search then looks for the Pareto front.
        constraints: metric to the values that are acceptable. A trial known to break one
            before it runs is not run; one that turns out to break one is no candidate for the best.
        max_model_mb: short for a constraint on ``model_mb``, MiB of float32 parameters;
            what the learner has if None.
        limits: what else ends the search.
        retries: how often a failed configuration is tried again, as a new trial.
        gpus_per_trial: GPUs, or a share of one, that a trial of a space without shared stages gets;
            if None, one a network where there are any.
        training: how networks are trained.
        validation: ``auto`` is the dataset's val split if it has one, else leave-one-out, or
            hold-out where networks are trained.
        folds: of k-fold.
        hold_out: fraction of train set aside, for validation ``hold-out``.
        replicate: the best trials are run again with other seeds when the search has ended, and
            stand by their means.
        set: parameter to value, list, or "low..high"; replaces the space's own domain.
        concurrency: trials at a time, at most four a core, or as many networks as there is room
            for; if None, one more than the cores, or as many.
        max_side: pictures of a folder are shrunk to this many pixels at most; if None, to 512, or
            to four times ``training.image_size`` where that is less and nothing but networks is
            searched.
        skip_unreadable: leave out files that cannot be read, and count them.
        cache_gib: size limit of the stages kept on disk in the runs directory for the next search;
            0 keeps none.
        class_order: order in which classes are shown; changes nothing that is computed.
        abbreviations: class to its short name in confusion matrices.
        reference: named lines to compare with, drawn on curves and marked in tables.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    spaces: Annotated[tuple[str, ...], Field(min_length=1)]
    dataset: Annotated[str, Field(max_length=MOST_ADDRESS)] = "digits"
    trials: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    name: str = ""
    sampler: str = "tpe"
    sampler_options: dict[str, Option] = {}
    pruner: str = "none"
    pruner_options: dict[str, Option] = {}
    storage: Annotated[str, Field(max_length=MOST_ADDRESS)] = ""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    objective: str = "val_accuracy"
    tradeoff: tuple[str, ...] = ()
    constraints: dict[str, Bound] = {}
    max_model_mb: Annotated[float, Field(gt=0)] | None = None
    limits: Limits = Limits()
    retries: Annotated[int, Field(ge=0, le=10)] = 0
    gpus_per_trial: Annotated[float, Field(ge=0)] | None = None
    training: Training = Training()
    validation: Literal["auto", "leave-one-out", "k-fold", "val", "hold-out"] = "auto"
    folds: Annotated[int, Field(ge=2, le=100)] = 5
    hold_out: Annotated[float, Field(gt=0, lt=1)] = 0.2
    replicate: Replicate | None = None
    set: dict[str, Setting] = {}
    concurrency: Annotated[int, Field(ge=1, le=10_000)] | None = None
    max_side: Annotated[int, Field(ge=8, le=10_000)] | None = None
    skip_unreadable: bool = False
    cache_gib: Annotated[float, Field(ge=0, le=100_000)] = 10.0
    class_order: tuple[str, ...] = ()
    abbreviations: dict[str, str] = {}
    reference: dict[str, float] = {}
    tracking: Tracking = Tracking()

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, settings: Any) -> Any:
        """``objective`` as a list, and ``max_model_mb``, are written out."""
        if not isinstance(settings, dict):
            return settings
        settings = dict(settings)
        goals = settings.get("objective")
        if isinstance(goals, list | tuple) and goals and not settings.get("tradeoff"):
            settings["objective"], settings["tradeoff"] = goals[0], tuple(goals[1:])
        return settings

    @field_validator("objective", "tradeoff", "constraints")
    @classmethod
    def _known_metrics(cls, value: Any) -> Any:
        for name in (value,) if isinstance(value, str) else value:
            if name not in METRICS:
                raise ValueError(f"no metric {echo(name)}; there are {', '.join(METRICS)}")
        return value

    @field_validator("sampler", "pruner")
    @classmethod
    def _known_word(cls, name: str, info: ValidationInfo) -> str:
        table: Mapping[str, Any] = SAMPLERS if info.field_name == "sampler" else PRUNERS
        if name not in table:
            raise ValueError(f"must be one of {', '.join(table)}")
        return name

    @field_validator("storage")
    @classmethod
    def _known_storage(cls, url: str) -> str:
        return study_storage(url)

    @field_validator("spaces", mode="before")
    @classmethod
    def _one_or_more(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("spaces")
    @classmethod
    def _known_spaces(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            get_space(name)
        if len(set(names)) != len(names):
            raise ValueError("a space stands twice")
        return names

    @field_validator("dataset")
    @classmethod
    def _known_dataset(cls, spec: str) -> str:
        return spec if spec == NO_DATASET else absolute_spec(spec)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        if name and not NAME.fullmatch(name):
            raise ValueError(
                "a name is letters, digits, '.', '_' and '-', and begins with a letter or digit"
            )
        return name

    @model_validator(mode="after")
    def _settings_fit(self) -> Plan:
        self.search_spaces()
        if len(set(self.objectives)) < len(self.objectives):
            raise ValueError(f"an objective stands twice: {', '.join(self.objectives)}")
        if self.needs_images and self.dataset == NO_DATASET:
            raise ValueError(
                "dataset none is for spaces that need no images, but there is "
                f"{', '.join(self.spaces)}"
            )
        if (self.gpus_per_trial or 0) > 1:
            raise ValueError(
                f"gpus_per_trial must be at most 1, but got {self.gpus_per_trial:g}: a network is "
                "trained on one GPU; use the others for more trials at once"
            )
        if not self.needs_images:
            object.__setattr__(self, "dataset", NO_DATASET)
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
    def learners(self) -> tuple[Learner, ...]:
        """Those of its spaces."""
        return tuple(LEARNERS[name] for name in self.spaces)

    @property
    def uses_gpus(self) -> bool:
        """Whether trials of any of them are given a GPU where there is one."""
        return any(learner.gpu == "any" for learner in self.learners)

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
        return narrowed

    def read_options(self) -> ReadOptions:
        """How the dataset is to be read."""
        held = self.validation == "hold-out" or (self.validation == "auto" and self.held_out)
        return ReadOptions(
            color="rgb" if any(learner.color == "rgb" for learner in self.learners) else "grey",
            max_side=self._side,
            skip_unreadable=self.skip_unreadable,
            hold_out=self.hold_out if held else 0.0,
            keep_val=self.validation == "auto",
            seed=self.seed,
        )

    def with_side(self) -> Plan:
        """The plan with ``max_side`` decided, so that a later release reads its images as this one
        does.
        """
        return self.model_copy(update={"max_side": self._side})

    @property
    def _side(self) -> int:
        if self.max_side is not None:
            return self.max_side
        seeing = [learner for learner in self.learners if learner.space.needs_images]
        squares = seeing and all(learner.squares for learner in seeing)
        return min(MAX_SIDE, SIDES * self.training.image_size) if squares else MAX_SIDE

    def validation_for(self, splits: dict[str, int]) -> Validation:
        """How configurations are compared on a dataset with these splits.

        Raises:
            PlanError: if the plan asks for a val split that is not there.
        """
        scheme = self.validation
        if scheme == "auto":
            judged = [one.validations for one in self.learners if one.space.needs_images]
            scheme = "val"
            if "val" not in splits and all("leave-one-out" in their for their in judged):
                scheme = "leave-one-out"
            elif "val" not in splits and all("k-fold" in their for their in judged):
                scheme = "k-fold"
        if scheme == "hold-out":
            scheme = "val"
        if scheme == "val" and "val" not in splits:
            raise PlanError(
                f"validation: val needs a val split, but {self.dataset} has "
                f"{', '.join(splits)}; use leave-one-out, k-fold or hold-out"
            )
        return Validation(scheme, self.folds, self.seed)

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
