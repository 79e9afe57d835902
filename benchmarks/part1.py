"""360 kNN configurations on the 15 scenes: ours, bare Ray Tune, scikit-learn, and the floor.

    python benchmarks/part1.py --scenes DIR [--only floor,noop,ours,warm,bare,sklearn]

The same list for all: steps 3, 5, 8; vocabularies of 100, 200, 400 words; city-block and
Euclidean distance; norms l1 and l2; k = 1 to 10; learned from train, compared on the 1,500
images of test as one shared validation split. Each part is a process of its own:

- floor: a straight-line script that computes each distinct stage once, on all cores, no Ray;
- noop: Ray's start-up with one trial that does nothing, and 360 more of them with reused actors;
- ours: ``visiontune run``, cache empty; warm: the same again under another name;
- bare: Ray Tune with the same fast plain functions inside each trial, reused actors: a sample of
  two trials a step, one a core, of which every other configuration is taken to cost the mean;
- sklearn: a Pipeline with joblib's memory, whose transformers cache what they transform too, on
  one worker a core: all stages of ``--sklearn-steps``, k = 1 and 2 of 10; the other eight k are
  taken to cost what k = 2 did, and the ratio is to the floor of the same steps.

Prints one JSON object a part and a summary. The parts asked for are kept in ``--out`` and read
back, so that a run can be divided.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

STEPS, SIZES, METRICS, NORMS, KS = (3, 5, 8), (100, 200, 400), ("cityblock", "euclidean"), ("l1", "l2"), range(1, 11)
FIXED = {
    "bin_size": 4, "fast": True, "transform": "root", "vocabulary_step": 8, "vote": "uniform",
    "scales": 1, "assignment": "hard", "regions": "none", "idf": False, "mirrored": False,
}  # fmt: skip
GRID = {"fast": True, "scales": 1, "mirrored": False, "bin_size": 4}
CORES = len(os.sched_getaffinity(0))
CONCURRENCY = CORES + 1  # what a search takes by default; with more, Tune no longer reuses all actors


# The plain functions that all but ours call


def described(images: Any, step: int) -> Any:
    from trainables.knn.descriptors import dense_descriptors

    return dense_descriptors(images, step=step, **GRID)


def words_of(images: Any, size: int) -> Any:
    from trainables.knn.sift import sampled_descriptors
    from trainables.knn.vocabulary import vocabulary

    sample = sampled_descriptors(images, step=8, bin_size=4, fast=True, most=50_000, most_images=600, seed=0)
    return vocabulary(sample, size=size, transform="root", seed=0)


def counted(images: Any, step: int, vocabularies: list[Any]) -> list[Any]:
    """Word counts of a run of images for several vocabularies, descriptors made once."""
    from threadpoolctl import threadpool_limits

    from trainables.knn.encoding import word_counts

    with threadpool_limits(1):
        found = described(images, step)
        return [word_counts(found, words, transform="root", assignment="hard") for words in vocabularies]


def accuracies(train: Any, val: Any, labels: tuple[Any, Any], metric: str, norm: str) -> list[float]:
    """Accuracy for k = 1 to 10 from word counts."""
    from trainables.knn.neighbours import nearest_neighbours, votes_by_k
    from trainables.knn.regions import region_features

    gallery, queries = (region_features(counts, regions="none", norm=norm) for counts in (train, val))
    by_k, _ = votes_by_k(nearest_neighbours(queries, gallery, metric=metric, most=50), labels[0], 15, "uniform", 10)
    return [float(value) for value in (by_k == labels[1][:, None]).mean(axis=0)]


def read(scenes: Path) -> tuple[Any, Any]:
    from trainables.data import ReadOptions, read_dataset

    dataset = read_dataset(f"folder:{scenes}", ReadOptions(max_side=512))
    assert dataset.test is not None
    return dataset.train, dataset.test


# The parts


def floor(scenes: Path, options: Any) -> dict[str, Any]:
    from joblib import Parallel, delayed

    began = time.monotonic()
    train, val = read(scenes)
    labels = (train.labels, val.labels)
    pool = Parallel(n_jobs=CORES)
    vocabularies = pool(delayed(words_of)(train.images, size) for size in SIZES)
    by_step, found = {}, {}
    for step in STEPS:
        start = time.monotonic()
        runs = [(part, slice(i, i + 64)) for part in (train, val) for i in range(0, len(part), 64)]
        counts = pool(delayed(counted)(_owned(part.images[run]), step, vocabularies) for part, run in runs)
        half = len(runs) // 2
        split = [[np.concatenate([c[at] for c in part]) for part in (counts[:half], counts[half:])] for at in range(len(SIZES))]
        cases = list(itertools.product(range(len(SIZES)), METRICS, NORMS))
        values = pool(delayed(accuracies)(*split[at], labels, metric, norm) for at, metric, norm in cases)
        found.update({f"{step}/{SIZES[at]}/{metric}/{norm}": value for (at, metric, norm), value in zip(cases, values, strict=True)})
        by_step[step] = time.monotonic() - start
    return {"seconds": time.monotonic() - began, "by_step": by_step, "best": max(max(v) for v in found.values()), "accuracies": found}


def _owned(images: Any) -> Any:
    """A run of images with its own pixels, so that only they travel to a worker."""
    from trainables.data import Images

    return Images.from_arrays(list(images))


def noop(scenes: Path, options: Any) -> dict[str, Any]:
    from search.cluster import local_cluster

    began = time.monotonic()
    with local_cluster(CORES, print):
        from ray import tune
        from ray.tune.search import Searcher

        class Nothing(tune.Trainable):
            def setup(self, config: dict[str, Any]) -> None:
                pass

            def reset_config(self, new_config: dict[str, Any]) -> bool:
                return True

            def step(self) -> dict[str, Any]:
                return {"score": 0.0, "done": True}

        class Count(Searcher):
            """Proposes nothing so many times: a searcher, as our search has one."""

            def __init__(self, count: int) -> None:
                super().__init__()
                self._left = count

            def suggest(self, trial_id: str) -> Any:
                self._left -= 1
                return {} if self._left >= 0 else Searcher.FINISHED

            def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
                pass

        def trials(count: int) -> float:
            start = time.monotonic()
            with tempfile.TemporaryDirectory() as folder:
                tune.run(
                    Nothing, search_alg=Count(count), num_samples=-1, storage_path=folder, verbose=0, reuse_actors=True,
                    max_concurrent_trials=CONCURRENCY, resources_per_trial=tune.PlacementGroupFactory([{"CPU": 0.01}]),
                )  # fmt: skip
            return time.monotonic() - start

        first = trials(CONCURRENCY)
        start_up = time.monotonic() - began
        more = [trials(360) for _ in range(1)]
    return {"start_up": start_up, "first": first, "seconds": more, "per_trial": [s / 360 for s in more]}


def _search(scenes: Path, options: Any, name: str) -> dict[str, Any]:
    folder = options.out / "scenes"
    if not folder.exists():
        shutil.copytree(scenes / "train", folder / "train")
        shutil.copytree(scenes / "test", folder / "val")
    lists = {"step": list(STEPS), "vocabulary_size": list(SIZES), "metric": list(METRICS), "norm": list(NORMS), "k": list(KS)}
    plan = {"spaces": ["bag-of-sift"], "dataset": f"folder:{folder}", "trials": 360, "sampler": "grid", "concurrency": CONCURRENCY}
    (options.out / "plan.yaml").write_text(json.dumps({**plan, "set": {**FIXED, **lists}, "tracking": {"enabled": False}}))
    runs = options.out / "runs"
    arguments = ["run", str(options.out / "plan.yaml"), "--name", name, "--runs-dir", str(runs), "--json"]
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "search", *arguments], check=True, stdout=subprocess.PIPE, text=True)
    wall = time.monotonic() - began
    summary = json.loads(done.stdout)
    return {"wall": wall, "search": summary["seconds"], "per_trial": summary["seconds"] / 360, "trials": summary["trials"]}


def ours(scenes: Path, options: Any) -> dict[str, Any]:
    return _search(scenes, options, "cold")


def warm(scenes: Path, options: Any) -> dict[str, Any]:
    return _search(scenes, options, "warm")


def bare(scenes: Path, options: Any) -> dict[str, Any]:
    from search.cluster import local_cluster

    train, val = read(scenes)
    with local_cluster(CORES, print) as ray:
        from ray import tune

        data = ray.put((train, val))

        class Whole(tune.Trainable):
            def setup(self, config: dict[str, Any]) -> None:
                self._settings = config

            def reset_config(self, new_config: dict[str, Any]) -> bool:
                self._settings = new_config
                return True

            def step(self) -> dict[str, Any]:
                began = time.monotonic()
                step, size, metric, norm, k = self._settings["point"]
                learned, compared = ray.get(data)
                words = words_of(learned.images, size)
                counts = [counted(part.images, step, [words])[0] for part in (learned, compared)]
                score = accuracies(*counts, (learned.labels, compared.labels), metric, norm)[k - 1]
                return {"score": score, "took": time.monotonic() - began, "done": True}

        points = [(step, size, "cityblock", "l1", 8) for step in STEPS for size in (100, 400)]
        with tempfile.TemporaryDirectory() as folder:
            done = tune.run(
                Whole, config={"point": tune.grid_search(points)}, storage_path=folder, verbose=0, reuse_actors=True,
                max_concurrent_trials=CORES, resources_per_trial=tune.PlacementGroupFactory([{"CPU": 1}]),
            )  # fmt: skip
            took = sorted((t.config["point"][:2], t.last_result["took"]) for t in done.trials)
    seconds = [t for _, t in took]
    return {"n": len(took), "took": took, "mean": float(np.mean(seconds)), "estimate_360": 360 * float(np.mean(seconds)) / CORES}


def sklearn(scenes: Path, options: Any) -> dict[str, Any]:
    from joblib import Memory, Parallel, delayed
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import Pipeline

    train, val = read(scenes)
    memory = Memory(tempfile.mkdtemp(prefix="part1-sklearn-"), verbose=0)
    words, counts = memory.cache(words_of), memory.cache(counted)

    class Bag(BaseEstimator, TransformerMixin):  # type: ignore[misc]
        def __init__(self, step: int = 5, size: int = 100) -> None:
            self.step, self.size = step, size

        def fit(self, images: Any, labels: Any = None) -> Any:
            self.words_ = words(images, self.size)
            return self

        def transform(self, images: Any) -> Any:
            return counts(images, self.step, [self.words_])[0].sum(axis=1)

    class Norm(BaseEstimator, TransformerMixin):  # type: ignore[misc]
        def __init__(self, norm: str = "l1") -> None:
            self.norm = norm

        def fit(self, features: Any, labels: Any = None) -> Any:
            return self

        def transform(self, features: Any) -> Any:
            return features / np.linalg.norm(features, 1 if self.norm == "l1" else 2, axis=1, keepdims=True)

    def one(step: int, size: int, metric: str, norm: str, k: int) -> float:
        began = time.monotonic()
        knn = KNeighborsClassifier(k, algorithm="brute", metric=metric)
        pipeline = Pipeline([("bag", Bag(step, size)), ("norm", Norm(norm)), ("knn", knn)], memory=memory)
        pipeline.fit(train.images, train.labels).score(val.images, val.labels)
        return time.monotonic() - began

    seconds = {}
    for k in (1, 2):
        began = time.monotonic()
        points = list(itertools.product(options.sklearn_steps, SIZES, METRICS, NORMS))
        Parallel(n_jobs=CORES)(delayed(one)(*point, k) for point in points)
        seconds[k] = time.monotonic() - began
    return {"steps": options.sklearn_steps, "n": 2 * len(points), "seconds_by_k": seconds, "estimate": seconds[1] + 9 * seconds[2]}


PARTS = {"floor": floor, "noop": noop, "ours": ours, "warm": warm, "bare": bare, "sklearn": sklearn}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", required=True, type=Path)
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--out", required=True, type=Path, help="Folder of results; ours is cold only while it has no runs.")
    parser.add_argument("--sklearn-steps", default="8", type=lambda text: [int(step) for step in text.split(",")])
    parser.add_argument("--part", help="Run this part here; used by the program itself.")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.part:
        result = PARTS[options.part](options.scenes, options)
        (options.out / f"{options.part}.json").write_text(json.dumps(result))
        return
    for part in options.only.split(","):
        subprocess.run([sys.executable, "-W", "ignore", __file__, *sys.argv[1:], "--part", part], check=True)
        shown = {k: v for k, v in json.loads((options.out / f"{part}.json").read_text()).items() if k != "accuracies"}
        print(json.dumps({part: shown}), flush=True)
    found = {part: json.loads(path.read_text()) for part in PARTS if (path := options.out / f"{part}.json").is_file()}
    if set(found) == set(PARTS):
        print(json.dumps(summary(found)))


def summary(found: dict[str, Any]) -> dict[str, float]:
    """The ratios that the figures lead to."""
    bottom, start_up, cold = found["floor"]["seconds"], found["noop"]["start_up"], found["ours"]["wall"]
    steps = [str(step) for step in found["sklearn"]["steps"]]
    return {
        "bare / ours": found["bare"]["estimate_360"] / cold,
        "sklearn / floor, same steps": found["sklearn"]["estimate"] / sum(found["floor"]["by_step"][step] for step in steps),
        "ours / (1.25 floor + start-up)": cold / (1.25 * bottom + start_up),
        "(ours - start-up) / floor": (cold - start_up) / bottom,
        "warm / no-op, a trial": found["warm"]["per_trial"] / min(found["noop"]["per_trial"]),
    }


if __name__ == "__main__":
    main()
