"""The metrics a trial may be judged by: which way is better, and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Metric:
    """A figure by which trials are compared; ``digits`` after the point are shown."""

    direction: Literal["maximize", "minimize"]
    doc: str
    digits: int = 4

    def better(self, value: float, than: float) -> bool:
        return value > than if self.direction == "maximize" else value < than


METRICS: dict[str, Metric] = {
    "val_accuracy": Metric("maximize", "share of the validation images classified right"),
    "balanced_accuracy": Metric("maximize", "its mean over classes"),
    "macro_f1": Metric("maximize", "mean F1 over classes"),
    "val_loss": Metric("minimize", "cross-entropy on the validation images, nats"),
    "train_accuracy": Metric("maximize", "running mean over the augmented epoch"),
    "train_loss": Metric("minimize", "running mean over the augmented epoch, nats"),
    "epoch": Metric("maximize", "passes over the training images", 0),
    "model_mb": Metric("minimize", "size of the parameters as float32, MiB", 2),
    "latency_ms": Metric("minimize", "time to classify one image, milliseconds", 2),
    "seconds": Metric("minimize", "time the trial took, seconds", 1),
}


def metrics_of(result: Mapping[str, Any]) -> dict[str, float]:
    """The metrics in a trial's result."""
    return {
        name: float(result[name]) for name in METRICS if isinstance(result.get(name), int | float)
    }
