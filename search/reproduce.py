"""The report's tables, made again from the plans in ``plans/report`` with its numbers beside ours.

The report chose by test accuracy, so these tables show test accuracy. Nothing else in
visiontune selects on test images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from search.plan import PlanError, read_plan
from spaces import BagOfSiftConfig, TinyImageConfig
from spaces.knn import MAX_K
from trainables.data import Dataset, ReadOptions, read_dataset
from trainables.knn.neighbours import nearest_neighbours
from trainables.knn.norms import normalised
from trainables.knn.pipeline import (
    CONFIG_TYPES,
    DataSource,
    KnnConfig,
    counts_stage,
    data_source,
    evaluate,
    neighbours_stage,
    words_stage,
)
from trainables.knn.report import stretched_histograms
from trainables.stages import NO_CACHE, Cache, Stage, compute

PLANS = Path(__file__).parent.parent / "plans" / "report"
AVAILABLE = ("2", "3", "4")


def reproduce(tables: str, scenes: Path | None, seeds: int = 3, cache: Cache = NO_CACHE) -> dict[str, Any]:
    """The tables asked for, by name.

    Args:
        tables: numbers separated by commas.
        scenes: folder of the 15 scenes.
        seeds: vocabularies that tables 3 and 4 are made with, from seed 0 on.
        cache: of stages; a table that was stopped goes on from it.

    Returns:
        ``tableN``: {title, split, n, report, ours}, with ``k`` or ``step`` as the label of its
        columns. Where vocabularies are drawn, ``ours`` is the mean over the seeds, ``spread``
        the standard deviation, and ``by_seed`` has each.

    Raises:
        PlanError: for a table that is not available, or missing images.
    """
    wanted = [number.strip() for number in tables.split(",")]
    unknown = [number for number in wanted if number not in AVAILABLE]
    if unknown:
        raise PlanError(f"--tables must name tables among {', '.join(AVAILABLE)}, but got {', '.join(unknown)}")
    if scenes is None:
        raise PlanError(f"table {wanted[0]} needs the 15 scenes: give --scenes DIR with DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg")
    numbers = yaml.safe_load((PLANS / "numbers.yaml").read_text(encoding="utf-8"))
    return {f"table{number}": _table(number, scenes, numbers[f"table{number}"], seeds, cache) for number in wanted}


def _table(number: str, scenes: Path, numbers: dict[str, Any], seeds: int, cache: Cache) -> dict[str, Any]:
    """One table of test accuracies, for the configurations that its plan fixes."""
    plan = read_plan(PLANS / f"table{number}.yaml")
    options = plan.read_options()
    dataset = read_dataset(f"folder:{scenes}", options)
    if dataset.test is None:
        raise PlanError(f"{scenes} has no test images; expected {scenes}/test/CLASS/*.jpg")
    (space,) = plan.search_spaces().values()
    configs = [CONFIG_TYPES[space.name](**space.check(point)) for point in space.grid()]  # type: ignore[arg-type]
    drawn = isinstance(configs[0], BagOfSiftConfig)
    by_seed = [_row(configs, dataset, options, plan.seed + seed, len(numbers["accuracy"]), cache) for seed in range(seeds if drawn else 1)]
    report = list(numbers["accuracy"])
    label = {"step": numbers["step"]} if "step" in numbers else {"k": list(range(1, len(report) + 1))}
    facts = {"title": numbers["title"], "split": "test", "n": len(dataset.test), **label, "report": report}
    facts["ours"] = [round(float(value), 4) for value in np.mean(by_seed, axis=0)]
    if drawn:
        facts["spread"] = [round(float(value), 4) for value in np.std(by_seed, axis=0, ddof=min(1, seeds - 1))]
        facts["by_seed"] = [[round(value, 4) for value in row] for row in by_seed]
    return facts


def _row(configs: list[KnnConfig], dataset: Dataset, options: ReadOptions, seed: int, columns: int, cache: Cache) -> list[float]:
    """Accuracy by k of one configuration, or at their own k of several."""
    data = data_source(dataset, options)
    assert dataset.test is not None  # seen by the caller
    found = []
    for config in configs:
        neighbours = compute(_neighbours(config, data, seed), {data.stage.digest: dataset}, cache=cache)
        found.append(evaluate(config, neighbours, dataset.train.labels, dataset.test.labels, len(dataset.classes)))
    if len(found) == 1:
        return list(found[0].accuracy_by_k[:columns])
    return [one.scores.accuracy for one in found]


def _neighbours(config: KnnConfig, data: DataSource, seed: int) -> Stage:
    """The training neighbours of the test images, with histograms made as the report made them."""
    if isinstance(config, TinyImageConfig):
        return neighbours_stage(config, data, "test", seed)
    features = {}
    for split in ("train", "test"):
        words, amount = words_stage(config, data, seed), (data.sizes[split], data.pixels[split])
        counts = counts_stage(config, data.images(split), words, *amount)
        features[split] = Stage(normalised, {"norm": config.norm}, (Stage(stretched_histograms, {}, (counts,)),))
    inputs = (features["test"], features["train"])
    return Stage(nearest_neighbours, {"metric": config.metric, "most": MAX_K}, inputs, data.sizes["test"])
