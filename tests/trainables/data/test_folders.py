"""``folder:DIR``: which trees are read, what becomes of their parts, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spaces.errors import DatasetError
from trainables.data import Dataset, ReadOptions, read_dataset
from trainables.data.spec import check_place

MakeFolder = Callable[..., Path]
TWO = {"cat": 3, "dog": 2}


def read(root: Path, **options: bool | int | str) -> Dataset:
    return read_dataset(f"folder:{root}", ReadOptions(**options))  # type: ignore[arg-type]


def refusal(root: Path, **options: bool | int | str) -> str:
    """The one line by which ``root`` is refused; it begins with what was asked for, or the file at
    fault.
    """
    with pytest.raises(DatasetError) as caught:
        read(root, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith((f"folder:{root}: ", f"{root}/"))
    return message


def parts(dataset: Dataset) -> dict[str, int]:
    return {name: len(part) for name, part in dataset.splits().items()}


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ({"train": TWO, "test": {"cat": 1, "dog": 1}}, {"train": 5, "test": 2}),
        ({"train": TWO, "val": {"cat": 2, "dog": 1}}, {"train": 5, "test": 3}),
        ({"train": TWO, "val": {"dog": 1}, "test": {"cat": 4}}, {"train": 5, "val": 1, "test": 4}),
        ({"train": TWO}, {"train": 5}),
        ({"": TWO}, {"train": 5}),
    ],
    ids=["train+test", "train+val", "all three", "train", "no splits"],
)
def test_folders_become_the_parts_they_stand_for(
    tmp_path: Path,
    make_folder: MakeFolder,
    layout: dict[str, dict[str, int]],
    expected: dict[str, int],
) -> None:
    """Configurations are chosen on ``val`` and scored once on ``test``: to mix them up would make
    every score a lie.
    """
    assert parts(read(make_folder(tmp_path, layout))) == expected


def test_images_stand_in_class_order_then_by_name(tmp_path: Path, make_folder: MakeFolder) -> None:
    """Two machines that list a folder differently must get the same dataset, and each image its own
    label.
    """
    make_folder(tmp_path, {"train": {"b": 2, "a": 2, "C": 1}, "test": {"b": 1}})
    for value, name in enumerate(["C/000", "a/000", "a/001", "b/000", "b/001"]):
        Image.new("L", (4 + value, 4), value).save(next(tmp_path.glob(f"train/{name}.*")), "png")
    dataset = read(tmp_path)
    assert dataset.classes == ("C", "a", "b")
    assert dataset.train.labels.tolist() == [0, 1, 1, 2, 2]
    assert [int(image[0, 0]) for image in dataset.train.images] == [0, 1, 2, 3, 4]
    assert [image.shape for image in dataset.train.images] == [
        (4, 4),
        (4, 5),
        (4, 6),
        (4, 7),
        (4, 8),
    ]
    assert dataset.test is not None
    assert dataset.test.labels.tolist() == [2]
    assert dataset.test.labels.dtype == np.int64


def test_hidden_and_system_files_are_passed_over(tmp_path: Path, make_folder: MakeFolder) -> None:
    """Every desktop leaves them behind, and no user put them there."""
    make_folder(tmp_path, {"train": TWO})
    for name in (
        ".DS_Store",
        "train/Thumbs.db",
        "train/desktop.ini",
        "train/cat/.hidden.jpg",
        "train/cat/thumbs.DB",
        "train/dog/Desktop.ini",
    ):
        (tmp_path / name).write_bytes(b"junk")
    (tmp_path / "train" / ".ipynb_checkpoints").mkdir()
    (tmp_path / "README.txt").write_text("beside the splits anything may stand")
    assert parts(read(tmp_path)) == {"train": 5}


def test_colour_and_largest_side_are_as_asked(tmp_path: Path, make_folder: MakeFolder) -> None:
    """CNNs want colour, kNN wants grey, and neither wants 40 megapixels."""
    make_folder(tmp_path, {"train": TWO})
    assert read(tmp_path).train.images[0].shape == (24, 24)
    assert read(tmp_path, color="rgb", max_side=10).train.images[0].shape == (10, 10, 3)


def test_one_unreadable_file_is_refused_by_name(tmp_path: Path, make_folder: MakeFolder) -> None:
    """An image left out unasked would change every score without a word."""
    make_folder(tmp_path, {"train": TWO})
    bad = tmp_path / "train" / "cat" / "zebra.jpg"
    bad.write_text("a note to myself\nin two lines")
    assert refusal(tmp_path) == (
        f"{bad}: not an image; allowed are JPEG, PNG, BMP, GIF, TIFF, WEBP, PPM; repair or "
        "remove it, or pass --skip-unreadable"
    )
    (tmp_path / "train" / "dog" / "000.png").write_bytes(b"")
    assert "(and 1 more such files in train)" in refusal(tmp_path)


def test_unreadable_files_are_left_out_named_and_counted_on_request(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """Whoever accepts a loss must see how large it is, and the labels of the rest must not
    shift.
    """
    make_folder(tmp_path, {"train": {"a": 3, "b": 3}, "test": {"a": 2, "b": 1}})
    clean = read(tmp_path)
    for name in ("train/a/001.jpg", "train/b/000.png", "test/a/000.png"):
        (tmp_path / name).write_text("no picture")
    dataset = read(tmp_path, skip_unreadable=True)
    assert set(dataset.skipped) == {"train/a/001.jpg", "train/b/000.png", "test/a/000.png"}
    assert len(dataset.skipped) == 3
    assert parts(dataset) == {"train": 4, "test": 2}
    assert dataset.train.labels.tolist() == [0, 0, 1, 1]
    for kept, row in zip((0, 2, 4, 5), range(4), strict=True):
        np.testing.assert_array_equal(dataset.train.images[row], clean.train.images[kept])


def test_a_class_that_is_all_unreadable_cannot_be_skipped(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """A class without examples cannot be learned, so leaving it out must be the user's decision."""
    make_folder(tmp_path, {"train": {"cat": 1, "dog": 2}})
    (tmp_path / "train" / "cat" / "000.png").write_text("no picture")
    assert "no training images of cat" in refusal(tmp_path, skip_unreadable=True)


