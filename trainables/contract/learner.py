"""One kind of learner: its space, what runs a trial of it, and what it asks of a search."""

from __future__ import annotations

import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from spaces import SPACES, Space
from spaces.errors import UserError
from spaces.registry import Registry
from trainables.contract.assignment import Assignment, Config, Shared
from trainables.io.checkpoint import MANIFEST, files_of, read_state, write_state
from trainables.io.remote import join_place
from trainables.pretrained.facts import Weights
from trainables.stages.stage import Stage

if TYPE_CHECKING:
    from trainables.data.source import DataSource


class Trial(ABC):
    """One configuration, from its first step to its last. One that is done in one step is its
    ``step`` alone.
    """

    @abstractmethod
    def step(self) -> dict[str, Any]:
        """Do one step; the metrics by name, ``done`` after the last, and ``report`` where the
        pruner is to see another value, and ``seconds`` where the step cost others than it took
        here (work that a service or a simulation did, say). The last one of a classifier has the
        (n,) ``predictions`` of the validation images and, where it knows them, the (n, classes)
        ``shares`` of each class.
        """

    def save(self, folder: Path) -> None:
        """Write all that the next step depends on; a whole folder, as ``trainables.io.checkpoint``
        defines it.
        """
        raise NotImplementedError(f"{type(self).__name__} has several steps, but no save")

    def load(self, folder: Path) -> None:
        """Go on from what ``save`` wrote."""
        raise NotImplementedError(f"{type(self).__name__} has several steps, but no load")

    def snapshot(self) -> Callable[[], Mapping[str, bytes]]:
        """A copy of what ``save`` writes, taken now; called later, beside the next step, it gives
        the files by name, the manifest last. One whose state is large does better than this.
        """
        with tempfile.TemporaryDirectory(prefix="visiontune-") as folder:
            self.save(Path(folder))
            files = files_of(Path(folder))
            files[MANIFEST] = (Path(folder) / MANIFEST).read_bytes()
        return lambda: files

    def close(self) -> None:  # noqa: B027  # most hold nothing
        """Give back what it holds; nothing is asked of it after that."""


class InParts(Trial):
    """One that is judged on one part of the training images after another, where the search is told
    parts (``DataSource.rungs``), a step each, and on all of them last; and else in one step. All
    that lies between two steps is how many were done: what was made of images is shared.
    """

    def __init__(self, assignment: Assignment) -> None:
        self._assignment, self._done = assignment, 0

    @abstractmethod
    def judged_on(self, data: DataSource) -> dict[str, Any]:
        """What ``step`` gives, but for ``done``, where these images are all there are."""

    def step(self) -> dict[str, Any]:
        """The next part, or all images at once."""
        data = self._assignment.data
        assert data is not None
        if not data.rungs:
            return {**self.judged_on(data), "done": True}
        found = self.judged_on(data.at(self._done))
        self._done += 1
        done = self._done >= data.steps
        if not done:  # what it says of single images is of few of them
            found = {key: value for key, value in found.items() if isinstance(value, str | float)}
        return {**found, "step": self._done - 1, "done": done}

    def save(self, folder: Path) -> None:
        write_state(folder, self._done, {})

    def load(self, folder: Path) -> None:
        self._done, _ = read_state(folder)


@dataclass(frozen=True)
class Learner:
    """A kind of learner. ``trainables.learners`` has ours.

    What it needs is said here, never asked of its name: the search gives it that.

    Attributes:
        space: what may vary of it; its name is the learner's.
        trial: makes what runs one trial, in a worker; imports late what takes long to import.
        known: metrics of a configuration that need no training, such as its ``model_mb``: of
            configuration, number of classes and side of the images.
        costs: what a configuration takes, by name, as a dry run shows it; of the same, and nothing
            of a trial's record.
        work: the stage that the trial of a configuration waits for, so that it can be made before
            the trial is; None where trials share no work.
        prepare: stages that all trials wait for, made before any of them holds a core.
        holds_cores: a trial computes in its own process, on ``training.cpus_per_trial`` cores.
            False where it waits for stages, which have the cores.
        gpu: whether a trial is given a GPU: ``none``, ``asked`` if the plan gives it one, or
            ``any`` if there is one and the plan does not say otherwise.
        validations: how it can be judged.
        color: of the images that it sees.
        squares: it sees images at ``training.image_size``, so that larger ones need not be kept.
        most_mb: MiB that a model may have unless the plan says otherwise; None for no limit.
        imports: modules that a worker needs for it, which every node of a cluster is asked for.
        classifier: kind of its bundles (``analysis.bundle.classifier``); empty if it has none.
        backbones: the parameter whose values name pretrained networks
            (``trainables.pretrained.weights.find``): their weights are found before a search
            begins, and every trial is given them (``Shared.weights``). Empty if there is none.
        in_parts: whether its trials can see parts of the training images first
            (``DataSource.rungs``, ``TrainingSettings.parts``).
        fits: raises ``BackboneError`` if such a network cannot do what the space, as it is
            searched, asks of it; in a worker, before the search begins.
    """

    space: Space
    trial: Callable[[Assignment], Trial]
    known: Callable[[Config, int, int], dict[str, float]] | None = None
    costs: Callable[[Config, int, int], dict[str, float]] | None = None
    work: Callable[[Shared, Config], Stage] | None = None
    prepare: Callable[[Shared], tuple[Stage, ...]] | None = None
    holds_cores: bool = True
    gpu: Literal["none", "asked", "any"] = "none"
    validations: tuple[str, ...] = ("val",)
    color: Literal["grey", "rgb"] = "grey"
    squares: bool = False
    most_mb: float | None = None
    imports: tuple[str, ...] = ()
    classifier: str = ""
    backbones: str = ""
    in_parts: bool = False
    fits: Callable[[Space, Weights], None] | None = None

    @property
    def name(self) -> str:
        return self.space.name

    @property
    def held_out(self) -> bool:
        """Whether it is judged on images held out, and no other way."""
        return set(self.validations) == {"val"}

    def known_before(
        self, config: Mapping[str, Any], classes: int = 0, size: int = 0
    ) -> dict[str, float]:
        """Metrics of a complete configuration that need no training.

        Args:
            classes, size: of the images that it would be trained on.
        """
        return self.known(config, classes, size) if self.known else {}

    def assign(
        self, shared: Shared, run: str, number: int, config: Config, session: int = 1, **more: Any
    ) -> Assignment:
        """What a trial of it is given.

        Args:
            run: path or URI of the run directory that the trial's folder lies in.
            session: of the run.
        """
        kept = join_place(run, "tune", f"{self.name}-{number:05d}.session-{session}")
        parted = bool(shared.data and shared.data.rungs)
        return shared.assign(
            space=self.name,
            number=number,
            config=config,
            make=self.trial,
            folder=join_place(run, "trials", self.name, f"{number:05d}"),
            checkpoints=kept if self.space.stepwise or parted else "",
            **more,
        )


class Learners(Registry[Learner]):
    """Learners by name; the space of each becomes known with it."""

    def add(self, thing: Learner, by: str = "") -> Learner:
        super().add(thing, by)
        if SPACES.get(thing.name) is not thing.space:
            try:
                SPACES.add(thing.space, by)
            except UserError:
                super().remove(thing.name)
                raise
        return thing

    def remove(self, name: str) -> None:
        space = self[name].space
        super().remove(name)
        if SPACES.get(name) is space:
            SPACES.remove(name)


LEARNERS = Learners(Learner, "space")
