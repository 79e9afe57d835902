"""Bags of words beyond plain counts: regions, bin sizes, soft words, idf, mirror images; and quick
neighbours.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfTransformer
from threadpoolctl import threadpool_limits

from spaces.ours.knn import DISTANCES
from trainables.data import Images
from trainables.knn.descriptors import Descriptors, dense_descriptors
from trainables.knn.encoding import nearest_words, streamed_word_counts, word_counts
from trainables.knn.regions import inverse_document_frequency, region_features
from trainables.knn.report import stretched_histograms
from trainables.knn.sift import dense_sift, located_sift, sampled_descriptors, transformed
from trainables.knn.tiny import tiny_images
from trainables.knn.vocabulary import vocabulary
from trainables.neighbours.distances import distances
from trainables.neighbours.nearest import nearest_neighbours

GENERATOR = np.random.default_rng(3)
IMAGES = Images.from_arrays(
    [GENERATOR.integers(0, 256, shape, dtype=np.uint8) for shape in ((60, 90), (9, 9), (45, 33))]
)
WORDS = (GENERATOR.random((20, 128)) * 60).astype(np.float32)
GRID: dict[str, Any] = {"step": 4, "bin_size": 3, "fast": True, "scales": 2, "mirrored": False}
COUNTS = GENERATOR.integers(0, 5, (6, 16, 7)).astype(np.float32)


def test_several_bin_sizes_are_each_size_s_descriptors_end_to_end() -> None:
    """``scales`` must add descriptors and change none."""
    found = dense_sift(IMAGES[0], step=4, bin_size=3, fast=True, scales=3)
    each = [dense_sift(IMAGES[0], step=4, bin_size=size, fast=True) for size in (3, 6, 9)]
    np.testing.assert_array_equal(found, np.concatenate(each))


def test_a_descriptor_is_in_the_cell_of_its_centre() -> None:
    """Rows and columns must not change places, nor an edge fall outside."""
    cells, _ = located_sift(IMAGES[0], step=4, bin_size=3, fast=True)
    rows, columns = (np.arange(4.5, side - 4.5 + 1e-9, 4) for side in (60, 90))
    expected = [int(4 * y / 60) * 4 + int(4 * x / 90) for y in rows for x in columns]
    assert len(cells) == len(expected)
    assert np.mean(cells == expected) > 0.9, "centres lie on whole or half pixels"
    assert cells[0] == 0
    assert cells.max() == 15


@pytest.mark.parametrize("assignment", ["hard", "soft"])
def test_streamed_and_kept_descriptors_are_counted_to_the_same_bits(assignment: str) -> None:
    """Whether descriptors fit in memory must not show in a score."""
    kept = dense_descriptors(IMAGES, **GRID)
    one = word_counts(kept, WORDS, transform="root", assignment=assignment)
    two = streamed_word_counts(IMAGES, WORDS, **GRID, transform="root", assignment=assignment)
    assert one.tobytes() == two.tobytes()
    parts = Descriptors.joined([kept[0:1], kept[1:3]])
    assert (
        word_counts(parts, WORDS, transform="root", assignment=assignment).tobytes()
        == one.tobytes()
    )
    assert not one[1].any(), "an image too small for a descriptor"
    np.testing.assert_allclose(one.sum(axis=(1, 2)), np.diff([0, *kept.ends]), rtol=1e-5)


def test_soft_words_are_shared_out_by_distance() -> None:
    """The definition of codeword uncertainty, written out for one descriptor."""
    descriptors = transformed(dense_sift(IMAGES[0], step=4, bin_size=3, fast=True), "raw")
    gaps = ((descriptors[:, None].astype(float) - WORDS[None]) ** 2).sum(axis=2)
    between = ((WORDS[:, None].astype(float) - WORDS[None]) ** 2).sum(axis=2) + np.diag(
        np.full(20, np.inf)
    )
    weights = np.exp(
        -(gaps - gaps.min(axis=1, keepdims=True)) / (2 * 0.05 * between.min(axis=1).mean())
    )
    expected = (weights / weights.sum(axis=1, keepdims=True)).sum(axis=0)
    grid = {**GRID, "scales": 1}
    found = streamed_word_counts(
        IMAGES[0:1], WORDS, **grid, transform="raw", assignment="soft"
    ).sum(axis=(0, 1))
    np.testing.assert_allclose(found, expected, rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize(("regions", "size"), [("none", 7), ("2x2", 28), ("pyramid", 147)])
def test_every_region_is_a_sum_of_cells(regions: str, size: int) -> None:
    """Nothing is counted twice or lost: each level of a region holds every word once."""
    found = region_features(COUNTS, regions=regions, norm="none")
    assert found.shape == (6, size)
    assert found.dtype == np.float32
    whole = COUNTS.sum(axis=1)
    levels = {"none": [(1, 1.0)], "2x2": [(4, 1.0)], "pyramid": [(1, 0.25), (4, 0.25), (16, 0.5)]}[
        regions
    ]
    start = 0
    for cells, weight in levels:
        level = found[:, start : start + 7 * cells].reshape(6, cells, 7)
        np.testing.assert_allclose(level.sum(axis=1), whole * weight, rtol=1e-6)
        start += 7 * cells
    if regions == "2x2":
        np.testing.assert_array_equal(
            found.reshape(6, 4, 7)[:, 1], COUNTS[:, [2, 3, 6, 7]].sum(axis=1)
        )


def test_idf_is_scikit_learn_s() -> None:
    """A published weight under its usual name is the usual one, smoothing included."""
    counts = COUNTS * np.random.default_rng(4).integers(0, 2, (6, 1, 7))
    expected = TfidfTransformer(smooth_idf=True).fit(counts.sum(axis=1)).idf_
    np.testing.assert_allclose(inverse_document_frequency(counts), expected)
    weighted = region_features(
        counts, inverse_document_frequency(counts), regions="none", norm="none"
    )
    np.testing.assert_allclose(weighted, counts.sum(axis=1) * expected, rtol=1e-5)


def test_the_report_s_histogram_is_numpy_s_without_a_range() -> None:
    """The claim about the report's bins is checked against the call it is said to have made."""
    words = np.array([2, 2, 3, 5, 6, 6, 6])
    counts = np.zeros((2, 16, 8), np.float32)
    np.add.at(counts, (0, np.random.default_rng(5).integers(0, 16, len(words)), words), 1)
    found = stretched_histograms(counts)
    np.testing.assert_array_equal(found[0], np.histogram(words, bins=8)[0])
    assert not found[1].any()


