"""Whether the interval of a winner holds what the winner does on images that nobody has seen.

    python benchmarks/coverage.py [--scenes DIR] [--searches 50] [--trials 60]

Each search has a random half of the images; its winner is then judged once on the other half. The
search is the product's: its plan, studies, ledger, records and learners, in this process and
without Ray. Beside each other are today's interval of the winner's own score, and the corrected one
(``analysis.ranking.corrected``). The half that judges has a chance of its own, which an
interval of the accuracy on all images like these need not hold: with as many images as chose, the
difference of the two spreads 1.41 times as wide as one of them.
Prints a JSON object a line: searches, images, share of the intervals that hold the unseen accuracy,
their mean width, and the mean of estimate minus unseen accuracy.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.plan.plan import Plan
from analysis.ranking.corrected import corrected
from analysis.ranking.leaderboard import ranked
from analysis.ranking.significance import intervals
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts, DriverState
from search.driver.weights import with_weights
from search.ledger.ledger import Ledger
from spaces import EMBEDDING
from trainables.contract.assignment import Assignment
from trainables.data import Dataset, read_dataset
from trainables.data.source import data_source
from trainables.data.validation import Validation
from trainables.embedding.pipeline import seen_stage
from trainables.learners import LEARNERS
from trainables.stages.stage import compute

SEEN = {"backbone": "efficientnet-lite0", "side": 224, "crop": "squash", "views": "one"}
CHEAP = {"head": ["knn", "lda"], "components": [16, 64]}
"""Heads that take a tenth of a second."""


@dataclass(frozen=True, kw_only=True)
class Alone(Assignment):
    """A trial that computes its stages itself."""

    memo: dict[str, Any] = field(default_factory=dict)

    def fetch(self, *stages: Any) -> tuple[list[Any], bool]:
        return [compute(stage, self.memo, 1) for stage in stages], True


def searched(
    folder: Path, dataset: Dataset, unseen: Any, plan: Plan, memo: dict[str, Any]
) -> tuple[RunDirectory, float]:
    """A whole search of ``plan`` below ``folder``; and what its winner has on the unseen part."""
    run = RunDirectory(folder)
    run.path.mkdir()
    run.plan_file.write_text(plan.to_yaml())
    run.write_state(DriverState(id="0"))
    data = data_source(dataset, plan.read_options())
    run.write_data(DataFacts(spec=plan.dataset, classes=data.classes, sizes=data.sizes,
                             fingerprint=data.fingerprint))  # fmt: skip
    run.write_validation_labels(dataset.train.labels)
    memo[data.stage.digest] = dataset
    learner = LEARNERS[plan.spaces[0]]

    def step(config: dict[str, Any], data: Any, validation: Validation) -> dict[str, Any]:
        trial = learner.trial(
            Alone(space=learner.name, number=0, config=config, make=learner.trial, seed=plan.seed,
                  data=data, validation=validation, memo=memo, weights=plan.weights)
        )  # fmt: skip
        return trial.step()

    ledger = Ledger(run, plan)
    validation = plan.validation_for(data.sizes)
    while (proposal := ledger.propose()) is not None:
        ledger.end(proposal.key, step(proposal.config, data, validation))
    best = ranked(run.records(), plan.objective)[0]
    judged = replace(dataset, val=unseen)
    judging = data_source(judged, plan.read_options())
    memo[judging.stage.digest] = judged
    if plan.spaces[0] == "embedding":
        memo |= _features(plan, judging, memo)
    found = step(best.config, judging, Validation("val"))
    return run, float(found["val_accuracy"])


def _features(plan: Plan, data: Any, memo: dict[str, Any]) -> dict[str, Any]:
    """Of the images of each split, as the learner will ask for them."""
    return {
        seen(plan, data, split).digest: memo["features"][split]
        for split in data.sizes
        if split in memo["features"]
    }


def seen(plan: Plan, data: Any, split: str) -> Any:
    """The stage of what the network sees; its heads do not matter to that."""
    rest = {"layer": "last", "pooling": "average", "norm": "none", "components": 0, "head": "lda"}
    config = EMBEDDING.typed(EMBEDDING.check({**SEEN, **rest, "shrinkage": 0.1}))
    return seen_stage(config, plan.weights[config.backbone], data, split)


def rows_of(features: Any, rows: Any) -> Any:
    """Some rows of features."""
    return {name: values[rows] for name, values in features.items()}


def repeats(
    name: str, whole: Any, classes: tuple[str, ...], plan: Plan, searches: int, features: Any
) -> Iterator[dict[str, Any]]:
    """What each search found, and what its winner was worth."""
    for seed in range(searches):
        order = np.random.default_rng(seed).permutation(len(whole.labels))
        halves = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
        train, unseen = map(whole.take, halves)
        dataset = Dataset(plan.dataset, classes, train)
        memo: dict[str, Any] = {}
        if features is not None:
            train_rows, unseen_rows = (rows_of(features, half) for half in halves)
            memo["features"] = {"train": train_rows, "val": unseen_rows}
            memo |= _features(plan, data_source(dataset, plan.read_options()), memo)
        with tempfile.TemporaryDirectory() as folder:
            mine = plan.model_copy(update={"seed": seed, "name": name})
            run, truth = searched(Path(folder) / name, dataset, unseen, mine, memo)
            board = ranked(run.records(), plan.objective)
            plain = intervals(run, board[:1])[0]
            began = time.perf_counter()
            found = corrected(run, board, plan.objective)
            seconds = time.perf_counter() - began
        assert plain is not None
        assert not isinstance(found, str), found
        yield {
            "truth": truth, "raw": found.raw, "plain": plain, "estimate": found.estimate,
            "corrected": (found.low, found.high), "seconds": seconds, "images": len(train.labels),
        }  # fmt: skip


def summary(name: str, trials: int, rows: list[dict[str, Any]]) -> dict[str, Any]:
    truth = np.array([row["truth"] for row in rows])
    told: dict[str, Any] = {
        "what": name, "searches": len(rows), "trials": trials, "images": rows[0]["images"],
        "raw": round(float(np.mean([row["raw"] for row in rows])), 4),
        "unseen": round(float(truth.mean()), 4),
    }  # fmt: skip
    for kind, centre in (("plain", "raw"), ("corrected", "estimate")):
        ends = np.array([row[kind] for row in rows])
        inside = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
        gaps = np.array([row[centre] for row in rows]) - truth
        told[kind] = {
            "inside": round(float(inside.mean()), 3),
            "width": round(float((ends[:, 1] - ends[:, 0]).mean()), 4),
            "bias": round(float(gaps.mean()), 4),
            "bias_error": round(float(gaps.std(ddof=1) / len(gaps) ** 0.5), 4),
        }
    told["width_ratio"] = round(told["corrected"]["width"] / told["plain"]["width"], 2)
    told["seconds"] = round(float(np.median([row["seconds"] for row in rows])), 3)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=Path, help="folder of the 15 scenes")
    parser.add_argument("--searches", type=int, default=50)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--images", type=int, default=1500, help="of the scenes, at most")
    parser.add_argument("--only", default="", help="sets whose names hold this")
    given = parser.parse_args()
    sets: list[tuple[str, Plan]] = [
        ("digits, tiny-image", Plan(spaces=("tiny-image",), dataset="digits"))
    ]
    if given.scenes:
        spec = f"folder:{given.scenes.absolute()}"
        wanted: dict[str, Any] = {**SEEN, **CHEAP}
        sets += [
            ("scenes, tiny-image", Plan(spaces=("tiny-image",), dataset=spec, max_side=64)),
            ("scenes, embedding", Plan(spaces=("embedding",), dataset=spec, set=wanted)),
        ]
    for name, plan in sets:
        if given.only not in name:
            continue
        plan = plan.model_copy(update={"trials": given.trials})
        dataset = read_dataset(plan.dataset, plan.read_options())
        whole = joined(dataset, given.images)
        found = None
        if plan.spaces[0] == "embedding":
            plan, _ = with_weights(plan, "", lambda line: None)
            found = features_of(plan, dataset, whole)
        rows = list(repeats("coverage", whole, dataset.classes, plan, given.searches, found))
        print(json.dumps(summary(name, given.trials, rows)), flush=True)


def joined(dataset: Dataset, most: int) -> Any:
    """Images of all splits, at most so many, drawn."""
    from trainables.data import Images
    from trainables.data.dataset import Split

    parts = list(dataset.splits().values())
    whole = Split(
        Images.from_arrays(image for part in parts for image in part.images),
        np.concatenate([part.labels for part in parts]),
    )
    rows = np.random.default_rng(0).permutation(len(whole.labels))
    return whole.take(np.sort(rows[:most])) if len(rows) > most * 1.3 else whole


def features_of(plan: Plan, dataset: Dataset, whole: Any) -> Any:
    """What the network sees in all images, once."""
    everything = Dataset(plan.dataset, dataset.classes, whole)
    data = data_source(everything, plan.read_options())
    return compute(seen(plan, data, "train"), {data.stage.digest: everything})


if __name__ == "__main__":
    main()
