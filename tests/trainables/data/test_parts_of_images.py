"""Parts of the training images, on which trials are judged one after the other: a smaller one lies
within a larger one, every class and no half of a group is in it, and the last one is all of them.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from finished import BAG, HARD, TINY, config_of

from trainables.contract.assignment import Assignment, Shared
from trainables.data import Dataset, read_dataset
from trainables.data.options import ReadOptions
from trainables.data.source import DataSource, data_source
from trainables.data.validation import Validation, comes_in
from trainables.knn.pipeline import KnnConfig, validation_stage
from trainables.knn.run import KnnRun
from trainables.stages.stage import compute

RUNGS = (0.3, 0.6, 1.0)
RNG = np.random.default_rng(7)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    """230 of the digits, shuffled, in groups of up to three; 40 more to be judged."""
    whole = read_dataset("digits", ReadOptions(hold_out=0.2))
    assert whole.val is not None
    train = whole.train.take(RNG.permutation(len(whole.train))[:230])
    val = whole.val.take(np.arange(40))
    return replace(whole, train=train, val=val)


def grouped(dataset: Dataset) -> Dataset:
    """The same with groups of up to three images, each of one class."""
    groups = np.empty(len(dataset.train), np.int64)
    for label in range(10):
        rows = np.flatnonzero(dataset.train.labels == label)
        groups[rows] = 1000 * label + np.arange(len(rows)) // 3
    return replace(dataset, train=replace(dataset.train, groups=groups))


@pytest.mark.parametrize("whole", [False, True], ids=["alone", "in groups"])
def test_a_smaller_part_lies_within_a_larger_one_and_has_its_share_of_every_class(
    digits: Dataset, whole: bool
) -> None:
    """Or steps of one trial would be judged on other images, and some classes on none."""
    train = (grouped(digits) if whole else digits).train
    order = comes_in(train.labels, train.groups, seed=3)
    assert (order >= 0).all()
    assert (order < 1).all()
    counts = np.bincount(train.labels)
    for share in (0.01, *RUNGS):
        there = np.bincount(train.labels[order < share], minlength=10)
        assert (there >= np.minimum(counts, 1)).all()
        assert (there >= np.floor(share * counts)).all()
        assert (there <= np.ceil(share * counts) + (2 if whole else 0)).all()
        if train.groups is not None:
            inside, outside = (set(train.groups[one]) for one in (order < share, order >= share))
            assert not inside & outside
    assert (comes_in(train.labels, train.groups, seed=3) == order).all()
    assert (comes_in(train.labels, train.groups, seed=4) != order).any()


CASES = [("tiny-image", TINY), ("bag-of-sift", BAG), ("bag-of-sift", HARD)]


def neighbours(config: KnnConfig, data: DataSource, dataset: Dataset, scheme: Any) -> Any:
    memo = {data.stage.digest: dataset}
    return compute(validation_stage(config, data, Validation(scheme, 3), 5), memo, workers=1)


@pytest.mark.parametrize(("space", "given"), CASES)
@pytest.mark.parametrize("scheme", ["leave-one-out", "k-fold", "val"])
def test_the_last_part_gives_what_all_images_give_to_the_bit(
    digits: Dataset, space: str, given: dict[str, Any], scheme: str
) -> None:
    """Or a trial in steps would be worth something else than one without, and its bundle would not
    give the recorded accuracy.
    """
    dataset = grouped(digits)
    config, options = config_of(space, given), ReadOptions(seed=5)
    plain = neighbours(config, data_source(dataset, options), dataset, scheme)
    parted = data_source(dataset, options, RUNGS).at(2)
    stepped = neighbours(config, parted, dataset, scheme)
    for name in plain:
        assert np.array_equal(plain[name], stepped[name]), name


@pytest.mark.parametrize("scheme", ["leave-one-out", "k-fold", "val"])
def test_a_part_is_judged_as_a_dataset_of_nothing_else_would_be(
    digits: Dataset, scheme: str
) -> None:
    """Nothing of the other images may be seen by it: neither voters nor those that are judged."""
    dataset, options = grouped(digits), ReadOptions(seed=5)
    config = config_of("tiny-image", TINY)
    order = comes_in(dataset.train.labels, dataset.train.groups, seed=5)
    alone = replace(dataset, train=dataset.train.take(np.flatnonzero(order < 0.6)))
    wanted = neighbours(config, data_source(alone, options), alone, scheme)
    data = data_source(dataset, options, RUNGS).at(1)
    found = neighbours(config, data, dataset, scheme)
    assert data.rows("train") == len(alone.train)
    for name in wanted:
        assert np.array_equal(wanted[name], found[name]), name


def test_what_is_made_of_an_image_is_made_once_for_all_steps(digits: Dataset) -> None:
    """Otherwise steps would cost more than they save: descriptors are what is dear."""
    data, config = data_source(digits, ReadOptions(), RUNGS), config_of("bag-of-sift", BAG)
    seen: list[dict[str, int]] = []
    for step in range(3):
        stages, todo = {}, [validation_stage(config, data.at(step), Validation("leave-one-out"), 0)]
        while todo:
            stage = todo.pop()
            if stage.name in ("dense_descriptors", "vocabulary"):
                stages[stage.digest] = stage.rows or 0
            todo += stage.inputs
        seen.append(stages)
    assert set(seen[0]) < set(seen[1]) < set(seen[2])
    assert sum(seen[2].values()) == 2 * len(digits.train)  # mirror images too


class Here(Assignment):
    """A trial whose stages are computed in this process."""

    memo: ClassVar[dict[str, Any]] = {}

    def fetch(self, *stages: Any) -> tuple[list[Any], bool]:
        return [compute(stage, self.memo, workers=1) for stage in stages], False


def test_a_trial_goes_on_from_the_step_that_it_had_done(digits: Dataset, tmp_path: Path) -> None:
    """Or a search that was killed would judge the same part again."""
    data, config = data_source(digits, ReadOptions(), RUNGS), vars(config_of("tiny-image", TINY))
    Here.memo = {data.stage.digest: digits}
    judged = Shared(seed=0, data=data, validation=Validation("leave-one-out"))
    own = {"space": "tiny-image", "number": 0, "config": config, "make": KnnRun}
    trial = Here(**{**vars(judged), **own})
    run = KnnRun(trial)
    steps = [run.step(), run.step()]
    run.save(tmp_path)
    steps.append(run.step())
    assert [one["done"] for one in steps] == [False, False, True]
    assert [one["step"] for one in steps] == [0, 1, 2]
    assert "predictions" not in steps[1]
    assert len(steps[2]["predictions"]) == len(digits.train)
    again = KnnRun(trial)
    again.load(tmp_path)
    last = again.step()
    assert last["done"]
    assert last["val_accuracy"] == steps[2]["val_accuracy"]
    alone = KnnRun(Here(**{**vars(trial), "data": replace(data, rungs=())})).step()
    assert alone["val_accuracy"] == last["val_accuracy"]
    assert "step" not in alone
