"""Nothing that is chosen may depend on a test image, and no image may have a say in how it is
judged itself.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cnn_search import SMALL
from finished import BAG, HARD, TINY
from program import typed, visiontune
from sklearn.model_selection import StratifiedKFold

from analysis.run.directory import RunDirectory
from search.study.storage import read_trials
from spaces import SPACES, CnnConfig, get_space
from spaces.domain import Domain, Float, Value
from trainables.cnn.images import data_stages
from trainables.contract.assignment import TrainingSettings
from trainables.data import Dataset, Images, ReadOptions, Split
from trainables.data.source import data_source
from trainables.data.validation import Validation, validation_groups
from trainables.embedding.pipeline import held_out, out_of_fold, seen_stage
from trainables.knn.pipeline import evaluate, validation_stage
from trainables.learners import LEARNERS
from trainables.neighbours.nearest import nearest_neighbours
from trainables.pretrained.network import read_arrays, weights_stage
from trainables.pretrained.packaged import BACKBONES
from trainables.pretrained.weights import find
from trainables.stages.stage import compute

CLASSES = ("ash", "birch", "cedar")
IMAGES = {"train": 30, "val": 12, "test": 12}


def pictures(count: int, seed: int, side: int = 32) -> np.ndarray:
    """Noise with a bright bar whose place depends on the class, label row % 3, so that there is
    something to learn.
    """
    generator = np.random.default_rng(seed)
    found = generator.integers(0, 150, (count, side, side), dtype=np.uint8)
    for row in range(count):
        found[row, :, 10 * (row % 3) : 10 * (row % 3) + 8] += 90
    return found


def arrays(test_seed: int) -> dict[str, np.ndarray]:
    """Three splits; with another ``test_seed`` every test image and its label is another, and
    nothing else.
    """
    found: dict[str, np.ndarray] = {}
    for seed, (split, count) in enumerate(IMAGES.items()):
        found[f"x_{split}"] = pictures(count, seed if split != "test" else 100 + test_seed)
        found[f"y_{split}"] = (np.arange(count) + (test_seed if split == "test" else 0)) % 3
    return found


def dataset(test_seed: int) -> Dataset:
    parts = arrays(test_seed)
    splits = {
        name: Split(Images.from_arrays(list(parts[f"x_{name}"])), parts[f"y_{name}"])
        for name in IMAGES
    }
    return Dataset(f"npz:{test_seed}", CLASSES, splits["train"], splits["val"], splits["test"])


# An image and its own copies


@pytest.mark.parametrize("copies", [1, 2])
def test_an_image_is_left_out_together_with_its_mirror_image(copies: int) -> None:
    """The mirror image of image i stands at n + i: in any other group it would vote for the very
    image that it was made from.
    """
    labels = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    alone = validation_groups(labels, scheme="leave-one-out", folds=2, seed=0, copies=copies)
    assert alone.tolist() == [0, 1, 2, 3, 4, 5, 6, 7] * copies
    folds = validation_groups(labels, scheme="k-fold", folds=2, seed=5, copies=copies)
    expected = np.empty(8, int)
    for fold, (_, left_out) in enumerate(
        StratifiedKFold(2, shuffle=True, random_state=5).split(labels, labels)
    ):
        expected[left_out] = fold
    assert folds.tolist() == expected.tolist() * copies


@pytest.mark.parametrize(("space", "config"), [("tiny-image", TINY), ("bag-of-sift", BAG)])
@pytest.mark.parametrize("scheme", ["leave-one-out", "k-fold"])
def test_a_symmetric_image_does_not_find_itself_in_the_mirror(
    space: str, config: dict[str, Any], scheme: Any
) -> None:
    """Images that equal their mirror images are at distance 0 from them, and a search for the best
    would choose mirror images for that.
    """
    half = pictures(IMAGES["train"], 0, 40)[:, :, :20]
    images = Images.from_arrays(list(np.concatenate([half, half[:, :, ::-1]], axis=2)))
    whole = Dataset("npz:x", CLASSES, Split(images, np.arange(IMAGES["train"]) % 3))
    data = data_source(whole, ReadOptions())
    stage = validation_stage(get_space(space).typed(config), data, Validation(scheme, 3), 0)
    found = compute(stage, {data.stage.digest: whole}, workers=1)
    n = len(images)
    assert (found["indices"] >= n).any(), "mirror images vote"
    assert (found["indices"] % n != np.arange(n)[:, None]).all()


def test_a_mirror_image_votes_for_the_class_of_its_image() -> None:
    """Mirror images stand behind all images in the same order: neighbour 4 of three images is the
    mirror image of number 1.
    """
    config = get_space("tiny-image").typed({**TINY, "k": 1, "vote": "uniform"})
    neighbours = {"indices": np.array([[4], [5], [3]]), "distances": np.ones((3, 1))}
    found = evaluate(config, neighbours, np.array([0, 1, 2]), np.array([1, 2, 1]), 3)  # type: ignore[arg-type]
    assert found.predictions.tolist() == [1, 2, 0]
    assert found.accuracy_by_k == (pytest.approx(2 / 3),)


@pytest.mark.parametrize(("k", "right"), [(1, 1.0), (2, 1.0), (3, 0.0), (50, 0.0)])
def test_a_configuration_is_scored_at_its_own_k(k: int, right: float) -> None:
    """The nearest is right, the two behind it are wrong: an accuracy read one place further on is
    another configuration's.
    """
    config = get_space("tiny-image").typed({**TINY, "k": k, "vote": "uniform", "mirrored": False})
    neighbours = {"indices": np.array([[0, 1, 2]]), "distances": np.array([[1.0, 2.0, 3.0]])}
    found = evaluate(config, neighbours, np.array([0, 1, 1]), np.array([0]), 2)  # type: ignore[arg-type]
    assert found.scores.accuracy == right
    assert found.accuracy_by_k == (1.0, 1.0, 0.0)


def test_neighbours_are_found_by_row_wherever_the_run_of_rows_begins() -> None:
    """Rows 3 and 4 handed over alone must leave out images 3 and 4, not 0 and 1."""
    vectors = np.array([[0.0], [10.0], [20.0], [30.0], [40.0]])
    found = nearest_neighbours(
        vectors[3:], vectors, np.arange(5), metric="cityblock", most=1, start=3
    )
    assert found["indices"].tolist() == [[2], [3]]


# Test images


def drawn(space: str, number: int) -> dict[str, Value]:
    """A configuration that a random search might try on these images."""
    generator = random.Random(number)
    narrow = {
        "tiny-image": {"size": [4, 8]},
        "bag-of-sift": {"step": [6, 8], "bin_size": 4, "vocabulary_size": 12, "scales": [1, 2]},
        "embedding": {"side": 32, "crop": "squash", "components": [0, 4]},
    }
    small = {name: value for name, value in SMALL.items() if name != "batch_size"} | {
        "batch_size": 16
    }

    def suggest(name: str, domain: Domain) -> Value:
        return (
            generator.uniform(domain.low, domain.high)
            if isinstance(domain, Float)
            else generator.choice(domain.values())
        )

    return get_space(space).narrow(narrow.get(space, small)).sample(suggest)


def chosen_by(
    space: str, config: dict[str, Value], scheme: Any, whole: Dataset, memo: dict[str, Any]
) -> list[bytes]:
    """All that a search would know of this configuration, to the bit."""
    data = data_source(whole, ReadOptions())
    memo[data.stage.digest] = whole
    validation = Validation(scheme, 3)
    if space == "embedding":
        typed, splits = get_space(space).typed(config), ("train", "val")
        weights, place = find(typed.backbone)
        stage = weights_stage(weights)
        memo[stage.digest] = read_once(str(place))
        features = [
            compute(seen_stage(typed, weights, data, split), memo, workers=1) for split in splits
        ]
        labels = [compute(data.labels(split), memo) for split in splits]
        scores = (
            held_out(typed, features[0], labels[0], features[1], len(CLASSES))
            if scheme == "val"
            else out_of_fold(typed, features[0], labels[0], len(CLASSES), validation)
        )
        seen = [part for split in features for part in split.values()]
        return [np.ascontiguousarray(part).tobytes() for part in (*seen, scores)]
    if space != "cnn":
        given = get_space(space).typed(config)
        neighbours = compute(validation_stage(given, data, validation, 0), memo, workers=1)
        labels = [compute(data.labels(split), memo) for split in ("train", validation.split)]
        found = evaluate(given, neighbours, *labels, len(CLASSES))
        parts = (
            neighbours["indices"],
            neighbours["distances"],
            np.array(found.accuracy_by_k),
            found.predictions,
        )
        return [np.ascontiguousarray(part).tobytes() for part in parts]
    from trainables.cnn.data import CnnData
    from trainables.cnn.run import make_run

    how = TrainingSettings(1, 32, 1, False, True, 0, "val_accuracy", True)
    images = CnnData(*(compute(stage, memo) for stage in data_stages(data, 32)))
    run = make_run(CnnConfig.of(config), images, how, CLASSES, seed=0, device="cpu", threads=1)  # type: ignore[arg-type]
    metrics = replace_seconds(run.step())
    return [repr(sorted(metrics.items())).encode(), np.asarray(run.predictions()).tobytes()]


@functools.cache
def read_once(place: str) -> Any:
    weights = BACKBONES["efficientnet-lite0"].weights
    return read_arrays(facts={**weights.content, "name": weights.name}, place=place)


IMAGE_SPACES = [name for name, space in SPACES.items() if space.needs_images]
SCHEMES = [(name, scheme) for name in IMAGE_SPACES for scheme in LEARNERS[name].validations]


@pytest.mark.parametrize(("space", "scheme"), SCHEMES)
def test_no_configuration_is_judged_by_a_test_image(space: str, scheme: str) -> None:
    """Whatever is counted, averaged or learned over the test images flatters what is chosen, and
    the test accuracy with it.
    """
    configs = [drawn(space, number) for number in range(1 if space == "cnn" else 6)]
    if space != "cnn":
        configs += [
            get_space(space).check(config)
            for config in {"tiny-image": [TINY], "bag-of-sift": [BAG, HARD]}.get(space, [])
        ]
    found = []
    for test_seed in (0, 1):
        memo: dict[str, Any] = {}
        found.append(
            [chosen_by(space, config, scheme, dataset(test_seed), memo) for config in configs]
        )
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_search_of_every_space_chooses_the_same_whatever_the_test_images(tmp_path: Path) -> None:
    """From the files to the leaderboard: with every test image and label another one, study,
    records, predictions, weights and best must be the same to the bit, or something before the
    export has looked at them.
    """
    settings = {
        "step": 8,
        "side": 32,
        "bin_size": 4,
        "vocabulary_size": 12,
        "scales": 1,
        "size": 8,
        "idf": "true",
        **SMALL,
        "batch_size": 16,
    }
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    spaces = [word for name in IMAGE_SPACES for word in ("--space", name)]
    found = []
    for seed in (0, 1):
        np.savez(tmp_path / f"{seed}.npz", **arrays(seed))
        plan = (
            "--dataset",
            f"npz:{tmp_path}/{seed}.npz",
            "--trials",
            3,
            "--epochs",
            1,
            "--concurrency",
            1,
            "--name",
            f"run{seed}",
        )
        done = visiontune(
            "run", *spaces, *plan, "--no-tracking", "--runs-dir", tmp_path / "runs", *words
        )
        assert done.returncode == 0, done.stderr
        found.append(everything_chosen(RunDirectory(tmp_path / "runs" / f"run{seed}")))
    assert found[0].keys() == found[1].keys()
    assert [name for name in found[0] if found[0][name] != found[1][name]] == []
    assert {
        "study",
        "best",
        "tiny-image/0 record",
        "bag-of-sift/0 record",
        "cnn/0 record",
        "cnn/0 predictions",
        "cnn/0 steps",
    } <= found[0].keys()


def everything_chosen(folder: RunDirectory) -> dict[str, object]:
    """What a search wrote that is no time, place or name."""
    # of steps, which hold times
    untimed = {"started": 0.0, "seconds": 0.0, "node": "", "gpu_seconds": 0.0, "digests": {}}
    labels = folder.validation_labels()
    assert labels is not None
    found: dict[str, object] = {
        "study": {
            space: [(t.number, t.params, t.values, t.state) for t in trials]
            for space, trials in read_trials(folder).items()
        },
        "labels": labels.tobytes(),
    }
    for item in folder.records():
        plain = replace_seconds(item.metrics)
        found[f"{item.key} record"] = item.model_copy(update={**untimed, "metrics": plain})
        predictions = folder.predictions(item)
        found[f"{item.key} predictions"] = None if predictions is None else predictions.tobytes()
        steps = folder.steps(item.space, item.number)
        found[f"{item.key} steps"] = [
            replace_seconds({k: v for k, v in row.items() if k != "time"}) for row in steps
        ]
        for path in folder.weights(item.space, item.number).glob("*"):
            found[f"{item.key} {path.name}"] = path.read_bytes()
    table = list(csv.DictReader(io.StringIO((folder.report / "leaderboard.csv").read_text())))
    found["leaderboard"] = [replace_seconds(row) for row in table]
    (best,) = json.loads(typed("best", folder.path, "--json").stdout)
    found["best"] = replace_seconds(best)
    return found


def replace_seconds(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"seconds": 0}
