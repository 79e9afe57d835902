"""Real configurations of bags of SIFT and of features of a pretrained network, with the seconds of
each of their stages.

The images are small copies of some of each class of a folder of scenes. Stages are those of a
search, each computed once, by one thread; their seconds are the processor's. One line is a prefix:
its stages and configurations.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from analysis.plan.plan import make_plan
from benchmarks.search.grids import GRIDS, Grid
from search.driver.weights import with_weights
from spaces import get_space
from trainables.data import read_dataset
from trainables.data.scores import score
from trainables.data.source import DataSource, data_source
from trainables.data.validation import Validation
from trainables.embedding.pipeline import held_out, seen_stage
from trainables.knn.pipeline import evaluate, validation_stage
from trainables.pretrained.facts import Weights
from trainables.pretrained.network import weights_stage
from trainables.stages.stage import Stage, compute

EACH, PIXELS = {"bag-of-sift": 14, "embedding": 10}, {"bag-of-sift": 192, "embedding": 128}
"""Images a class to learn from (and so many others to judge embeddings by), and the longer side of
their copies, pixels.
"""
Judge = Callable[[Any], tuple[list[Stage], Callable[[], float]]]
"""Of a configuration: the stages that its trial asks for, and what it does once they are there."""


def few_images(scenes: Path, folder: Path, each: int, pixels: int) -> Path:
    """A folder of small grey copies."""
    for part, first in (("train", 0), ("val", each), ("test", 2 * each)):
        for label in sorted(path for path in (scenes / "train").iterdir() if path.is_dir()):
            (folder / part / label.name).mkdir(parents=True)
            last = first + (1 if part == "test" else each)
            for path in sorted(label.iterdir())[first:last]:
                with Image.open(path) as image:
                    image.thumbnail((pixels, pixels))
                    image.save(folder / part / label.name / f"{path.stem}.png")
    return folder


def computed(
    space: str, there: list[dict[str, Any]], scenes: Path, folder: Path
) -> Iterator[dict[str, Any]]:
    """The prefixes of a space that are not ``there``, each with all its suffixes."""
    images = few_images(scenes, folder / "images", EACH[space], PIXELS[space])
    plan = make_plan(
        {
            "name": "recorded",
            "spaces": space,
            "dataset": f"folder:{images}",
            "set": GRIDS[space].set,
            "validation": "val" if space == "embedding" else "leave-one-out",
        }
    )
    plan, places = with_weights(plan, "it", lambda line: None)
    dataset = read_dataset(plan.dataset, plan.read_options())
    data = data_source(dataset, plan.read_options())
    memo: dict[str, Any] = {data.stage.digest: dataset}
    for name, place in places.items():
        stage = weights_stage(plan.weights[name], place)
        memo[stage.digest] = stage.function(**stage.parameters)
    validation = plan.validation_for(data.sizes)
    known, varied = set(memo), plan.search_spaces()[space]
    if space == "embedding":
        judge = _embedding(data, plan.weights, memo)
    else:
        judge = _bag_of_sift(data, validation, memo)
    prefixes: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for point in varied.grid():
        config = varied.check(point)
        key = tuple(config[name] for name in varied.prefix)
        prefixes.setdefault(key, []).append(config)
    had = [row["prefix"] for row in there]
    seconds = {stage: took for row in there for stage, (_, took) in row["stages"].items()}
    for key, configs in prefixes.items():
        prefix = dict(zip(varied.prefix, key, strict=True))
        if prefix not in had:
            yield _prefix(prefix, configs, judge, memo, known, seconds, GRIDS[space])


def _prefix(
    prefix: dict[str, Any],
    configs: list[dict[str, Any]],
    judge: Judge,
    memo: dict[str, Any],
    known: set[str],
    seconds: dict[str, float],
    grid: Grid,
) -> dict[str, Any]:
    """One prefix with all its suffixes, in a line that needs no other."""
    stages: dict[str, tuple[str, float]] = {}
    rows = []
    for config in configs:
        asked, vote = judge(config)
        needs = [stage for stage in in_order(asked) if stage.digest not in known]
        for stage in needs:
            began = time.process_time()
            compute(stage, memo, workers=1)
            took = round(time.process_time() - began, 4)
            name = stage.digest[:8]
            stages.setdefault(name, (stage.name, seconds.setdefault(name, took)))
        began = time.process_time()
        accuracy = round(vote(), 4)
        own = round(time.process_time() - began, 4)
        rows.append([grid.key(config), accuracy, own,
                     [stage.digest[:8] for stage in needs]])  # fmt: skip
    return {"prefix": prefix, "stages": stages, "configs": rows}


def in_order(asked: list[Stage]) -> list[Stage]:
    """All that these stages are made of, each once, and none before what it is made of."""
    found: dict[str, Stage] = {}
    for stage in asked:
        for one in (*in_order(list(stage.inputs)), stage):
            found.setdefault(one.digest, one)
    return list(found.values())


def _bag_of_sift(data: DataSource, validation: Validation, memo: dict[str, Any]) -> Judge:
    labels, typed = compute(data.labels("train"), memo), get_space("bag-of-sift").typed
    memo[data.labels("train").digest] = labels

    def judge(config: dict[str, Any]) -> tuple[list[Stage], Callable[[], float]]:
        stage = validation_stage(typed(config), data, validation, 0)
        return (
            [stage],
            lambda: (
                (
                    evaluate(typed(config), memo[stage.digest], labels, labels, len(data.classes))
                ).scores.accuracy
            ),
        )

    return judge


def _embedding(data: DataSource, weights: Any, memo: dict[str, Any]) -> Judge:
    typed, classes = get_space("embedding").typed, len(data.classes)
    train, val = (compute(data.labels(split), memo) for split in ("train", "val"))

    def judge(config: dict[str, Any]) -> tuple[list[Stage], Callable[[], float]]:
        one: Weights = weights[config["backbone"]]
        stages = [seen_stage(typed(config), one, data, split) for split in ("train", "val")]

        def accuracy() -> float:
            seen, judged = (memo[stage.digest] for stage in stages)
            scores = held_out(typed(config), seen, train, judged, classes)
            return float(score(val, scores.argmax(axis=1), classes).accuracy)

        return stages, accuracy

    return judge
