"""The 360 configurations as bare Ray Tune and as scikit-learn run them, with our fast plain functions inside."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from part1_plain import CORES, KS, METRICS, NORMS, SIZES, STEPS, accuracies, bags, images, name, sample, words_of


def bare(scenes: Path, each: int) -> dict[str, Any]:
    """Bare Ray Tune on a sample: ``each`` configurations of every step and vocabulary size, the rest of them drawn.

    Every trial does all of its own work, one a core, in reused actors; the images are in the object store.
    """
    from search.cluster import local_cluster

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
                Whole, config={"point": tune.grid_search(points)}, storage_path=folder, verbose=0, reuse_actors=True,
                max_concurrent_trials=CORES, resources_per_trial=tune.PlacementGroupFactory([{"CPU": 1}]),
            )  # fmt: skip
            trials = [(tuple(t.config["point"]), t.last_result["took"], t.last_result["accuracy"]) for t in done.trials]
    strata = [[took for point, took, _ in trials if point[:2] == cell] for cell in itertools.product(STEPS, SIZES)]
    mean = float(np.mean([np.mean(cell) for cell in strata]))
    error = float(np.sqrt(sum(np.var(cell, ddof=1) / len(cell) for cell in strata))) / len(strata) if each > 1 else None
    return {
        "n": len(trials),
        "took": [[name(*point[:4]), point[4], round(took, 2)] for point, took, _ in sorted(trials)],
        "mean": mean,
        "standard_error": error,
        "seconds": 360 * mean / CORES,
        "accuracies": {f"{name(*point[:4])}/{point[4]}": accuracy for point, _, accuracy in trials},
    }


def sklearn(scenes: Path, pixels: bool) -> dict[str, Any]:
    """``GridSearchCV`` over a ``Pipeline(memory=…)`` on one worker a core, all 360 configurations.

    Its transformer keeps in the same memory what it transforms, or the validation images would be described for
    each configuration again. What it is given is images or, at its best, their numbers: joblib hashes all
    that a step is given each time it looks for it in the memory.
    """
    from joblib import Memory
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.model_selection import GridSearchCV, PredefinedSplit
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import Normalizer

    began = time.monotonic()
    folder = tempfile.mkdtemp(prefix="part1-sklearn-")
    memory = Memory(folder, verbose=0)
    train, val = images(scenes)
    labels, n = np.concatenate([train.labels, val.labels]), len(train.labels)
    given: list[Any] = [*train.images, *val.images] if pixels else list(range(len(labels)))

    def gathered(some: list[Any]) -> Any:
        """The images that ``some`` are or stand for."""
        from trainables.data import Images

        if pixels:
            return Images.from_arrays(some)
        parts = images(scenes)
        return Images.from_arrays([parts[row >= n].images[row % n] for row in some])

    @memory.cache  # type: ignore[misc]
    def learned(some: list[Any], size: int) -> Any:
        return words_of(sample(gathered(some)), size)

    @memory.cache  # type: ignore[misc]
    def counted(some: list[Any], step: int, words: Any) -> Any:
        return bags(gathered(some), step, [words])[0]

    class Bag(BaseEstimator, TransformerMixin):  # type: ignore[misc]
        def __init__(self, step: int = 5, size: int = 100) -> None:
            self.step, self.size = step, size

        def fit(self, some: list[Any], labels: Any = None) -> Any:
            self.words_ = learned(some, self.size)
            return self

        def transform(self, some: list[Any]) -> Any:
            return counted(some, self.step, self.words_)

    pipeline = Pipeline([("bag", Bag()), ("norm", Normalizer()), ("knn", KNeighborsClassifier(algorithm="brute"))], memory=memory)
    grid = {"bag__step": STEPS, "bag__size": SIZES, "norm__norm": NORMS, "knn__metric": METRICS, "knn__n_neighbors": list(KS)}
    fold = PredefinedSplit([-1] * n + [0] * len(val.labels))
    search = GridSearchCV(pipeline, grid, cv=fold, refit=False, n_jobs=CORES, error_score="raise").fit(given, labels)
    seconds = time.monotonic() - began
    shutil.rmtree(folder, ignore_errors=True)
    found = search.cv_results_
    scores = {
        "/".join(str(p[key]) for key in ("bag__step", "bag__size", "knn__metric", "norm__norm", "knn__n_neighbors")): float(score)
        for p, score in zip(found["params"], found["mean_test_score"], strict=True)
    }
    return {"n": len(scores), "seconds": seconds, "accuracies": scores}
