"""What a worker is given to run one trial."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from spaces.domain import Value
from trainables.data.validation import Validation

if TYPE_CHECKING:  # a list of learners needs no numpy
    from trainables.contract.learner import Trial
    from trainables.data.source import DataSource
    from trainables.pretrained.facts import Weights
    from trainables.stages.stage import Stage

Config = Mapping[str, Value]
"""A complete configuration: the value of each parameter of a space, by name."""


@dataclass(frozen=True)
class TrainingSettings:
    """How the trials of a search are trained, beside their configurations.

    Attributes:
        epochs, image_size, cpus_per_trial, compile, deterministic: as ``analysis.plan.training``
            has them.
        precision: number format of convolutions and products; ``auto`` where each process measures.
        accumulate: most parts that a batch may be cut into where memory does not suffice for all of
            it; 1 never does.
        gpus: that a trial gets; 0 trains on the CPU.
        objective: metric by which the best epoch is told.
        maximize: whether more of it is better.
        patience: epochs in a row without a better one after which a training ends, and stands by
            its best epoch; 0 for never.
        parts: shares of the training images that epochs see one after the other, rising to 1, each
            until the same share of the epochs is over; all see all if empty.
        start: weights to start from, a path or URI; empty for random ones.
        start_classes: what they tell apart.
    """

    epochs: int
    image_size: int
    cpus_per_trial: int
    compile: bool
    deterministic: bool
    gpus: float
    objective: str
    maximize: bool
    precision: str = "auto"
    accumulate: int = 1
    patience: int = 0
    parts: tuple[float, ...] = ()
    start: str = ""
    start_classes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What all trials of a search are given.

    Attributes:
        seed: of everything random.
        joined: whether it runs on a cluster.
        data: the images as stages see them, ``validation``: how configurations are compared on
            them, and ``registry``: name of the actor that has the stages; of spaces that need no
            images there is none.
        training: settings of what is trained.
        weights: of the pretrained networks that are searched, by name.
    """

    seed: int
    joined: bool = False
    registry: str = ""
    data: DataSource | None = None
    validation: Validation | None = None
    training: TrainingSettings | None = None
    weights: Mapping[str, Weights] = field(default_factory=dict)

    def at_once(self) -> Shared:
        """The same for trials that are judged on all images in one step."""
        return replace(self, data=self.data and replace(self.data, rungs=()))

    def assign(self, **own: Any) -> Assignment:
        """The assignment of one trial, with what is its own."""
        shared = {one.name: getattr(self, one.name) for one in fields(Shared)}
        return Assignment(**shared | own)


@dataclass(frozen=True, kw_only=True)
class Assignment(Shared):
    """One trial, as a worker is given it.

    Attributes:
        space, number: which it is.
        config: its complete configuration.
        make: makes what runs it (``trainables.contract.learner.Learner.trial``).
        folder: path or URI of the trial, where it may keep what its end is to be exported from.
        restore: paths or URIs of the checkpoints that earlier drivers left.
        checkpoints: path or URI of the folder that it writes its own into; empty if it writes none.
        before: the configurations that it was trained with before ``config``, each with the step up
            to which.
        goes_from: path or URI of the state that another trial left after those; if empty, it does
            their steps itself.
        until: steps after which it ends; 0 where it says itself when.
        leaves: path or URI of the folder that its last state goes to, from which others go on;
            empty if nobody does.
        gate: of the first workers, which begin together: a folder, and how many they are.
    """

    space: str
    number: int
    config: Config
    make: Callable[[Assignment], Trial]
    folder: str = ""
    restore: tuple[str, ...] = ()
    checkpoints: str = ""
    before: tuple[tuple[int, Config], ...] = ()
    goes_from: str = ""
    until: int = 0
    leaves: str = ""
    gate: tuple[str, int] | None = None

    @property
    def begins(self) -> int:
        """Steps that others have done for it."""
        return self.before[-1][0] if self.before and self.goes_from else 0

    def config_at(self, done: int) -> Config:
        """The configuration of the step after ``done``."""
        return next((config for until, config in self.before if done < until), self.config)

    def fetch(self, *stages: Stage) -> tuple[list[Any], bool]:
        """(the results of ``stages``, computed once for the whole search; whether another trial had
        asked for the first before).

        Raises:
            StageError: naming the stage and the cause, if one fails.
        """
        from trainables.stages.registry import fetch  # loads Ray

        return fetch(self.registry, *stages)