def _remove(name: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        for path in sorted((root / name).rglob("*"), reverse=True):
            path.unlink() if not path.is_dir() or path.is_symlink() else path.rmdir()

    return spoil


def _add(name: str) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(root / name)

    return spoil


def _only_cats(root: Path) -> None:
    for split in ("train", "test"):
        _remove(f"{split}/dog")(root)
        (root / split / "dog").rmdir()


BAD_TREES = [
    ("class without images", _remove("train/cat"), "class cat has no images in"),
    ("split without classes", _remove("test"), "no class folders in"),
    ("class only in test", _add("test/fox/1.png"),
     "test has a class that train has not: fox; train has cat, dog"),
    ("class only in val", _add("val/owl/1.png"),
     "val has a class that train has not: owl; train has cat, dog"),
    ("file among classes", _add("train/loose.png"), "loose.png is a file among the class folders"),
    ("folder in a class", _add("train/cat/deep/1.png"),
     "train/cat/deep is a folder inside a class folder"),
    ("no train", lambda root: (root / "train").rename(root / "val"),
     "has val and test but no train folder"),
    ("one class", _only_cats, "needs at least 2 classes, but got 1: cat"),
    ("link to itself", lambda root: (root / "train" / "cat" / "me.png").symlink_to("me.png"),
     "me.png is a link that leads back to itself"),
    ("link to nothing",
     lambda root: (root / "train" / "cat" / "gone.png").symlink_to("nowhere.png"),
     "gone.png: no such image file"),
    ("pipe", lambda root: os.mkfifo(root / "train" / "cat" / "pipe.png"),
     "pipe.png: no such image file"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("spoil", "message"), [row[1:] for row in BAD_TREES], ids=[row[0] for row in BAD_TREES]
)
def test_a_tree_that_is_not_what_it_should_be_is_refused(
    tmp_path: Path, make_folder: MakeFolder, spoil: Callable[[Path], object], message: str
) -> None:
    """A wrong tree read in part gives scores for another dataset than the user thinks."""
    make_folder(tmp_path, {"train": TWO, "test": TWO})
    spoil(tmp_path)
    assert message in refusal(tmp_path)


def test_a_missing_folder_and_a_file_in_its_place_are_told_apart(tmp_path: Path) -> None:
    """A mistyped path and a zip file given in place of a folder want different repairs."""
    assert "no such folder; expected DIR/train/CLASS/*.jpg" in refusal(tmp_path / "nowhere")
    (tmp_path / "images.zip").write_bytes(b"PK")
    assert "not a folder; expected" in refusal(tmp_path / "images.zip")
    (tmp_path / "empty").mkdir()
    assert "no class folders in" in refusal(tmp_path / "empty")


@pytest.mark.parametrize(
    "place", ["train/cat/link.png", "train/fox", "train"], ids=["file", "class", "split"]
)
def test_a_link_that_leaves_the_tree_is_refused(
    tmp_path: Path, make_folder: MakeFolder, place: str
) -> None:
    """A folder from a stranger must not make the program read, and export, files that lie
    elsewhere.
    """
    root = make_folder(tmp_path / "data", {"train": TWO})
    make_folder(tmp_path / "secret", {"cat": TWO, "dog": TWO})
    if place == "train":
        (root / "train").rename(tmp_path / "train")
        target = tmp_path / "train"
    else:
        target = tmp_path / "secret" / "cat" / ("cat/000.png" if place.endswith("png") else "cat")
    (root / place).symlink_to(target)
    message = refusal(root)
    assert f"{root / place} is a link that leaves the folder (to {target})" in message


def test_links_inside_the_tree_are_read(tmp_path: Path, make_folder: MakeFolder) -> None:
    """Splits made of links into one pool of images are common, and leave nothing."""
    root = make_folder(tmp_path / "data", {"train": TWO, "pool": {"birds": 2}})
    (root / "train" / "cat" / "link.png").symlink_to(root / "pool" / "birds" / "000.png")
    (root / "train" / "owl").symlink_to("../pool/birds")
    (root / "test").symlink_to("train")
    dataset = read(root)
    assert dataset.classes == ("cat", "dog", "owl")
    assert parts(dataset) == {"train": 8, "test": 8}


def test_the_folder_itself_may_be_a_link(tmp_path: Path, make_folder: MakeFolder) -> None:
    """The user named it, so the user chose where it leads."""
    make_folder(tmp_path / "data", {"train": TWO})
    (tmp_path / "link").symlink_to("data")
    assert read(tmp_path / "link").fingerprint == read(tmp_path / "data").fingerprint


def test_names_may_be_any_unicode_and_nothing_else(tmp_path: Path, make_folder: MakeFolder) -> None:
    """Names go into JSON, tables and pages: bytes that are no text are refused by name before any
    work.
    """
    make_folder(tmp_path, {"train": {"日本": 1, "naïve ünïcode": 1}})
    assert read(tmp_path).classes == ("naïve ünïcode", "日本")
    make_folder(tmp_path, {"train": {os.fsdecode(b"caf\xe9"): 1}})
    with pytest.raises(DatasetError, match="is not UTF-8; rename it"):
        read(tmp_path)


def test_a_look_at_the_names_finds_a_bad_tree_without_opening_an_image(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """``--dry-run`` must answer at once on a folder of a million images."""
    make_folder(tmp_path, {"train": TWO})
    (tmp_path / "train" / "cat" / "000.png").write_text("no picture")
    check_place(f"folder:{tmp_path}")
    (tmp_path / "train" / "stray.txt").write_text("")
    with pytest.raises(DatasetError, match=r"stray\.txt is a file among the class folders"):
        check_place(f"folder:{tmp_path}")


def test_a_split_without_a_readable_image_is_refused_even_where_files_may_be_skipped(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """An empty test split would be scored as nothing."""
    root = make_folder(tmp_path, {"train": {"a": 2, "b": 2}})
    for name in ("a", "b"):
        (root / "test" / name).mkdir(parents=True)
        (root / "test" / name / "x.jpg").write_text("not an image")
    with pytest.raises(DatasetError, match="none of the 2 files in test can be read"):
        read_dataset(f"folder:{root}", ReadOptions(skip_unreadable=True))
