"""How well parts of the training images tell good configurations from bad ones, and what they save.

    python -m benchmarks.agreement --images DIR [--space tiny-image] [--of-each 20] [--configs 40]

Tries random configurations of a space on parts of the training images of a folder, and on all of
them, as ``--fidelity images`` does, in one process; work that configurations share is done once.
Prints, for each part, Kendall's tau between the order of configurations there and on all (1 for the
same order, 0 for no relation), how much of the seconds of a processor have passed by then, and
whether the best of all is among the best quarter there, which is what ASHA keeps.
"""

from __future__ import annotations

import argparse
import random
import shutil
import time
from dataclasses import fields
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from scipy.stats import kendalltau

from analysis.plan.plan import Plan, make_plan
from benchmarks.warm_start import Here
from search.driver.dry_run import _draw
from search.driver.weights import with_weights
from trainables.contract.assignment import Shared
from trainables.data import read_dataset
from trainables.data.source import data_source
from trainables.learners import LEARNERS
from trainables.pretrained.network import weights_stage

SPACES = ("tiny-image", "bag-of-sift", "embedding")
KEPT = 0.25


def some_of_each(images: Path, count: int, made: Path) -> Path:
    """A folder with the first ``count`` training images of each class, and no others."""
    for label in sorted(path for path in (images / "train").iterdir() if path.is_dir()):
        (made / "train" / label.name).mkdir(parents=True)
        for path in sorted(label.iterdir())[:count]:
            shutil.copy(path, made / "train" / label.name / path.name)
    return made


def tried(plan: Plan, shared: Shared, config: dict[str, object]) -> tuple[list[float], list[float]]:
    """(accuracy on each part, seconds of a processor until then) of a configuration."""
    given = LEARNERS[plan.spaces[0]].assign(shared, "", 0, config, seed=plan.seed)
    run = given.make(Here(**{one.name: getattr(given, one.name) for one in fields(given)}))
    began, accuracies, seconds, done = time.process_time(), [], [], False
    while not done:
        result = run.step()
        accuracies.append(result["val_accuracy"])
        seconds.append(time.process_time() - began)
        done = result["done"]
    return accuracies, seconds


def measure(space: str, images: Path, asked: argparse.Namespace) -> None:
    """Print a line a part of a space's."""
    plan, places = with_weights(
        make_plan(
            {
                "spaces": space, "dataset": f"folder:{images}", "fidelity": "images",
                "pruner": "asha", "name": "x", "seed": asked.seed,
                "set": dict(pair.split("=") for pair in asked.set),
            }
        ), "it", print,
    )  # fmt: skip
    options = plan.read_options()
    dataset = read_dataset(plan.dataset, options)
    data = data_source(dataset, options, plan.parts)
    Here.memo.clear()
    Here.memo[data.stage.digest] = dataset
    for name, place in places.items():
        stage = weights_stage(plan.weights[name], place)
        Here.memo[stage.digest] = stage.function(**stage.parameters)
    validation = plan.validation_for({"train": len(dataset.train)})
    shared = Shared(seed=asked.seed, data=data, validation=validation, weights=plan.weights)
    domains, draw = plan.search_spaces()[space], partial(_draw, random.Random(asked.seed))
    found = [
        tried(plan, shared, domains.sample(lambda _, domain: draw(domain)))
        for _ in range(asked.configs)
    ]
    accuracies, seconds = (np.array(one) for one in zip(*found, strict=True))
    for number, (share, count) in enumerate(zip(data.rungs, data.counts, strict=True)):
        tau = kendalltau(accuracies[:, number], accuracies[:, -1]).statistic
        rank = int((accuracies[:, number] > accuracies[accuracies[:, -1].argmax(), number]).sum())
        kept = rank < KEPT * len(found)
        print(
            f"{space}: {len(found)} configurations on {share:g} ({count} images): "
            f"tau {tau:.2f}, {seconds[:, number].sum():.0f} of {seconds[:, -1].sum():.0f} s, "
            f"the best of all is number {rank + 1} there{'' if kept else ', and lost'}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", required=True)
    parser.add_argument("--space", choices=SPACES, action="append")
    parser.add_argument("--of-each", type=int, default=20)
    parser.add_argument("--configs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        images = some_of_each(Path(asked.images), asked.of_each, Path(folder))
        for space in asked.space or SPACES:
            measure(space, images, asked)


if __name__ == "__main__":
    main()
