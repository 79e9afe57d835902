"""360 kNN configurations on the 15 scenes: ours, bare Ray Tune, scikit-learn, and the floor.

    python benchmarks/part1.py --scenes DIR --out DIR [--only
    floor,noop,ours,warm,bare,sklearn,pixels] [--repeats N]

The same list for all: steps 3, 5, 8; vocabularies of 100, 200, 400 words; city-block and
Euclidean distance; norms l1 and l2; k = 1 to 10; learned from train, compared on the 1,500
images of test as one shared validation split. All call the same plain functions
(``part1_plain.py``, which are ours), and all accuracies are compared with the floor's. Each part
is a process of its own:

- floor: a straight-line script that computes each distinct result once, on all cores, no Ray;
- noop: Ray's start-up with one trial that does nothing, and 360 more of them with reused actors;
- ours: ``visiontune run``, cache empty; warm: the same again under another name;
- bare: Ray Tune with the plain functions inside each trial, reused actors: a SAMPLE, ``--each`` of
  the 40 configurations of every step and vocabulary size; 360 are taken to cost what it costs;
- sklearn: ``GridSearchCV`` over ``Pipeline(memory=…)``, all 360, given the numbers of the images;
  pixels: the same given the images themselves, as one would at first.

Prints one JSON object a part and a summary: seconds, and processor seconds of all of a part's
processes. The parts asked for are kept in ``--out`` and read back, so that a run can be divided;
``--repeats`` runs a part several times, and the ratios are of medians.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
from part1_plain import CORES, KS, METRICS, NORMS, SIZES, STEPS, name

FIXED = {
    "bin_size": 4, "fast": True, "transform": "root", "vocabulary_step": 8, "vote": "uniform",
    "scales": 1, "assignment": "hard", "regions": "none", "idf": False, "mirrored": False,
}  # fmt: skip
CONCURRENCY = CORES + 1  # what a search takes by default


def floor(options: Any) -> dict[str, Any]:
    from part1_plain import floor

    return floor(options.scenes)


def bare(options: Any) -> dict[str, Any]:
    from part1_others import bare

    return bare(options.scenes, options.each)


def sklearn(options: Any) -> dict[str, Any]:
    from part1_others import sklearn

    return sklearn(options.scenes, pixels=False)


def pixels(options: Any) -> dict[str, Any]:
    from part1_others import sklearn

    return sklearn(options.scenes, pixels=True)


def noop(options: Any) -> dict[str, Any]:
    """Trials that do nothing, proposed by a searcher as ours are, in actors that wait for each
    other and are then reused.
    """
    from search.cluster.start import local_cluster

    began = time.monotonic()
    with local_cluster(CORES, print), tempfile.TemporaryDirectory() as place:
        from ray import tune
        from ray.tune.search import Searcher

        gate = Path(place) / "gate"

        class Nothing(tune.Trainable):
            def setup(self, config: dict[str, Any]) -> None:
                Path(config["gate"]).mkdir(exist_ok=True)
                (Path(config["gate"]) / str(os.getpid())).touch()
                end = time.monotonic() + 10
                while (
                    time.monotonic() < end
                    and len(list(Path(config["gate"]).iterdir())) < CONCURRENCY
                ):
                    time.sleep(0.01)

            def reset_config(self, new_config: dict[str, Any]) -> bool:
                return True

            def step(self) -> dict[str, Any]:
                return {"score": 0.0, "done": True}

        class Count(Searcher):
            def __init__(self, count: int, gate: Path) -> None:
                super().__init__()
                self._left, self._gate = count, gate

            def suggest(self, trial_id: str) -> Any:
                self._left -= 1
                return {"gate": str(self._gate)} if self._left >= 0 else Searcher.FINISHED

            def on_trial_complete(
                self, trial_id: str, result: Any = None, error: bool = False
            ) -> None:
                pass

        def trials(count: int) -> float:
            start, own = time.monotonic(), Path(f"{gate}-{count}")
            tune.run(
                Nothing, search_alg=Count(count, own), num_samples=-1, storage_path=place,
                verbose=0, reuse_actors=True,
                max_concurrent_trials=CONCURRENCY,
                resources_per_trial=tune.PlacementGroupFactory([{"CPU": 0.01}]),
            )  # fmt: skip
            actors.append(len(list(own.iterdir())))
            return time.monotonic() - start

        actors: list[int] = []
        first = trials(CONCURRENCY)
        start_up = time.monotonic() - began
        more = trials(360)
    return {
        "seconds": more,
        "start_up": start_up,
        "first": first,
        "per_trial": more / 360,
        "actors": actors,
    }


def search(options: Any, kind: str) -> dict[str, Any]:
    """One search; its val split is the scenes' test images, and an image of each class stands for a
    test split.
    """
    folder, runs = options.out / "scenes", options.out / f"runs-{options.repeat}"
    if not folder.exists():
        shutil.copytree(options.scenes / "train", folder / "train")
        shutil.copytree(options.scenes / "test", folder / "val")
        for some in sorted((options.scenes / "test").iterdir()):
            (folder / "test" / some.name).mkdir(parents=True)
            shutil.copy(sorted(some.iterdir())[0], folder / "test" / some.name)
    lists = {
        "step": list(STEPS),
        "vocabulary_size": list(SIZES),
        "metric": list(METRICS),
        "norm": list(NORMS),
        "k": list(KS),
    }
    plan = {
        "spaces": ["bag-of-sift"],
        "dataset": f"folder:{folder}",
        "trials": 360,
        "sampler": "grid",
        "concurrency": CONCURRENCY,
    }
    (options.out / "plan.yaml").write_text(
        json.dumps({**plan, "set": {**FIXED, **lists}, "tracking": {"enabled": False}})
    )
    if kind == "cold":
        shutil.rmtree(runs, ignore_errors=True)
    shutil.rmtree(runs / kind, ignore_errors=True)
    arguments = [
        "run",
        str(options.out / "plan.yaml"),
        "--name",
        kind,
        "--runs-dir",
        str(runs),
        "--json",
    ]
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "search", *arguments], check=True, stdout=subprocess.PIPE, text=True
    )
    wall = time.monotonic() - began
    summary = json.loads(done.stdout)
    accuracies = {}
    for path in (runs / kind / "trials").glob("*/*/result.json"):
        record = json.loads(path.read_text())
        config = record["config"]
        key = name(*(config[setting] for setting in ("step", "vocabulary_size", "metric", "norm")))
        accuracies[f"{key}/{config['k']}"] = record["metrics"]["val_accuracy"]
    seconds = summary["seconds"]
    return {
        "seconds": wall,
        "search": seconds,
        "per_trial": seconds / 360,
        "trials": summary["trials"],
        "accuracies": accuracies,
    }


def ours(options: Any) -> dict[str, Any]:
    return search(options, "cold")


def warm(options: Any) -> dict[str, Any]:
    return search(options, "warm")


PARTS = {part.__name__: part for part in (floor, noop, ours, warm, bare, sklearn, pixels)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", required=True, type=Path)
    parser.add_argument(
        "--out",
        required=True,
        type=Path,
        help="Folder of results; parts that are there already count in the summary.",
    )
    parser.add_argument("--only", default=",".join(PARTS))
    parser.add_argument("--repeats", default=1, type=int)
    parser.add_argument(
        "--each",
        default=3,
        type=int,
        help="Configurations of every step and vocabulary size that bare Ray Tune runs.",
    )
    parser.add_argument("--part", help="Run this part here; used by the program itself.")
    parser.add_argument(
        "--repeat", default=0, type=int, help="Which time it is; used by the program itself."
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.part:
        result = PARTS[options.part](options)
        (options.out / f"{options.part}-{options.repeat}.json").write_text(json.dumps(result))
        return
    for repeat in range(options.repeats):
        for part in options.only.split(","):
            again = ["--part", part, "--repeat", str(repeat)]
            cpu = cpu_seconds([sys.executable, "-W", "ignore", __file__, *sys.argv[1:], *again])
            kept = options.out / f"{part}-{repeat}.json"
            shown = json.loads(kept.read_text()) | {"cpu": cpu}
            kept.write_text(json.dumps(shown))
            print(
                json.dumps(
                    {part: {key: value for key, value in shown.items() if key != "accuracies"}}
                ),
                flush=True,
            )
    found = {
        part: [json.loads(path.read_text()) for path in sorted(options.out.glob(f"{part}-*.json"))]
        for part in PARTS
    }
    print(json.dumps(summary({part: results for part, results in found.items() if results})))


def cpu_seconds(command: list[str]) -> float:
    """Run a command to its end; seconds of processor time of all its processes, which other work on
    the machine hardly changes.
    """
    used: dict[int, float] = {}
    with subprocess.Popen(command) as running:
        while running.poll() is None:
            with contextlib.suppress(psutil.NoSuchProcess):
                root = psutil.Process(running.pid)
                for process in [root, *root.children(recursive=True)]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        times = process.cpu_times()
                        used[process.pid] = times.user + times.system
            time.sleep(0.2)
    if running.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {running.returncode}")
    return sum(used.values())


def summary(found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Seconds of each part, the ratios that they lead to, and how many accuracies are the floor's
    to the last bit.
    """
    seconds = {
        part: [round(result["seconds"], 1) for result in results] for part, results in found.items()
    }
    cpu = {
        part: [round(result["cpu"], 1) for result in results if "cpu" in result]
        for part, results in found.items()
    }
    middle = {part: statistics.median(each) for part, each in seconds.items()}

    def median(part: str, key: str) -> float:
        return statistics.median(result[key] for result in found[part])

    ratios = {
        f"{part} / ours": round(middle[part] / middle["ours"], 2)
        for part in ("bare", "sklearn", "pixels")
        if {part, "ours"} <= set(found)
    }
    if {"floor", "noop", "ours"} <= set(found):
        start_up = median("noop", "start_up")
        ratios["(ours - start-up) / floor"] = round(
            (middle["ours"] - start_up) / middle["floor"], 3
        )
        ratios["start-up"] = round(start_up, 1)
    if {"noop", "warm"} <= set(found):
        ratios["warm / no-op, a trial"] = round(
            median("warm", "per_trial") / median("noop", "per_trial"), 2
        )
    wrong: dict[str, float] = {}
    if "floor" in found:
        right = {
            f"{case}/{k}": value
            for case, values in found["floor"][0]["accuracies"].items()
            for k, value in enumerate(values, 1)
        }
        for part in set(found) & {"ours", "warm", "bare", "sklearn", "pixels"}:
            gaps = [
                abs(value - right[key])
                for result in found[part]
                for key, value in result["accuracies"].items()
            ]
            wrong[part] = max(gaps)
    processors = [
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    machine = f"{CORES} cores, {processors[0] if processors else platform.processor()}"
    return {
        "machine": machine,
        "seconds": seconds,
        "cpu seconds": cpu,
        "ratios": ratios,
        "largest gap to the floor's accuracies": wrong,
    }


if __name__ == "__main__":
    main()
