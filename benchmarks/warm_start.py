"""How soon a search that starts from an earlier one comes to what that found.

    python -m benchmarks.warm_start [--space toy|knn|embedding] [--scenes DIR]

For each of ``--seeds`` seeds, a search of ``--trials`` trials from nothing; then three that try to
come to its best with another seed: from nothing; warm-started as a search is by default, which
tries the best configuration of the other first; and warm-started by what the sampler makes of the
other's trials alone, without trying any of them again. Then the same on images that the earlier
search never saw, where its best configurations are all that is taken: from nothing against
warm-started, both until they come to the best of the one from nothing.

``knn`` is tiny images of 300 digits, leave one out; ``embedding`` is heads on the features of a
pretrained network, 32 or 64 principal components, in 150 digits or in 10 training images of each
class in DIR, by folds. Trials run one after the other in this process, through the ledger, the
sampler and the learner of a search; stages and equal configurations are computed once. Prints a
line a case: trials needed, as the median of all seeds with the least and the most, where those that
did not come to it count as one more than they were given.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from statistics import median
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from analysis.plan.plan import Plan, make_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts
from search.driver.beginning import create
from search.driver.warm_start import find_sources, take
from search.driver.weights import with_weights
from search.ledger.ledger import Ledger
from trainables.data import ReadOptions, read_dataset
from trainables.data.source import data_source
from trainables.learners import LEARNERS, Assignment, Shared
from trainables.pretrained.network import weights_stage
from trainables.stages.stage import Stage, compute

SETTINGS: dict[str, dict[str, Any]] = {
    "toy": {"spaces": "toy", "set": {"fault": "none", "pause": 0}},
    "knn": {"spaces": "tiny-image", "validation": "leave-one-out"},
    "embedding": {
        "spaces": "embedding",
        "validation": "k-fold",
        "set": {"side": "64,96", "components": "32,64"},
    },
}


class Here(Assignment):
    """A trial whose stages are computed in this process, each once."""

    memo: ClassVar[dict[str, Any]] = {}

    def fetch(self, *stages: Stage) -> tuple[list[Any], bool]:
        """As on Ray."""
        there = stages[0].digest in self.memo
        return [compute(stage, self.memo, workers=1) for stage in stages], there


@dataclass
class World:
    """What a search is told of its images, and what configurations came to on them.

    Attributes:
        results: of configurations that were tried, by what they are.
    """

    plan: Plan
    facts: DataFacts
    labels: Any
    shared: Shared
    results: dict[str, dict[str, Any]] = field(default_factory=dict)

    def tried(self, config: dict[str, Any]) -> dict[str, Any]:
        """What a configuration comes to, with the seconds that it took the first time."""
        key = repr(sorted(config.items()))
        if key not in self.results:
            space, began = self.plan.spaces[0], time.perf_counter()
            given = LEARNERS[space].assign(self.shared, "", 0, config, 1, seed=0)
            trial = Here(**{one.name: getattr(given, one.name) for one in fields(given)})
            run = trial.make(replace(trial, checkpoints=""))
            result: dict[str, Any] = {"done": False}
            while not result["done"]:
                result = run.step()
            dropped = ("predictions", "shares", "device")
            result = {name: value for name, value in result.items() if name not in dropped}
            seconds = time.perf_counter() - began
            self.results[key] = {**result, "seconds": seconds}
        return dict(self.results[key])


def world(case: str, images: Path | None) -> World:
    """A case on a folder of images; without one on none."""
    settings = {**SETTINGS[case], "tracking": {"enabled": False}, "name": "x", "trials": 1000}
    if images is None:
        plan = make_plan(settings)
        return World(plan, DataFacts(spec="none", classes=(), sizes={}, fingerprint=""), None,
                     Shared(seed=0))  # fmt: skip
    plan, places = with_weights(
        make_plan({**settings, "dataset": f"folder:{images}"}), "it", lambda line: None
    )
    options = ReadOptions()
    dataset = read_dataset(plan.dataset, options)
    source = data_source(dataset, options)
    validation = plan.validation_for(source.sizes)
    Here.memo[source.stage.digest] = dataset
    for name, place in places.items():
        stage = weights_stage(plan.weights[name], place)
        Here.memo[stage.digest] = stage.function(**stage.parameters)
    facts = DataFacts(
        spec=plan.dataset, classes=source.classes, sizes=source.sizes,
        fingerprint=source.fingerprint,
    )  # fmt: skip
    shared = Shared(seed=0, data=source, validation=validation, weights=plan.weights)
    return World(plan, facts, dataset.train.labels, shared)


def search(
    runs: Path,
    there: World,
    seed: int,
    trials: int,
    until: float | None = None,
    earlier: str = "",
    first: bool = True,
) -> tuple[str, list[float]]:
    """A search; its run's name, and what each of its trials came to.

    Args:
        until: as soon as one comes to this it ends.
        earlier: run that it starts from.
        first: whether it tries what it is to try first.
    """  # fmt: skip
    name = f"{seed}-{len(list(runs.iterdir()))}"
    warm = (earlier,) if earlier else ()
    plan = there.plan.model_copy(update={"name": name, "seed": seed, "warm_start": warm})
    facts, labels = there.facts, there.labels
    taken = take(plan, find_sources(plan, runs), facts, labels, lambda line: None)
    folder = RunDirectory(runs / name)
    os.close(create(folder, plan, facts, labels, taken))
    if not first:
        shutil.rmtree(folder.requests, ignore_errors=True)
    ledger = Ledger(folder, plan)
    ledger.take_requests()
    found: list[float] = []
    for _ in range(trials):
        proposal = ledger.propose()
        if proposal is None:
            break
        result = there.tried(proposal.config)
        ledger.end(proposal.key, {**result, "started": time.time() - result["seconds"]})
        found.append(float(result["val_accuracy"]))
        if until is not None and found[-1] >= until:
            break
    return name, found


def pictures(folder: Path, scenes: Path | None, case: str, part: int) -> Path:
    """A folder of few training images; ``part`` says which of them, no two parts share any."""
    made = folder / f"{case}-{part}"
    if scenes and case == "embedding":
        for label in sorted(path for path in (scenes / "train").iterdir() if path.is_dir()):
            (made / "train" / label.name).mkdir(parents=True)
            for path in sorted(label.iterdir())[10 * part : 10 * part + 10]:
                shutil.copy(path, made / "train" / label.name / path.name)
        return made
    from sklearn.datasets import load_digits

    digits, each = load_digits(), 300 if case == "knn" else 150
    order = np.random.default_rng(0).permutation(len(digits.images))
    for nth in order[part * each : part * each + each]:
        place = made / "train" / str(digits.target[nth])
        place.mkdir(parents=True, exist_ok=True)
        small = Image.fromarray(np.uint8(digits.images[nth] * 15.9375))
        small.resize((32, 32), Image.Resampling.BILINEAR).save(place / f"{nth}.png")
    return made


def told(words: str, needed: list[int], trials: int) -> None:
    """One line of what was needed."""
    n, middle = len(needed), median(needed)
    third = " (a third or less)" if middle <= trials / 3 else ""
    print(f"  {words:58} n={n} median {middle:g} of {trials} trials, {min(needed)} to {max(needed)}"
          f"{third}", flush=True)  # fmt: skip


def compare(case: str, folder: Path, scenes: Path | None, seeds: int, trials: int) -> None:
    """Print the lines of one case."""
    runs = folder / f"runs-{case}"
    runs.mkdir()
    own = case == "toy"
    here, other = (world(case, None if own else pictures(folder, scenes, case, part))
                   for part in range(2))  # fmt: skip
    needs = {
        "from nothing, to the earlier best": list[int](),
        "warm, to the earlier best": [],
        "warm, nothing tried first, to the earlier best": [],
    }
    elsewhere: dict[str, list[int]] = {
        "other images, from nothing, to its own best": [],
        "other images, warm, to the best of the one from nothing": [],
    }
    for seed in range(seeds):
        name, found = search(runs, here, seed, trials)
        best = max(found)
        for words, earlier, first in zip(needs, ("", name, name), (True, True, False), strict=True):
            reached = search(runs, here, 1000 + seed, trials, best, earlier, first)[1]
            needs[words].append(len(reached) if max(reached) >= best else trials + 1)
        if own:
            continue
        cold, warm = elsewhere.values()
        alone = search(runs, other, 2000 + seed, trials)[1]
        cold.append(1 + int(np.argmax(alone)))
        reached = search(runs, other, 2000 + seed, trials, max(alone), name)[1]
        warm.append(len(reached) if max(reached) >= max(alone) else trials + 1)
    print(f"{case}, searches of {trials} trials", flush=True)
    for words, needed in {**needs, **({} if own else elsewhere)}.items():
        told(words, needed, trials)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--space", choices=SETTINGS, action="append")
    parser.add_argument("--scenes", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--trials", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, contextlib.suppress(KeyboardInterrupt):
        for case in options.space or SETTINGS:
            compare(case, Path(name), options.scenes, options.seeds, options.trials)


if __name__ == "__main__":
    main()
