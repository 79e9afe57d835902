"""What a search that trains networks needs beside the others: GPUs, settings that its trials share, their images."""

from __future__ import annotations

from typing import Any

from analysis.metrics import METRICS
from analysis.records import RunDirectory
from search.plan import Plan
from trainables.cnn.images import How, data_stages
from trainables.knn.pipeline import DataSource

JUDGED_BY = ("val_accuracy", "balanced_accuracy", "macro_f1", "val_loss")
"""Objectives that tell a better epoch from a worse one."""


def on_this_machine(plan: Plan, gpus: float) -> Plan:
    """The plan with the GPUs that a trial gets decided: one a network where there are any and the plan does not say."""
    if plan.gpus_per_trial is not None or not plan.trains:
        return plan
    return plan.model_copy(update={"gpus_per_trial": min(gpus, 1.0)})


def how(plan: Plan, folder: RunDirectory) -> How:
    """What every network of a search is told."""
    training, objective = plan.training, plan.objective if plan.objective in JUDGED_BY else "val_accuracy"
    return How(
        epochs=training.epochs,
        image_size=training.image_size,
        cpus_per_trial=training.cpus_per_trial,
        compile=training.compile,
        deterministic=training.deterministic,
        gpus=plan.trial_gpus,
        objective=objective,
        maximize=METRICS[objective].direction == "maximize",
        trials=str(folder.path / "trials" / "cnn"),
    )


def prepare_images(ray: Any, registry: Any, data: DataSource, size: int) -> None:
    """Have the images resized before any trial holds a core."""
    references, _ = ray.get(registry.request.remote(*data_stages(data, size)))
    try:
        ray.get(references)
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, ValueError | RuntimeError) else error) from None
