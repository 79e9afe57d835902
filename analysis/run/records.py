"""What is written down of a search: a trial, its dataset, its driver."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from trainables.data import ReadOptions
from trainables.images.rule import FIRST, Rule

STATES = ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING")
State = Literal["COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0, lt=2**63)]


class Measured(BaseModel):
    """Scores on one split: which, of how many images, and how it was measured."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    split: str
    n: Count
    scheme: str
    accuracy: Share
    balanced_accuracy: Share
    macro_f1: Share


class TrialRecord(BaseModel):
    """A finished trial, as its result.json says. Times are Unix seconds.

    Attributes:
        metrics: by name, as ``spaces.objectives`` knows them; for a pruned trial the last
            ones.
        steps: how many it did; 0 where its space reports nothing along the way.
        failure: why it failed.
        pruned_by: what stopped it: the pruner, a constraint, or a limit of the search.
        violations: constraints it breaks, in words.
        infeasible: it was never run, since it was known to break a constraint.
        gpu_seconds: seconds times GPUs.
        device: on which what it shares with others was computed, if not on the cores.
        digests: SHA-256 of what lies beside the record, by its name in the trial's folder; empty
            where a version wrote none.
        parent: number of the trial that it went on from, in a population.
        replicas: seed to the metrics that it had when it was run again with that; not part of its
            own file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    space: str
    number: int
    state: State
    config: dict[str, bool | int | float | str]
    metrics: dict[str, float] = {}
    accuracy_by_k: tuple[float, ...] = ()
    started: float
    seconds: float
    node: str = ""
    failure: str | None = None
    steps: int = 0
    pruned_by: str | None = None
    violations: tuple[str, ...] = ()
    infeasible: bool = False
    gpu_seconds: float = 0.0
    device: str = ""
    digests: dict[str, str] = {}
    parent: int | None = None
    replicas: dict[int, dict[str, float]] = Field(default={}, exclude=True)

    @property
    def key(self) -> str:
        return f"{self.space}/{self.number}"

    def value(self, metric: str) -> float:
        """A metric as the trial stands by it: the mean over its replicas, where there are any."""
        return (
            fmean(found[metric] for found in self.replicas.values())
            if self.replicas
            else self.metrics[metric]
        )


class DataFacts(BaseModel):
    """What is known of the dataset without reading it again.

    Attributes:
        rule: how what is not 8-bit grey or RGB was read; None of a run that the first release
            began.
        notes: what the search said of the images when it began.
        square: side of the squares that images are packed as; 0 where they keep their shapes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    spec: str
    classes: tuple[str, ...]
    sizes: dict[str, int]
    fingerprint: str
    skipped: tuple[str, ...] = ()
    rule: Rule | None = None
    notes: tuple[str, ...] = ()
    square: int = 0

    def as_read(self, options: ReadOptions) -> ReadOptions:
        """The plan's options for the same images, read as they were when the run began: by the
        rule of then (the first release had one of its own), without the files left out then, and
        with nothing set aside where nothing was.
        """
        return replace(
            options,
            hold_out=options.hold_out if "val" in self.sizes else 0.0,
            hold_out_from=0,
            rule=self.rule or FIRST,
            exactly=self.rule is None,
            left_out=self.skipped,
            square=self.square or None,
            packed=self.square > 0,
        )


class DriverState(BaseModel):
    """What the driver last said of itself.

    Attributes:
        id: of a run that has no run.json from its beginning, among all runs of its name; the others
            are known by that.
        study: what run.json says, should that be lost.
        seconds: of all its sessions together.
        tracking_error: why MLflow could not be told, last; empty if it could.
        session: how many drivers have worked on the run.
        trials: by state, as last counted.
        best: the best trial so far, as ``visiontune status`` shows it.
        infeasible: how many of the PRUNED were not run since they break a constraint.
        left: ``seconds`` and ``trials`` that were expected until the end; empty while nothing could
            be told.
        shares: space to its ``trials``, their ``seconds`` and its ``best`` so far, where there are
            several.
    """

    model_config = ConfigDict(extra="forbid")

    id: str = ""
    study: str = ""
    state: Literal["running", "stopped", "finished", "failed"] = "running"
    reason: str = ""
    pid: int = 0
    node: str = ""
    seconds: float = 0.0
    tracking_error: str = ""
    session: int = 0
    trials: dict[str, int] = {}
    best: dict[str, Any] | None = None
    infeasible: int = 0
    left: dict[str, float] = {}
    shares: dict[str, dict[str, float]] = {}
