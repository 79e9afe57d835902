"""The settings of a plan: their names, types and defaults, and what each of them may be."""

from __future__ import annotations

import itertools
import math
import operator
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from analysis.plan.addresses import MOST_ADDRESS, STORAGES, Tracking, study_storage
from analysis.plan.changed import Changed
from analysis.plan.limits import Bound, Limits
from analysis.plan.population import Population
from analysis.plan.replicate import Replicate
from analysis.plan.training import Training
from spaces import get_space
from spaces.errors import echo
from spaces.objectives import METRICS
from spaces.samplers import PRUNERS, SAMPLERS, usual_pruner
from trainables.data import absolute_spec
from trainables.images.rule import Fit, Orientation
from trainables.pretrained.facts import Weights

NO_DATASET = "none"
"""Dataset of a plan whose spaces need no images."""
RUNGS = (0.25, 0.5, 1.0)
"""Parts of the training images that trials are judged on, unless the plan says others."""
MOST_RUNGS = 10
Option = bool | int | float | str
Setting = bool | int | float | str | list[bool | int | float | str]
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""A name of a run."""


class Settings(BaseModel):
    """What is set in a plan. Plans are data: nothing in one is ever executed.

    Attributes:
        spaces: the spaces to search.
        shares: what each of several spaces gets: ``equal`` gives them trials in turn; a number a
            space is its share of the time that trials take; ``moving`` gives most of that to the
            space that is ahead, and none to one that cannot catch up.
        dataset: SPEC of the images.
        trials: how many to finish (COMPLETE or PRUNED), over all spaces together.
        name: of the run directory; made from space and dataset if empty.
        sampler: who proposes, one of ``spaces.samplers.SAMPLERS``.
        sampler_options: its options.
        pruner: who stops weak trials, one of ``spaces.samplers.PRUNERS``; if neither it nor its
            options are said, that of the spaces, in a search of many trials.
        pruner_options: its options.
        fidelity: what trials are judged on along the way: ``epochs`` as they are, or ``images``,
            parts of the training images, smaller ones first. Only what comes of all is a result.
        rungs: the parts, as shares of all images, rising to 1; ``RUNGS`` if empty.
        population: trainings that take over from one another on the way, with values that change;
            ``trials`` follows from it.
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
        validation: ``auto`` is the dataset's val split if it has one, else leave-one-out,
            hold-out where networks are trained, or k-fold where heads are fitted to features, from
            10,000 training images on hold-out too.
        folds: of k-fold.
        hold_out: fraction of train set aside, for validation ``hold-out``.
        replicate: the best trials are run again with other seeds when the search has ended, and
            stand by their means.
        set: parameter to value, list, or "low..high"; replaces the space's own domain.
        narrowed: the same of what was narrowed while the search went on; studies keep the domains
            that they began with, and samplers draw within these.
        concurrency: trials at a time, at most four a core, or as many networks as there is room
            for; if None, one more than the cores, or as many.
        max_side: pictures of a folder are shrunk to this many pixels at most; if None, to 512, or
            to four times the side that networks see where that is less and nothing but networks is
            searched.
        orientation: photographs are turned upright as their tag (EXIF) says, or stay as ``stored``.
        fit: pictures that are no squares are resized to them where squares are needed
            (``squash``), or are made squares when they are read: by their middle (``crop``) or with
            grey beside them (``pad``).
        skip_unreadable: leave out files that cannot be read, and count them.
        audit: whether a search looks at its images before it begins, and says what it found, or
            refuses to begin where it finds anything.
        drop_leaked: test images that are also training images are left out of the test score when
            a trial is exported.
        cache_gib: size limit of the stages kept on disk in the runs directory for the next search;
            0 keeps none.
        warm_start: earlier runs, by name or path, or Optuna studies (``URL#NAME``), whose trials
            the samplers know from the beginning.
        try_first: configurations that are tried before any that a sampler proposes: parameter to
            value, what is left open is drawn; ``space`` says which, where there are several.
        class_order: order in which classes are shown; changes nothing that is computed.
        abbreviations: class to its short name in confusion matrices.
        weights: of the pretrained networks that are searched, by name, as they were when the search
            began: it goes on with no others.
        reference: named lines to compare with, drawn on curves and marked in tables.
        changes: what was asked to be otherwise since the search began, the latest last.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    spaces: Annotated[tuple[str, ...], Field(min_length=1)]
    shares: str | dict[str, float] = "equal"
    dataset: Annotated[str, Field(max_length=MOST_ADDRESS)] = "digits"
    trials: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    name: str = ""
    sampler: str = "reuse"
    sampler_options: dict[str, Option] = {}
    pruner: str = "none"
    pruner_options: dict[str, Option] = {}
    fidelity: Literal["epochs", "images"] = Field("epochs", exclude_if=lambda of: of == "epochs")
    rungs: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field((), exclude_if=operator.not_)
    population: Population | None = None
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
    narrowed: dict[str, Setting] = {}
    concurrency: Annotated[int, Field(ge=1, le=10_000)] | None = None
    max_side: Annotated[int, Field(ge=8, le=10_000)] | None = None
    orientation: Orientation = "exif"
    fit: Fit = "squash"
    skip_unreadable: bool = False
    audit: Literal["warn", "refuse", "off"] = "warn"
    drop_leaked: bool = False
    cache_gib: Annotated[float, Field(ge=0, le=100_000)] = 10.0
    warm_start: tuple[Annotated[str, Field(min_length=1, max_length=MOST_ADDRESS)], ...] = ()
    try_first: tuple[dict[str, Option], ...] = ()
    class_order: tuple[str, ...] = ()
    abbreviations: dict[str, str] = {}
    weights: dict[str, Weights] = {}
    reference: dict[str, float] = {}
    tracking: Tracking = Tracking()
    changes: tuple[Changed, ...] = ()

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

    @model_validator(mode="after")
    def _pruner_that_fits(self) -> Settings:
        if self.population is None and not {"pruner", "pruner_options"} & self.model_fields_set:
            usual = [get_space(name).pruner for name in self.spaces]
            goals = (self.objective, *self.tradeoff)
            name, options = usual_pruner(usual, goals, self.trials, self.training.epochs)
            object.__setattr__(self, "pruner", name)
            object.__setattr__(self, "pruner_options", options)
        return self

    @field_validator("objective", "tradeoff", "constraints")
    @classmethod
    def _known_metrics(cls, value: Any) -> Any:
        for name in (value,) if isinstance(value, str) else value:
            if name not in METRICS:
                raise ValueError(f"no metric {echo(name)}; there are {', '.join(METRICS)}")
        return value

    @field_validator("shares", mode="before")
    @classmethod
    def _known_shares(cls, value: Any) -> Any:
        numbers = value.values() if isinstance(value, dict) else ()
        fit = all(type(n) in (int, float) and 0 < n < math.inf for n in numbers)
        if value not in ("equal", "moving") and not (numbers and fit):
            raise ValueError("must be equal, moving, or a number above 0 for each space")
        return value

    @field_validator("audit", mode="before")
    @classmethod
    def _written_bare(cls, word: Any) -> Any:
        """``audit: off`` is false to YAML."""
        return "off" if word is False else word

    @field_validator("sampler", "pruner")
    @classmethod
    def _known_word(cls, name: str, info: ValidationInfo) -> str:
        table: Mapping[str, Any] = SAMPLERS if info.field_name == "sampler" else PRUNERS
        if name not in table:
            raise ValueError(f"must be one of {', '.join(table)}")
        return name

    @field_validator("rungs")
    @classmethod
    def _rising(cls, rungs: tuple[float, ...]) -> tuple[float, ...]:
        rises = all(low < high for low, high in itertools.pairwise(rungs))
        if rungs and not (rises and rungs[-1] == 1 and 2 <= len(rungs) <= MOST_RUNGS):
            raise ValueError(
                f"must be 2 to {MOST_RUNGS} shares that rise and end with 1, as in [0.25, 0.5, 1]"
            )
        return rungs

    @field_validator("population", mode="before")
    @classmethod
    def _method_alone(cls, given: Any) -> Any:
        return {"method": given} if isinstance(given, str) else given

    @field_validator("warm_start")
    @classmethod
    def _no_secret(cls, places: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(
            study_storage(place) if place.startswith(STORAGES) else place for place in places
        )

    @field_validator("storage")
    @classmethod
    def _known_storage(cls, url: str) -> str:
        return study_storage(url)

    @field_validator("spaces", "warm_start", mode="before")
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

    @property
    def parts(self) -> tuple[float, ...]:
        """Shares of the training images that trials see one after the other, the last of which is
        1; none where they see all of them from the beginning.
        """
        return (self.rungs or RUNGS) if self.fidelity == "images" else ()

    @property
    def said_of_parts(self) -> str:
        """The same in words; empty if there are none."""
        *shares, last = [f"{share:.3g}" for share in self.parts] or [""]
        return f"{', '.join(shares)} and {last} of the training images" if last else ""
