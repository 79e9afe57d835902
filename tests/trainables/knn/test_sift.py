"""Dense SIFT, vocabularies and histograms of visual words, and tiny images."""

from __future__ import annotations

import importlib
import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from program import ROOT

from trainables.data import Images
from trainables.knn.encoding import nearest_words, streamed_word_counts
from trainables.knn.sift import dense_sift, sampled_descriptors, transformed
from trainables.knn.tiny import tiny_images
from trainables.knn.vocabulary import vocabulary
from trainables.stages.stage import Stage, run_stage

SCENE = np.random.default_rng(0).integers(0, 256, (40, 61), dtype=np.uint8)
GRID = {"fast": True, "scales": 1, "mirrored": False}
DESCRIPTORS = np.random.default_rng(1).integers(0, 120, (400, 128)).astype(np.uint8)


def along(side: int, step: int, bin_size: int) -> int:
    """How many descriptors, each 3 bins and a pixel wide, fit along a side."""
    return max(0, (side - 3 * bin_size - 1) // step + 1)


@pytest.mark.parametrize(("step", "bin_size"), [(3, 4), (1, 4), (8, 4), (4, 8), (3, 3)])
@pytest.mark.parametrize("shape", [(40, 61), (13, 13), (14, 30), (25, 40)])
def test_descriptors_stand_on_a_grid(shape: tuple[int, int], step: int, bin_size: int) -> None:
    """A histogram counts them, so their number must be what the step says."""
    found = dense_sift(SCENE[: shape[0], : shape[1]], step=step, bin_size=bin_size, fast=True)
    assert found.shape == (along(shape[0], step, bin_size) * along(shape[1], step, bin_size), 128)
    assert found.dtype == np.uint8


@pytest.mark.parametrize("shape", [(1, 1), (12, 12), (12, 61), (40, 12)])
def test_an_image_smaller_than_a_descriptor_gives_none(shape: tuple[int, int]) -> None:
    """One icon among photographs must not end a search."""
    image = np.ascontiguousarray(SCENE[: shape[0], : shape[1]])
    assert dense_sift(image, step=3, bin_size=4, fast=True).shape == (0, 128)
    counts = streamed_word_counts(
        Images.from_arrays([image]),
        np.eye(3, 128, dtype=np.float32),
        **GRID,
        step=3,
        bin_size=4,
        transform="root",
        assignment="hard",
    )
    assert counts.shape == (1, 16, 3)
    assert not counts.any()


@pytest.fixture
def asked_of_vlfeat(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """(height, width, bin size) of each call that reaches cyvlfeat, which still does its work."""
    # the package shows the function under the same name
    module = importlib.import_module("cyvlfeat.sift.dsift")

    asked: list[tuple[int, int, int]] = []
    real = module.dsift

    def noted(image: np.ndarray, *, size: int, **options: int) -> object:
        asked.append((*image.shape, size))
        return real(image, size=size, **options)

    monkeypatch.setattr(module, "dsift", noted)
    return asked


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize(
    ("step", "bin_size", "scales"),
    [(1, 2, 1), (1, 2, 3), (3, 4, 1), (4, 3, 2), (32, 5, 4), (2, 6, 1)],
)
def test_no_image_of_too_few_pixels_reaches_vlfeat(
    step: int, bin_size: int, scales: int, fast: bool, asked_of_vlfeat: list[tuple[int, int, int]]
) -> None:
    """vl_dsift reads beyond a picture of one row, and now and then that ends the process without a
    word.
    """
    strips = [
        (1, 4000),
        (4000, 1),
        (1, 512),
        (2, 300),
        (3, 300),
        (300, 3),
        (6, 100),
        (7, 100),
        (100, 7),
    ]
    for shape in [*itertools.product(range(1, 21), repeat=2), *strips]:
        image = np.resize(SCENE, shape)
        found = dense_sift(image, step=step, bin_size=bin_size, fast=fast, scales=scales)
        sizes = [bin_size * scale for scale in range(1, scales + 1)]
        assert found.shape == (
            sum(along(shape[0], step, size) * along(shape[1], step, size) for size in sizes),
            128,
        ), shape
    assert all(min(height, width) >= 3 * size + 1 for height, width, size in asked_of_vlfeat)


@pytest.mark.parametrize("step", [2, 3, 8])
def test_a_small_step_holds_the_grids_of_larger_ones(step: int) -> None:
    """A step says where descriptors stand and nothing of what they are."""
    rows, columns = along(40, 1, 4), along(61, 1, 4)
    fine = dense_sift(SCENE, step=1, bin_size=4, fast=True)
    grid = fine.reshape(rows, columns, 128)[::step, ::step]
    coarse = dense_sift(SCENE, step=step, bin_size=4, fast=True)
    np.testing.assert_array_equal(grid.reshape(-1, 128), coarse)


def test_a_grey_level_added_everywhere_changes_no_descriptor() -> None:
    """SIFT is made of gradients; an image read with another range would show here."""
    dark = SCENE // 2
    np.testing.assert_array_equal(
        dense_sift(dark, step=4, bin_size=4, fast=True),
        dense_sift(dark + np.uint8(100), step=4, bin_size=4, fast=True),
    )


def test_root_sift_compares_descriptors_as_hellinger_would() -> None:
    """Arandjelović & Zisserman: the square root of a descriptor divided by its sum has length 1."""
    raw = transformed(DESCRIPTORS, "raw")
    assert raw.dtype == np.float32
    np.testing.assert_array_equal(raw, DESCRIPTORS)
    root = transformed(DESCRIPTORS, "root")
    assert root.dtype == np.float32
    np.testing.assert_allclose(
        root, np.sqrt(DESCRIPTORS / DESCRIPTORS.sum(axis=1, keepdims=True, dtype=float)), rtol=1e-6
    )
    np.testing.assert_allclose(np.linalg.norm(root, axis=1), 1, rtol=1e-6)
    assert not transformed(np.zeros((2, 128), np.uint8), "root").any()


def words(seed: int, size: int = 20, transform: str = "raw") -> np.ndarray:
    stage = Stage(vocabulary, {"size": size, "transform": transform, "seed": seed})
    return np.asarray(run_stage(stage, (DESCRIPTORS,)))


@pytest.mark.parametrize("transform", ["raw", "root"])
def test_a_vocabulary_is_the_same_for_the_same_seed(transform: str) -> None:
    """A model that cannot be made again cannot be checked."""
    first = words(0, transform=transform)
    assert first.shape == (20, 128)
    assert first.dtype == np.float32
    assert first.tobytes() == words(0, transform=transform).tobytes()
    assert first.tobytes() != words(1, transform=transform).tobytes()


def test_a_vocabulary_is_where_the_descriptors_are() -> None:
    """Each word is the mean of what is nearest to it, once k-means has come to rest."""
    generator = np.random.default_rng(2)
    centres = generator.integers(0, 200, (5, 128))
    clouds = np.concatenate(
        [np.clip(centre + generator.integers(0, 3, (60, 128)), 0, 255) for centre in centres]
    ).astype(np.uint8)
    found = vocabulary(clouds, size=5, transform="raw", seed=0)
    nearest = nearest_words(transformed(clouds, "raw"), found)
    assert set(nearest.tolist()) == set(range(5))
    for word in range(5):
        np.testing.assert_allclose(found[word], clouds[nearest == word].mean(axis=0), rtol=1e-4)


@pytest.mark.parametrize("count", [0, 19])
def test_a_vocabulary_needs_as_many_descriptors_as_words(count: int) -> None:
    """Small images give few; the error must say what to change."""
    with pytest.raises(
        ValueError,
        match="a vocabulary of 20 words needs as many descriptors, but the images give "
        f"{count}: ask for fewer words",
    ):
        vocabulary(DESCRIPTORS[:count], size=20, transform="raw", seed=0)


def test_equal_descriptors_make_a_vocabulary_that_repeats_itself() -> None:
    """Blank images are no reason to fail: some words are then the same, and the first of them is
    counted.
    """
    blank = np.zeros((30, 128), np.uint8)
    found = vocabulary(blank, size=4, transform="root", seed=0)
    assert not found.any()
    assert nearest_words(transformed(blank, "root"), found).tolist() == [0] * 30


def test_the_nearest_word_is_found_as_by_trying_all() -> None:
    """The product form leaves a term out; the answer must not change."""
    descriptors, book = transformed(DESCRIPTORS, "raw"), words(0)
    gaps = ((descriptors[:, None].astype(float) - book[None].astype(float)) ** 2).sum(axis=2)
    np.testing.assert_array_equal(nearest_words(descriptors, book), gaps.argmin(axis=1))


def test_of_equal_words_the_first_is_taken() -> None:
    """Counts must not wander between two names of one word."""
    book = transformed(DESCRIPTORS[[3, 1, 1]], "raw")
    assert nearest_words(transformed(DESCRIPTORS[[1, 3]], "raw"), book).tolist() == [1, 0]


@pytest.mark.parametrize("transform", ["raw", "root"])
def test_a_histogram_counts_every_descriptor_once(transform: str) -> None:
    """Its sum is the number of descriptors, and each image is counted on its own, whatever stands
    beside it.
    """
    sizes = [(40, 61), (13, 13), (12, 12), (30, 20)]
    images = Images.from_arrays([SCENE[:h, :w] for h, w in sizes])
    grid = {"step": 3, "bin_size": 4}
    book = words(0, transform=transform)
    counts = streamed_word_counts(
        images, book, transform=transform, assignment="hard", **grid, **GRID
    ).sum(axis=1)
    assert counts.shape == (4, 20)
    assert counts.sum(axis=1).tolist() == [along(h, 3, 4) * along(w, 3, 4) for h, w in sizes]
    for row, image in enumerate(images):
        nearest = nearest_words(transformed(dense_sift(image, fast=True, **grid), transform), book)
        np.testing.assert_array_equal(counts[row], [(nearest == word).sum() for word in range(20)])


def test_a_sample_of_descriptors_is_seeded_bounded_and_shared_out() -> None:
    """One large image must not make the vocabulary alone, and the draw must be one that can be
    repeated.
    """
    images = Images.from_arrays([SCENE, SCENE[:13, :13], SCENE[:, :30], SCENE[:12, :12]])
    limits = {"step": 1, "bin_size": 4, "fast": True, "most_images": 10}
    every = [dense_sift(image, step=1, bin_size=4, fast=True) for image in images]
    np.testing.assert_array_equal(
        sampled_descriptors(images, most=10**6, seed=0, **limits), np.concatenate(every)
    )
    few = [sampled_descriptors(images, most=40, seed=seed, **limits) for seed in (0, 0, 1)]
    assert len(few[0]) == 10 + 1 + 10
    assert few[0].tobytes() == few[1].tobytes() != few[2].tobytes()
    assert few[0][10].tobytes() == every[1][0].tobytes()
    rows = [descriptor.tobytes() for descriptor in every[0]]
    places = [rows.index(descriptor.tobytes()) for descriptor in few[0][:10]]
    assert places == sorted(set(places))


def test_a_sample_takes_images_from_the_first_class_to_the_last() -> None:
    """Images stand in class order: the first so many would leave classes out."""
    images = Images.from_arrays([np.roll(SCENE, shift, axis=1)[:13, :13] for shift in range(30)])
    found = sampled_descriptors(
        images, step=3, bin_size=4, fast=True, most=10**6, most_images=4, seed=0
    )
    expected = [dense_sift(images[row], step=3, bin_size=4, fast=True) for row in (0, 9, 19, 29)]
    np.testing.assert_array_equal(found, np.concatenate(expected))


@pytest.mark.parametrize(
    "resampling", ["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"]
)
def test_a_tiny_image_is_what_pillow_makes_of_it(resampling: str) -> None:
    """The filter is named in the configuration, so it must be that filter; images of any size
    become one size.
    """
    images = [SCENE, SCENE[:5, :7], SCENE[:1, :1]]
    found = tiny_images(Images.from_arrays(images), size=8, resampling=resampling)
    assert found.shape == (3, 8, 8)
    assert found.dtype == np.float64
    for image, tiny in zip(images, found, strict=True):
        expected = Image.fromarray(image).resize((8, 8), Image.Resampling[resampling.upper()])
        np.testing.assert_array_equal(tiny, np.asarray(expected))


def test_a_box_of_whole_blocks_is_their_mean() -> None:
    """Height and width must not change places on the way."""
    image = np.repeat(
        np.repeat(np.arange(16, dtype=np.uint8).reshape(4, 4) * 10, 6, axis=0), 3, axis=1
    )
    found = tiny_images(Images.from_arrays([image]), size=4, resampling="box")
    np.testing.assert_array_equal(found[0], np.arange(16).reshape(4, 4) * 10)


def test_a_vocabulary_has_the_same_bits_however_many_threads_openmp_takes() -> None:
    """k-means adds up in parts, one a thread; a bundle made on other cores than its search must not
    differ.
    """
    code = (
        "import numpy as np, hashlib; from trainables.knn.vocabulary import vocabulary;"
        "d = np.random.default_rng(0).integers(0, 256, (3000, 128), dtype=np.uint8);"
        "print(hashlib.sha256(vocabulary(d, size=50, transform='raw', "
        "seed=0).tobytes()).hexdigest())"
    )
    digests = set()
    for threads in ("1", "2"):
        environment = {**os.environ, "OMP_NUM_THREADS": threads}
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout)
    assert len(digests) == 1
