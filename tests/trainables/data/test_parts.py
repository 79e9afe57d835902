"""Parts of a dataset: what is held out and by whom, grey made of colour, and copies that follow
what changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainables.data import Dataset, Images, ReadOptions, Split, read_dataset
from trainables.data.fetched import copy_of

MakeFolder = Callable[..., Path]


def numbered(labels: np.ndarray) -> Dataset:
    """Images that are their own numbers."""
    pixels = np.arange(len(labels), dtype=np.uint8)[:, None, None]
    return Dataset("here", ("a", "b", "c"), Split(Images.from_arrays(list(pixels)), labels))


def numbers(part: Split | None) -> list[int]:
    assert part is not None
    return [int(image[0, 0]) for image in part.images]


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_the_smaller_share_is_held_out_of_every_class_and_by_seed(fraction: float) -> None:
    """A rare class that is all in one part is either never learned or never judged."""
    labels = np.repeat([0, 1, 2], [10, 30, 60])
    found = {seed: numbered(labels).hold_out(fraction, seed) for seed in range(4)}
    for one in found.values():
        assert one.val is not None
        assert np.bincount(one.val.labels).tolist() == [round(fraction * n) for n in (10, 30, 60)]
        assert sorted(numbers(one.train) + numbers(one.val)) == list(range(100))
        for part in (one.train, one.val):
            assert part.labels.tolist() == [labels[n] for n in numbers(part)]
            assert numbers(part) == sorted(numbers(part)), "in the order of the whole"
    assert len({tuple(numbers(one.val)) for one in found.values()}) == 4


def test_a_val_split_of_its_own_is_kept_where_that_is_wanted(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """By default nobody's own split is put aside for a drawn one."""
    root = make_folder(
        tmp_path, {"train": {"a": 8, "b": 8}, "val": {"a": 3, "b": 2}, "test": {"a": 1, "b": 1}}
    )
    found = read_dataset(f"folder:{root}", ReadOptions(hold_out=0.25, keep_val=True))
    assert {name: len(part) for name, part in found.splits().items()} == {
        "train": 16,
        "val": 5,
        "test": 2,
    }


def test_the_drawn_part_leaves_the_test_images_alone(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """What is held out is held out of what may be learned from, and the test images stay what they
    were.
    """
    root = make_folder(tmp_path, {"train": {"a": 8, "b": 8}, "test": {"a": 3, "b": 2}})
    whole = read_dataset(f"folder:{root}")
    found = [
        read_dataset(f"folder:{root}", ReadOptions(hold_out=0.25, keep_val=True, seed=seed))
        for seed in (0, 1)
    ]
    assert whole.test is not None
    for one in found:
        assert one.test is not None
        assert one.val is not None
        assert one.test.fingerprint == whole.test.fingerprint
        assert (len(one.train), len(one.val)) == (12, 4)
    assert found[0].fingerprint != found[1].fingerprint


def test_grey_made_of_colour_is_grey_that_was_read(tmp_path: Path) -> None:
    """A search of networks and kNN reads colour once, and its kNN trials must give the bits that a
    search of kNN alone gives.
    """
    rng = np.random.default_rng(0)
    for split in ("train/a", "train/b", "test/a"):
        (tmp_path / split).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(rng.integers(0, 256, (9, 7 + number, 3), dtype=np.uint8)).save(
                tmp_path / split / f"{number}.png"
            )
    grey, color = (
        read_dataset(f"folder:{tmp_path}", ReadOptions(color=kind)) for kind in ("grey", "rgb")
    )  # type: ignore[arg-type]
    for name, part in color.splits().items():
        made = part.images.grey()
        assert [image.tolist() for image in made] == [
            image.tolist() for image in grey.splits()[name].images
        ]
    assert grey.train.images.grey() is grey.train.images


def test_a_run_of_images_is_those_images() -> None:
    """Images of differing sizes lie in one buffer: each must be cut out where it begins, whatever
    the order.
    """
    arrays = [np.full((2 + n, 3 + n % 2), n, np.uint8) for n in range(5)] + [
        np.full((2, 2, 3), 9, np.uint8)
    ]
    images = Images.from_arrays(arrays)
    for chosen, expected in (
        (images[1:4], [1, 2, 3]),
        (images.take(np.array([4, 0, 2])), [4, 0, 2]),
    ):
        assert [image.tolist() for image in chosen] == [arrays[n].tolist() for n in expected]
        assert chosen.area == sum(arrays[n].shape[0] * arrays[n].shape[1] for n in expected)
    assert images[5].tolist() == arrays[5].tolist()


def test_a_file_of_the_same_size_that_was_written_later_is_fetched_again(
    tmp_path: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corrected picture often has as many bytes as the wrong one."""
    monkeypatch.setenv("VISIONTUNE_DATA", str(tmp_path / "copies"))
    root = make_folder(tmp_path / "there", {"train": {"a": 2, "b": 2}})
    path = sorted(root.glob("train/a/*"))[0]
    copy = copy_of(f"file://{root}").fetch()
    path.write_bytes(path.read_bytes()[::-1])
    os.utime(path, (1e9, 1e9))
    assert copy_of(f"file://{root}").fetch() == copy
    assert (copy / path.relative_to(root)).read_bytes() == path.read_bytes()
