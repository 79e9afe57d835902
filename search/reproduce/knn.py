"""Part 1 of the report again: tiny images and bags of SIFT on the 15 scenes, judged on the test
images as it did.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from analysis.plan.complaints import PlanError
from analysis.plan.plan import Plan, read_plan
from analysis.ranking.confusion import Confusion, confusion_between
from search.reproduce.parts import KeptParts
from spaces import BagOfSiftConfig, TinyImageConfig
from spaces.ours.knn import MAX_K
from trainables.data import Dataset, read_dataset
from trainables.data.source import DataSource, data_source
from trainables.data.tree import list_folder
from trainables.knn.pipeline import (
    KnnConfig,
    counts_stage,
    evaluate,
    neighbours_stage,
    words_stage,
)
from trainables.knn.report import stretched_histograms
from trainables.neighbours.nearest import nearest_neighbours
from trainables.neighbours.norms import normalised
from trainables.stages.stage import Cache, Stage, code_version, compute

PLANS = Path(__file__).parents[2] / "plans" / "report"
TableFacts = dict[str, Any]


def fixed_configs(plan: Plan) -> list[KnnConfig]:
    """The configurations that a plan of the report fixes."""
    (space,) = plan.search_spaces().values()
    return [space.typed(space.check(point)) for point in space.grid()]


def listing(folder: Path) -> list[tuple[str, int]]:
    """Names and bytes of the images in a folder, by which it is known again without opening any.

    Raises:
        DatasetError: if it is no folder of images.
    """
    splits = list_folder(f"folder:{folder}", folder).splits.values()
    return [
        (str(path.relative_to(folder)), path.stat().st_size)
        for split in splits
        for paths in split.files.values()
        for path in paths
    ]


class Scenes:
    """The scenes, and what each configuration of the report says of their test images.

    Args:
        folder: with train and test.
        parts: in which results are kept.
        cache: of stages; a part that was stopped goes on from it.

    Raises:
        DatasetError: if it is no folder of images.
        PlanError: if there are no test images.
    """

    def __init__(self, folder: Path, parts: KeptParts, cache: Cache) -> None:
        self._folder, self._parts, self._cache = folder, parts, cache
        self._listing = listing(folder)
        if "test" not in list_folder(f"folder:{folder}", folder).splits:
            raise PlanError(f"{folder} has no test images; expected {folder}/test/CLASS/*.jpg")
        self._options = read_plan(_plan_file("2")).read_options()

    @cached_property
    def _dataset(self) -> Dataset:
        return read_dataset(f"folder:{self._folder}", self._options)

    def judged(self, config: KnnConfig, seed: int) -> TableFacts:
        """``accuracy_by_k``, ``accuracy`` at the configuration's own k, and the (n,)
        ``predictions`` there, with labels and classes.
        """
        drawn = not isinstance(config, TinyImageConfig)
        space = "bag-of-sift" if drawn else "tiny-image"
        what = {
            "space": space,
            "config": asdict(config),
            "seed": seed,
            "images": self._listing,
            "code": code_version(),
        }
        if isinstance(config, BagOfSiftConfig):
            name = f"bags-step-{config.step}-seed-{seed}"
        else:
            name = f"tiny-{config.metric}-{config.norm}"
        return self._parts.part(
            name, label_of(config, seed), what, lambda _: self._judge(config, seed)
        )

    def _judge(self, config: KnnConfig, seed: int) -> TableFacts:
        dataset = self._dataset
        assert dataset.test is not None  # seen at the beginning
        data = data_source(dataset, self._options)
        neighbours = compute(
            _neighbours(config, data, seed), {data.stage.digest: dataset}, cache=self._cache
        )
        found = evaluate(
            config, neighbours, dataset.train.labels, dataset.test.labels, len(dataset.classes)
        )
        return {
            "accuracy": found.scores.accuracy,
            "accuracy_by_k": list(found.accuracy_by_k),
            "predictions": found.predictions.tolist(),
            "labels": dataset.test.labels.tolist(),
            "classes": list(dataset.classes),
        }


def _neighbours(config: KnnConfig, data: DataSource, seed: int) -> Stage:
    """The training neighbours of the test images, with histograms made as the report made them."""
    if isinstance(config, TinyImageConfig):
        return neighbours_stage(config, data, "test", seed)
    features = {}
    for split in ("train", "test"):
        words, amount = words_stage(config, data, seed), (data.sizes[split], data.pixels[split])
        counts = counts_stage(config, data.images(split), words, *amount)
        features[split] = Stage(
            normalised, {"norm": config.norm}, (Stage(stretched_histograms, {}, (counts,)),)
        )
    inputs = (features["test"], features["train"])
    return Stage(
        nearest_neighbours, {"metric": config.metric, "most": MAX_K}, inputs, data.sizes["test"]
    )


def needed(tables: Collection[str], seeds: int) -> list[tuple[KnnConfig, int]]:
    """The configurations that tables of the report ask for, each with the seed of its
    vocabulary.
    """
    pairs: list[tuple[KnnConfig, int]] = []
    for number, plan_file, count in (
        ("1", "2", 1),
        ("2", "2", 1),
        ("ladder", "ladder", 1),
        ("1", "3", 1),
        ("3", "3", seeds),
        ("4", "4", seeds),
    ):
        if number in tables:
            plan = read_plan(_plan_file(plan_file))
            pairs += [
                (config, plan.seed + seed)
                for seed in range(count)
                for config in fixed_configs(plan)
            ]
    return list(dict.fromkeys(pairs))


def _plan_file(name: str) -> Path:
    return PLANS / (f"table{name}.yaml" if name.isdigit() else f"{name}.yaml")


def accuracy_table(
    number: str, theirs: Mapping[str, Any], scenes: Scenes, seeds: int
) -> TableFacts:
    """Table 2, 3 or 4: accuracy by k of one configuration, or at their own k of several."""
    plan = read_plan(_plan_file(number))
    configs = fixed_configs(plan)
    report = list(theirs["accuracy"])
    drawn = plan.spaces == ("bag-of-sift",)
    by_seed: list[list[float]] = []
    for seed in range(seeds if drawn else 1):
        found = [scenes.judged(config, plan.seed + seed) for config in configs]
        row = (
            found[0]["accuracy_by_k"][: len(report)]
            if len(found) == 1
            else [one["accuracy"] for one in found]
        )
        # fewer training images than the report's k
        by_seed.append([*row, *[float("nan")] * (len(report) - len(row))])
    label = (
        {"step": list(theirs["step"])}
        if "step" in theirs
        else {"k": list(range(1, len(report) + 1))}
    )
    facts: TableFacts = {
        "title": theirs["title"],
        "split": "test",
        "n": len(found[0]["labels"]),
        **label,
        "report": report,
    }
    facts["ours"] = _rounded(np.mean(by_seed, axis=0))
    if drawn:
        if seeds > 1:
            facts["spread"] = _rounded(np.std(by_seed, axis=0, ddof=1))
        facts["by_seed"] = [_rounded(row) for row in by_seed]
    return facts


def _rounded(values: Any) -> list[float | None]:
    return [round(float(value), 4) if np.isfinite(value) else None for value in values]


def label_of(config: KnnConfig, seed: int) -> str:
    """What is shown while a configuration is judged."""
    if isinstance(config, TinyImageConfig):
        return f"tiny images, {config.metric}, norm {config.norm}"
    return f"bags of SIFT, step {config.step}, vocabulary of seed {seed}"


def confusion_table(theirs: Mapping[str, Any], scenes: Scenes) -> TableFacts:
    """Make Table 1: both confusion matrices, and how one-sided the mistakes of each are. For bags
    of SIFT words it is the matrix of the first vocabulary.
    """
    sides = {}
    for space, number in (("tiny-image", "2"), ("bag-of-sift", "3")):
        plan = read_plan(_plan_file(number))
        (config,) = fixed_configs(plan)
        sides[space] = _side(space, plan, scenes.judged(config, plan.seed), theirs)
    return {
        "title": theirs["title"],
        "split": "test",
        "n": sides["tiny-image"]["n"],
        "sides": sides,
    }


def _side(space: str, plan: Plan, found: TableFacts, theirs: Mapping[str, Any]) -> TableFacts:
    classes = tuple(found["classes"])
    order = [name for name in plan.class_order if name in classes] + [
        name for name in classes if name not in plan.class_order
    ]
    short = {name: text for name, text in plan.abbreviations.items() if name in classes}
    labels, given = np.array(found["labels"], np.int64), np.array(found["predictions"], np.int64)
    matrix: Confusion = confusion_between(space, labels, given, classes, order, short)
    drawn_to = [name for name in theirs["drawn_to"] if name in classes]
    rows = matrix.by_class()
    share = {
        key: sum(row[key] for row in rows if row["class"] in drawn_to) / matrix.n
        for key in ("predicted", "images")
    }
    return {
        **matrix.facts(),
        "order": list(matrix.classes),
        "report": theirs["accuracy"][space],
        "one_sided": (matrix.asymmetry or 0.0) * matrix.mistakes / matrix.n,
        "drawn_to": drawn_to,
        "given_to_them": share["predicted"],
        "of_them": share["images"],
    }


def tiny_ladder(scenes: Scenes) -> dict[tuple[str, str], TableFacts]:
    """The tiny images of the report's first steps, by metric and norm."""
    plan = read_plan(_plan_file("ladder"))
    configs = [config for config in fixed_configs(plan) if isinstance(config, TinyImageConfig)]
    return {(config.metric, config.norm): scenes.judged(config, plan.seed) for config in configs}
