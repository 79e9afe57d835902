"""Stages: one digest, one answer, and the same bits however the work is divided."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spaces import BagOfSiftConfig, TinyImageConfig
from spaces.ours.knn import DISTANCES
from trainables.data import Images, ReadOptions, read_dataset
from trainables.data.source import data_source
from trainables.data.validation import Validation, validation_groups
from trainables.knn.encoding import streamed_word_counts
from trainables.knn.pipeline import evaluate, validation_stage
from trainables.knn.tiny import tiny_images
from trainables.neighbours.nearest import nearest_neighbours
from trainables.stages.stage import BLOCK, Stage, chunks, compute, join, run_stage

ROWS = 4 * BLOCK + 37


def constant(*, value: int) -> np.ndarray:
    return np.full(3, value)


def added(*inputs: np.ndarray, value: int = 0) -> np.ndarray:
    return np.asarray(sum(inputs) + value)


def other(*inputs: np.ndarray, value: int = 0) -> np.ndarray:
    return added(*inputs, value=value)


# Digests


def example(
    function: Callable[..., Any] = added,
    value: int = 1,
    base: int = 2,
    order: int = 1,
    rows: int | None = None,
) -> Stage:
    inputs = (Stage(constant, {"value": base}), Stage(constant, {"value": 9}))
    return Stage(function, {"value": value}, inputs[::order], rows)


def test_equal_stages_have_one_digest_whichever_objects_they_are() -> None:
    """Two trials build their stages apart and must meet, and the order of parameters means
    nothing.
    """
    assert example().digest == example().digest
    assert Stage(added, {"a": 1, "b": [1, 2]}).digest == Stage(added, {"b": [1, 2], "a": 1}).digest
    assert len(example().digest) == 64


@pytest.mark.parametrize(
    "change",
    [{"function": other}, {"value": 2}, {"base": 3}, {"order": -1}, {"rows": 3}],
    ids=["function", "parameter", "parameter upstream", "order of inputs", "by rows"],
)
def test_a_digest_changes_with_whatever_decides_the_answer(change: dict[str, Any]) -> None:
    """A stage that met another's result under its own digest would believe it."""
    assert example(**change).digest != example().digest


@pytest.mark.parametrize(
    ("one", "two"), [(1, 1.0), (1, True), ("1", 1), (None, "None"), (0.1, 0.1 + 1e-16 * 2)]
)
def test_parameters_of_another_type_or_value_are_others(one: object, two: object) -> None:
    """What only prints alike may compute differently."""
    assert Stage(added, {"value": one}).digest != Stage(added, {"value": two}).digest


def test_known_content_stands_for_how_it_was_made() -> None:
    """The same images read from two folders are one dataset, and their stages are shared."""
    one, two = (Stage(constant, {"value": value}, content="fingerprint") for value in (1, 2))
    assert one.digest == two.digest
    assert one.digest != Stage(constant, {"value": 1}, content="another").digest
    assert Stage(added, {}, (one,)).digest == Stage(added, {}, (two,)).digest


def test_a_stage_names_itself_and_its_parameters() -> None:
    """An error in a stage is read by someone who knows settings, not digests."""
    assert (
        str(Stage(tiny_images, {"size": 8, "resampling": "box"}))
        == "tiny_images(size=8, resampling=box)"
    )


# Chunks


@pytest.mark.parametrize("rows", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, ROWS, 3000])
@pytest.mark.parametrize("parts", [0, 1, 2, 3, 8, 1000])
def test_chunks_cover_all_rows_once_in_whole_blocks(rows: int, parts: int) -> None:
    """A row left out or counted twice is a wrong answer; a block cut in two is other bits."""
    runs = list(chunks(rows, parts))
    assert [row for start, stop in runs for row in range(start, stop)] == list(range(rows))
    assert all(start % BLOCK == 0 for start, _ in runs)
    assert all((stop - start) % BLOCK == 0 for start, stop in runs[:-1])
    assert len(runs) <= max(parts, 1)


def test_results_are_joined_in_order() -> None:
    """Arrays end to end, and dicts of arrays key by key."""
    np.testing.assert_array_equal(
        join([np.array([[1, 2]]), np.array([[3, 4], [5, 6]])]), [[1, 2], [3, 4], [5, 6]]
    )
    joined = join(
        [
            {"a": np.array([1]), "b": np.array([[2]])},
            {"a": np.array([3, 4]), "b": np.array([[5], [6]])},
        ]
    )
    assert {key: array.tolist() for key, array in joined.items()} == {
        "a": [1, 3, 4],
        "b": [[2], [5], [6]],
    }


