"""The metrics a trial may be judged by: which way is better, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spaces.kinds import Objective
from spaces.registry import Registry

METRICS = Registry(Objective, "metric")
for _objective in (
    Objective("val_accuracy", "maximize", "share of the validation images classified right"),
    Objective("balanced_accuracy", "maximize", "its mean over classes"),
    Objective("macro_f1", "maximize", "mean F1 over classes"),
    Objective("val_loss", "minimize", "cross-entropy on the validation images, nats"),
    Objective("train_accuracy", "maximize", "running mean over the augmented epoch"),
    Objective("train_loss", "minimize", "running mean over the augmented epoch, nats"),
    Objective("epoch", "maximize", "passes over the training images", 0),
    Objective("model_mb", "minimize", "size of the parameters as float32, MiB", 2),
    Objective("latency_ms", "minimize", "time to classify one image, milliseconds", 2),
    Objective("seconds", "minimize", "time the trial took, seconds", 1),
):
    METRICS.add(_objective)

JUDGED_BY = ("val_accuracy", "balanced_accuracy", "macro_f1", "val_loss")
"""Those of ours that tell a better epoch from a worse one."""


def metrics_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The metrics in a trial's result."""
    return {
        name: float(result[name]) for name in METRICS if isinstance(result.get(name), int | float)
    }


def computed_objectives() -> dict[str, Objective]:
    """Those that are computed from what a classifier says of the validation images."""
    return {name: metric for name, metric in METRICS.items() if metric.function}