def test_a_run_of_images_has_their_own_descriptors() -> None:
    """All lie in one array: a run that begins a little early gives an image the descriptors of the
    one before.
    """
    images = Images.from_arrays([np.roll(IMAGES[0], 7 * n, axis=1)[: 30 + n] for n in range(5)])
    kept = dense_descriptors(images, **GRID)
    for run in (slice(0, 2), slice(1, 4), slice(2, 3), slice(3, 5), slice(5, 5)):
        alone = dense_descriptors(images[run], **GRID)
        assert [part.tolist() for pair in kept[run] for part in pair] == [
            part.tolist() for pair in alone for part in pair
        ]


@pytest.mark.parametrize("transform", ["raw", "root"])
def test_hard_words_are_counted_in_their_cells_by_trying_all(transform: str) -> None:
    """Each descriptor counts once, for the word nearest to it as it was transformed, in the cell
    where it lies.
    """
    found = streamed_word_counts(IMAGES, WORDS / 60, **GRID, transform=transform, assignment="hard")
    for row in range(len(IMAGES)):
        cells, descriptors = located_sift(IMAGES[row], step=4, bin_size=3, fast=True, scales=2)
        values = descriptors.astype(float)
        values = (
            values
            if transform == "raw"
            else np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1e-12))
        )
        nearest = ((values[:, None] - WORDS[None] / 60) ** 2).sum(axis=2).argmin(axis=1)
        expected = np.zeros((16, 20))
        np.add.at(expected, (cells, nearest), 1)
        np.testing.assert_array_equal(found[row], expected)