# The same bits


def images(generator: np.random.Generator) -> Images:
    """Pictures of differing sizes, some too small for one descriptor."""
    return Images.from_arrays(
        [
            generator.integers(0, 256, (int(h), int(w)), dtype=np.uint8)
            for h, w in generator.integers(10, 34, (ROWS, 2))
        ]
    )


def vectors(generator: np.random.Generator) -> np.ndarray:
    """Half of their numbers are 0, and some of them are equal."""
    made = generator.random((ROWS, 40)) * generator.integers(0, 2, (ROWS, 40))
    made[ROWS // 2 :: 7] = made[0]
    return made


PICTURES = images(np.random.default_rng(0))
WORDS = np.random.default_rng(1).random((30, 128)).astype(np.float32) * 80
VECTORS = vectors(np.random.default_rng(2))
SIFT = {
    "step": 4, "bin_size": 4, "fast": True, "scales": 1, "mirrored": True, "transform": "root",
    "assignment": "hard",
}  # fmt: skip
CASES: dict[str, tuple[Stage, tuple[Any, ...]]] = {
    "streamed_word_counts": (Stage(streamed_word_counts, SIFT, rows=ROWS), (PICTURES, WORDS)),
    "tiny_images": (
        Stage(tiny_images, {"size": 8, "resampling": "lanczos"}, rows=ROWS),
        (PICTURES,),
    ),
    "folds": (
        Stage(nearest_neighbours, {"metric": "cosine", "most": 20}, rows=ROWS),
        (VECTORS, VECTORS, np.arange(ROWS) % 5),
    ),
} | {
    metric: (
        Stage(nearest_neighbours, {"metric": metric, "most": 20}, rows=ROWS),
        (VECTORS, VECTORS, np.arange(ROWS)),
    )
    for metric in DISTANCES
}


def in_parts(stage: Stage, inputs: tuple[Any, ...], parts: int) -> Any:
    assert stage.rows is not None
    return join(
        [run_stage(stage, inputs, start, stop) for start, stop in chunks(stage.rows, parts)]
    )


def bits(result: Any) -> dict[str, tuple[Any, bytes]]:
    arrays = result if isinstance(result, dict) else {"": result}
    return {key: ((array.dtype, array.shape), array.tobytes()) for key, array in arrays.items()}


@pytest.mark.parametrize("case", CASES)
def test_the_bits_do_not_depend_on_the_chunks(case: str) -> None:
    """A score must not change with the size of the cluster it was computed on."""
    stage, inputs = CASES[case]
    whole = in_parts(stage, inputs, 1)
    for parts in (2, 3, 5):
        assert bits(in_parts(stage, inputs, parts)) == bits(whole), f"{parts} parts"


@pytest.mark.parametrize("case", ["streamed_word_counts", "tiny_images", "cosine", "chi-squared"])
def test_the_bits_do_not_depend_on_the_processes(case: str) -> None:
    """One core and many must give the same model."""
    stage, inputs = CASES[case]
    upstream = tuple(
        Stage(constant, {"value": number}, content=f"input {number}")
        for number in range(len(inputs))
    )
    whole = Stage(stage.function, stage.parameters, upstream, stage.rows)
    results = []
    for workers in (1, 2):
        memo = {source.digest: value for source, value in zip(upstream, inputs, strict=True)}
        results.append(bits(compute(whole, memo, workers)))
        assert whole.digest in memo
    assert results[0] == results[1]


def test_a_result_in_the_memo_is_not_computed_again() -> None:
    """Sharing is what makes a thousand trials cost as much as a few dozen."""
    shared = Stage(constant, {"value": 5})
    memo = {shared.digest: np.array([100])}
    assert compute(Stage(added, {"value": 1}, (shared,)), memo).tolist() == [101]
    assert compute(Stage(added, {"value": 1}, (shared, shared))).tolist() == [11, 11, 11]


# The stages of a configuration

TINY = TinyImageConfig("cityblock", 8, "box", False, "l1", 3, "uniform")
BAG = BagOfSiftConfig(8, 4, True, "raw", 8, 10, "cosine", "none", 3, "uniform")


def digests(stage: Stage) -> dict[str, str]:
    found = {stage.name: stage.digest}
    for upstream in stage.inputs:
        found |= digests(upstream)
    return found


@pytest.fixture
def source(tmp_path: Path, make_folder: Callable[..., Path]) -> Any:
    dataset = read_dataset(
        f"folder:{make_folder(tmp_path, {'train': {'a': 6, 'b': 6}, 'test': {'a': 2, 'b': 2}})}"
    )
    return data_source(dataset, ReadOptions())


@pytest.mark.parametrize(
    ("config", "change", "differ"),
    [
        (TINY, {"k": 9, "vote": "distance"}, set()),
        (TINY, {"metric": "cosine"}, {"nearest_neighbours"}),
        (TINY, {"norm": "l2"}, {"normalised", "nearest_neighbours"}),
        (TINY, {"size": 16}, {"tiny_images", "normalised", "nearest_neighbours"}),
        (BAG, {"k": 9, "vote": "distance"}, set()),
        (BAG, {"norm": "l2"}, {"region_features", "nearest_neighbours"}),
        (
            BAG,
            {"step": 4},
            {"dense_descriptors", "word_counts", "region_features", "nearest_neighbours"},
        ),
        (
            BAG,
            {"vocabulary_size": 20},
            {"vocabulary", "word_counts", "region_features", "nearest_neighbours"},
        ),
        (
            BAG,
            {"vocabulary_step": 4},
            {
                "sampled_descriptors",
                "vocabulary",
                "word_counts",
                "region_features",
                "nearest_neighbours",
            },
        ),
        (BAG, {"regions": "2x2"}, {"region_features", "nearest_neighbours"}),
        (BAG, {"assignment": "soft"}, {"word_counts", "region_features", "nearest_neighbours"}),
    ],
)
def test_configurations_share_every_stage_that_their_difference_leaves_alone(
    source: Any, config: Any, change: Any, differ: set[str]
) -> None:
    """Too little shared costs hours; one stage too many shared is a wrong score."""
    validation = Validation("leave-one-out")
    one, two = (
        digests(validation_stage(c, source, validation, 0))
        for c in (config, type(config)(**{**vars(config), **change}))
    )
    assert {name for name in one if one[name] != two[name]} == differ


@pytest.mark.parametrize("config", [TINY, BAG], ids=["tiny-image", "bag-of-sift"])
def test_a_configuration_is_scored_from_the_files_to_the_vote(source: Any, config: Any) -> None:
    """The chain of stages alone, with no cluster around it, must lead from images to an accuracy
    for every k.
    """
    memo: dict[str, Any] = {}
    neighbours = compute(
        validation_stage(config, source, Validation("k-fold", folds=3, seed=1), 0), memo, workers=1
    )
    labels = compute(source.labels("train"), memo, workers=1)
    found = evaluate(config, neighbours, labels, labels, 2)
    assert neighbours["indices"].shape == (12, 8)
    assert len(found.accuracy_by_k) == 8
    assert (
        found.scores.accuracy
        == found.accuracy_by_k[config.k - 1]
        == np.mean(found.predictions == labels)
    )


def test_a_dataset_that_has_changed_since_is_refused(source: Any, tmp_path: Path) -> None:
    """Results are kept under the old fingerprint, and new images must not be mixed in."""
    (tmp_path / "train" / "a" / "000.png").unlink()
    with pytest.raises(
        ValueError, match="the images have changed since this search began; start a new search"
    ):
        compute(source.stage)


def test_folds_are_stratified_and_leave_one_out_is_a_group_each() -> None:
    """A fold without some class would be judged on another task than the rest."""
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    groups = [validation_groups(labels, scheme="k-fold", folds=5, seed=seed) for seed in (0, 0, 1)]
    for fold in range(5):
        assert np.bincount(labels[groups[0] == fold]).tolist() == [2, 4, 6]
    assert groups[0].tolist() == groups[1].tolist() != groups[2].tolist()
    assert validation_groups(labels, scheme="leave-one-out", folds=5, seed=0).tolist() == list(
        range(60)
    )


HELD: list[np.ndarray] = []


def hoarding(numbers: np.ndarray, *, start: int = 0) -> np.ndarray:
    """Keeps 160 MB more at every call, and takes longer than joblib waits between two looks."""
    HELD.append(np.ones(20_000_000))
    time.sleep(0.6)
    return numbers


def test_nothing_is_said_of_workers_that_joblib_renews() -> None:
    """Those that torch grows in are ended and replaced while work is left: whoever reads of a
    memory leak then is worried for nothing.
    """
    numbers = np.arange(8 * BLOCK)
    stage = Stage(hoarding, {}, (Stage(constant, {"value": 0}),), len(numbers))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = compute(stage, {stage.inputs[0].digest: numbers}, workers=2)
    assert np.array_equal(found, numbers)
    assert said == []
