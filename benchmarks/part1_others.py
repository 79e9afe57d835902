"""The 360 configurations as bare Ray Tune and as scikit-learn run them, with our fast plain
functions inside.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from joblib import Memory
from part1_plain import (
    CORES,
    KS,
    METRICS,
    NORMS,
    SIZES,
    STEPS,
    accuracies,
    bags,
    images,
    name,
    sample,
    words_of,
)
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer

from trainables.data import Images


def bare(scenes: Path, each: int) -> dict[str, Any]:
    """Bare Ray Tune on a sample: ``each`` configurations of every step and vocabulary size, the
    rest of them drawn.

    Every trial does all of its own work, one a core, in reused actors; the images are in the object
    store.
    """
    from search.cluster.start import local_cluster

    rng = np.random.default_rng(0)
    points = [
        (step, size, str(rng.choice(METRICS)), str(rng.choice(NORMS)), int(rng.choice(KS)))
        for _ in range(each)
        for step, size in itertools.product(STEPS, SIZES)
    ]
    with local_cluster(CORES, print) as ray:
        from ray import tune

        data = ray.put(images(scenes))

        class Whole(tune.Trainable):
            def setup(self, config: dict[str, Any]) -> None:
                self._point = config["point"]

            def reset_config(self, new_config: dict[str, Any]) -> bool:
                self._point = new_config["point"]
                return True

            def step(self) -> dict[str, Any]:
                from threadpoolctl import threadpool_limits

                began = time.monotonic()
                step, size, metric, norm, k = self._point
                with threadpool_limits(1):
                    train, val = ray.get(data)
                    words = words_of(sample(train.images), size)
                    counts = [bags(part.images, step, [words])[0] for part in (train, val)]
                    found = accuracies(*counts, (train.labels, val.labels), metric, norm)
                return {"accuracy": found[k - 1], "took": time.monotonic() - began, "done": True}

        with tempfile.TemporaryDirectory() as folder:
            done = tune.run(
                Whole, config={"point": tune.grid_search(points)}, storage_path=folder, verbose=0,
                reuse_actors=True,
                max_concurrent_trials=CORES,
                resources_per_trial=tune.PlacementGroupFactory([{"CPU": 1}]),
            )  # fmt: skip
            trials = [
                (tuple(t.config["point"]), t.last_result["took"], t.last_result["accuracy"])
                for t in done.trials
            ]
    strata = [
        [took for point, took, _ in trials if point[:2] == cell]
        for cell in itertools.product(STEPS, SIZES)
    ]
    mean = float(np.mean([np.mean(cell) for cell in strata]))
    error = (
        float(np.sqrt(sum(np.var(cell, ddof=1) / len(cell) for cell in strata))) / len(strata)
        if each > 1
        else None
    )
    return {
        "n": len(trials),
        "took": [[name(*point[:4]), point[4], round(took, 2)] for point, took, _ in sorted(trials)],
        "mean": mean,
        "standard_error": error,
        "seconds": 360 * mean / CORES,
        "accuracies": {f"{name(*point[:4])}/{point[4]}": accuracy for point, _, accuracy in trials},
    }


def learned(given: list[Any], size: int, scenes: Path) -> Any:
    return words_of(sample(gathered(given, scenes)), size)


def counted(given: list[Any], step: int, words: Any, scenes: Path) -> Any:
    return bags(gathered(given, scenes), step, [words])[0]


def gathered(given: list[Any], scenes: Path) -> Images:
    """The images that ``given`` are, or that have these numbers in train and val."""
    if not isinstance(given[0], int):
        return Images.from_arrays(given)
    parts = images(scenes)
    n = len(parts[0].labels)
    return Images.from_arrays([parts[row >= n].images[row % n] for row in given])


class Bag(BaseEstimator, TransformerMixin):  # type: ignore[misc]
    """Images as bags of words; what it transforms is kept in ``memory`` too, which ``Pipeline``
    does only while it fits.
    """

    def __init__(self, scenes: Path, memory: Memory, step: int = 5, size: int = 100) -> None:
        self.scenes, self.memory, self.step, self.size = scenes, memory, step, size

    def fit(self, given: list[Any], labels: Any = None) -> Bag:
        self.words_ = self.memory.cache(learned)(given, self.size, self.scenes)
        return self

    def transform(self, given: list[Any]) -> Any:
        return self.memory.cache(counted)(given, self.step, self.words_, self.scenes)


def sklearn(scenes: Path, pixels: bool) -> dict[str, Any]:
    """``GridSearchCV`` over a ``Pipeline(memory=…)`` on one worker a core, all 360 configurations.

    It is given images or, at its best, their numbers: joblib hashes all that a step is given each
    time it looks for it in the memory.
    """
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="part1-sklearn-") as folder:
        memory = Memory(folder, verbose=0)
        train, val = images(scenes)
        given: list[Any] = (
            [*train.images, *val.images]
            if pixels
            else list(range(len(train.labels) + len(val.labels)))
        )
        knn = KNeighborsClassifier(algorithm="brute")
        pipeline = Pipeline(
            [("bag", Bag(scenes, memory)), ("norm", Normalizer()), ("knn", knn)], memory=memory
        )
        grid = {
            "bag__step": STEPS,
            "bag__size": SIZES,
            "norm__norm": NORMS,
            "knn__metric": METRICS,
            "knn__n_neighbors": list(KS),
        }
        fold = PredefinedSplit([-1] * len(train.labels) + [0] * len(val.labels))
        search = GridSearchCV(
            pipeline, grid, cv=fold, refit=False, n_jobs=CORES, error_score="raise"
        )
        found = search.fit(given, np.concatenate([train.labels, val.labels])).cv_results_
        seconds = time.monotonic() - began
    scores = {
        "/".join(
            str(p[key])
            for key in ("bag__step", "bag__size", "knn__metric", "norm__norm", "knn__n_neighbors")
        ): float(score)
        for p, score in zip(found["params"], found["mean_test_score"], strict=True)
    }
    return {"n": len(scores), "seconds": seconds, "accuracies": scores}