def test_a_mirror_image_is_the_image_read_from_right_to_left() -> None:
    """Upside down, a beach is no beach; and the same turn must be taken by tiny images, kept and
    streamed descriptors.
    """
    turned = Images.from_arrays([np.ascontiguousarray(image[:, ::-1]) for image in IMAGES])
    np.testing.assert_array_equal(
        tiny_images(IMAGES, size=6, resampling="nearest", mirrored=True),
        tiny_images(turned, size=6, resampling="nearest"),
    )
    kept, plain = (
        dense_descriptors(IMAGES, **GRID | {"mirrored": True}),
        dense_descriptors(turned, **GRID),
    )
    np.testing.assert_array_equal(kept.values, plain.values)
    np.testing.assert_array_equal(kept.cells, plain.cells)
    words = {"transform": "raw", "assignment": "hard"}
    np.testing.assert_array_equal(
        streamed_word_counts(IMAGES, WORDS, **GRID | {"mirrored": True}, **words),
        streamed_word_counts(turned, WORDS, **GRID, **words),
    )


def test_words_are_made_from_all_classes_and_from_all_of_an_image() -> None:
    """Images stand in class order: the first of them alone know one class, and the first rows of an
    image only its sky.
    """
    flat = [np.random.default_rng(n).integers(0, 256, (30, 30), dtype=np.uint8) for n in range(12)]
    images, grid = Images.from_arrays(flat), {"step": 4, "bin_size": 3, "fast": True}
    every = [dense_sift(image, **grid) for image in flat]  # type: ignore[arg-type]
    found = sampled_descriptors(images, **grid, most=10**6, most_images=3, seed=0)  # type: ignore[arg-type]
    np.testing.assert_array_equal(found, np.concatenate([every[row] for row in (0, 5, 11)]))
    few = [
        sampled_descriptors(images, **grid, most=60, most_images=12, seed=seed)
        for seed in (0, 0, 1)
    ]  # type: ignore[arg-type]
    assert few[0].tobytes() == few[1].tobytes() != few[2].tobytes()
    for row in range(12):
        places = [
            int(np.flatnonzero((every[row] == one).all(axis=1))[0])
            for one in few[0][5 * row : 5 * row + 5]
        ]
        assert places == sorted(set(places)), "five different ones of each image, in its order"
        assert places != list(range(5))


def test_words_are_made_of_descriptors_as_they_are_compared() -> None:
    """Words of raw descriptors would all lie far from every RootSIFT one, whose length is 1."""
    descriptors = dense_sift(IMAGES[0], step=4, bin_size=3, fast=True)
    lengths = [
        np.linalg.norm(vocabulary(descriptors, size=4, transform=name, seed=0), axis=1)
        for name in ("raw", "root")
    ]
    assert (lengths[0] > 10).all()
    assert ((lengths[1] > 0.5) & (lengths[1] <= 1.0001)).all()


VECTORS = GENERATOR.random((150, 300)) * (GENERATOR.random((150, 300)) < 0.3)
VECTORS[40:44] = VECTORS[0]
VECTORS[50] = 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("metric", tuple(DISTANCES))
def test_quick_neighbours_are_those_of_a_full_comparison(metric: str, dtype: type) -> None:
    """Bounds leave candidates out; the nearest, their ties and their distances must not change by a
    bit.
    """
    vectors = VECTORS.astype(dtype)
    found = nearest_neighbours(vectors[:64], vectors, np.arange(150), metric=metric, most=30)
    with threadpool_limits(1):  # the bits of a matrix product depend on the threads
        full = distances(vectors[:64], vectors, metric)
    full[np.arange(64), np.arange(64)] = np.inf
    order = np.argsort(full, axis=1, kind="stable")[:, :30]
    np.testing.assert_array_equal(found["indices"], order)
    np.testing.assert_array_equal(found["distances"], np.take_along_axis(full, order, axis=1))


def test_words_are_drawn_the_same_in_any_chunks() -> None:
    """Each image draws for itself, or a vocabulary would depend on the number of workers."""
    assert (
        nearest_words(
            transformed(dense_sift(IMAGES[0], step=4, bin_size=3, fast=True), "root"), WORDS
        ).max()
        < 20
    )
    settings: dict[str, Any] = {
        "step": 4,
        "bin_size": 3,
        "fast": True,
        "most": 60,
        "most_images": 10,
        "seed": 1,
        "total": 3,
    }
    whole = sampled_descriptors(IMAGES, **settings)
    parts = [
        sampled_descriptors(IMAGES[run], start=run.start, **settings)
        for run in (slice(0, 2), slice(2, 3))
    ]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert 20 <= len(whole) <= 60
