"""Real trainings of a grid of networks, recorded epoch by epoch.

Each is a trial of the space ``cnn``, run as a worker runs it, on ``TRAIN`` images a class of a
folder of CIFAR-10 and judged on ``VAL`` others. What it says of each epoch is written with the
seconds that the processor took for it, which other programs on the machine hardly change.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from analysis.plan.plan import Plan, make_plan
from benchmarks.search.grids import EPOCHS, NETWORKS
from benchmarks.warm_start import Here
from trainables.cnn.memory import TrainingError
from trainables.contract.assignment import Shared, TrainingSettings
from trainables.data import read_dataset
from trainables.data.source import data_source
from trainables.learners import LEARNERS

TRAIN, VAL = 60, 60


def plan_of(images: Path) -> Plan:
    """The grid as a user would write it."""
    return make_plan(
        {
            "name": "recorded",
            "spaces": "cnn",
            "dataset": f"folder:{images}",
            "set": NETWORKS.set,
            "training": {"epochs": EPOCHS, "precision": "float32"},
            "gpus_per_trial": 0,
        }
    )


def few_images(cifar: Path, folder: Path) -> Path:
    """A folder of the first images of each class: to train on, to judge by, and one to test."""
    for part, source, first, last in (
        ("train", "train", 0, TRAIN),
        ("val", "val", 0, VAL),
        ("test", "val", VAL, VAL + 1),
    ):
        for label in sorted(path for path in (cifar / source).iterdir() if path.is_dir()):
            (folder / part / label.name).mkdir(parents=True)
            for path in sorted(label.iterdir())[first:last]:
                (folder / part / label.name / path.name).write_bytes(path.read_bytes())
    return folder


def trained(there: list[dict[str, Any]], cifar: Path) -> Iterator[dict[str, Any]]:
    """The grid's configurations that are not ``there``, each with its accuracies and seconds."""
    torch.set_num_threads(1)
    had = [row["config"] for row in there]
    with tempfile.TemporaryDirectory() as name:
        plan = plan_of(few_images(cifar, Path(name) / "images"))
        dataset = read_dataset(plan.dataset, plan.read_options())
        source = data_source(dataset, plan.read_options())
        Here.memo[source.stage.digest] = dataset
        shared = Shared(
            seed=0,
            data=source,
            validation=plan.validation_for(source.sizes),
            training=TrainingSettings(
                epochs=EPOCHS, image_size=32, cpus_per_trial=1, compile=False,
                deterministic=False, gpus=0, objective="val_accuracy", maximize=True,
                precision="float32",
            ),
        )  # fmt: skip
        for config in plan.search_spaces()["cnn"].grid():
            varied = {one: config[one] for one in NETWORKS.varied}
            if varied not in had:
                yield {"config": varied, **_training(shared, config, Path(name))}


def _training(shared: Shared, config: dict[str, Any], folder: Path) -> dict[str, list[float]]:
    """One of them; ``accuracy`` and ``seconds`` after each epoch, of that epoch. One that fails is
    as good as chance from then on, at no cost.
    """
    given = LEARNERS["cnn"].assign(shared, str(folder), 0, config)
    assert given.data is not None
    trial = Here(**{one.name: getattr(given, one.name) for one in fields(given)})
    began, done = time.process_time(), False
    run = trial.make(trial)
    accuracies, seconds = list[float](), list[float]()
    while not done:
        try:
            result = run.step()
        except TrainingError:  # whose loss is no number any more
            left = EPOCHS - len(accuracies)
            accuracies += [1 / len(given.data.classes)] * left
            seconds += [round(time.process_time() - began, 3)] + [0.0] * (left - 1)
            break
        accuracies.append(round(float(result["val_accuracy"]), 4))
        seconds.append(round(time.process_time() - began, 3))
        began, done = time.process_time(), result["done"]
    run.close()
    return {"accuracy": accuracies, "seconds": seconds}
