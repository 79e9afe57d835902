"""The spaces ``toy`` and ``toy-folds``: seconds instead of hours, for a first look and for tests of
the search itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from spaces.domain import Choice, Float, Integer, Parameter
from spaces.space import Space

FAULTS = ("none", "error", "hang", "nan", "infinite", "missing", "die", "reset")
"""What a toy trial may be told to do wrong."""
FAULTY = FAULTS[1:]


@dataclass(frozen=True)
class ToyConfig:
    """One configuration of the spaces ``toy`` and ``toy-folds``; the fields are its parameters."""

    quality: float
    optimiser: str
    rate: float
    momentum: float
    width: int
    steps: int
    pause: float
    fault: str
    fault_step: int


TOY = Space(
    "toy",
    "a made-up learner whose accuracy rises over a few steps: no images, no training; for a "
    "first look, and to try a sampler or pruner",
    (
        Parameter("quality", Float(0.0, 1.0), "accuracy that it comes to in the end"),
        Parameter("optimiser", Choice(("sgd", "adam")), "sgd takes the momentum into account"),
        Parameter(
            "rate",
            Float(0.1, 2.0, log=True),
            "how fast it learns, per step",
            allowed=Float(0.01, 10.0, log=True),
            anew=True,
        ),
        Parameter(
            "momentum",
            Float(0.0, 0.9),
            "makes sgd learn faster, by the factor 1 + momentum",
            when={"optimiser": ("sgd",)},
            otherwise=0.0,
            anew=True,
        ),
        Parameter(
            "width",
            Integer(1, 64),
            "size: model_mb is width² / 40, and each 16 add a millisecond of latency",
        ),
        Parameter("steps", Choice((8,)), "steps, each with a report", allowed=Integer(1, 1000)),
        Parameter("pause", Choice((0.0,)), "sleep in each step, seconds", allowed=Float(0.0, 60.0)),
        Parameter(
            "fault", Choice(("none",)), "what it is told to do wrong", allowed=Choice(FAULTS)
        ),
        Parameter(
            "fault_step",
            Choice((2,)),
            "step in which it does so, counted from 0",
            allowed=Integer(0, 1000),
            when={"fault": FAULTY},
            otherwise=0,
        ),
    ),
    reports="epoch",
    metrics=("val_accuracy", "val_loss", "model_mb", "latency_ms", "seconds"),
    needs_images=False,
    config=lambda config: ToyConfig(**config),
)

TOY_FOLDS = replace(
    TOY,
    name="toy-folds",
    doc="the toy with folds instead of steps: each report is the accuracy on one fold, and the "
    "mean of all is the trial's",
    reports="fold",
)
