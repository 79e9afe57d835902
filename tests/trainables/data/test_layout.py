"""Which folders and arrays are taken for the parts of a dataset, which are passed over, and which
are refused by name.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from program import refused, typed

from spaces.errors import DatasetError
from trainables.data import Dataset, ReadOptions, read_dataset
from trainables.data.spec import check_place

MakeFolder = Callable[..., Path]
TWO = {"cat": 3, "dog": 2}
COMPOSED, DECOMPOSED = "caf\xe9", "cafe\u0301"


def read(root: Path, **options: Any) -> Dataset:
    return read_dataset(f"folder:{root}", ReadOptions(**options))


def refusal(root: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        check_place(f"folder:{root}")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", ["valid", "validation", "dev", "Val", "VALID", "Validation"])
def test_a_validation_folder_by_another_name_selects(
    name: str, tmp_path: Path, make_folder: MakeFolder
) -> None:
    """Passed over, it would leave the choice to other images without a word."""
    dataset = read(
        make_folder(
            tmp_path, {"train": TWO, name: {"cat": 2, "dog": 1}, "test": {"cat": 1, "dog": 3}}
        )
    )
    assert {part: len(images) for part, images in dataset.splits().items()} == {
        "train": 5,
        "val": 3,
        "test": 4,
    }
    assert f"{name} is taken for val" in dataset.notes


@pytest.mark.parametrize(
    ("train", "test"),
    [("training", "testing"), ("Train", "Test"), ("TRAINING", "dev"), ("train", "valid")],
)
def test_the_other_parts_too(
    train: str, test: str, tmp_path: Path, make_folder: MakeFolder
) -> None:
    """Of two parts the second is scored once, whatever it is called."""
    dataset = read(make_folder(tmp_path, {train: TWO, test: {"cat": 1, "dog": 3}}))
    assert {part: len(images) for part, images in dataset.splits().items()} == {
        "train": 5,
        "test": 4,
    }


def test_plain_names_are_said_nothing_of(tmp_path: Path, make_folder: MakeFolder) -> None:
    """A line that tells nothing hides the one that does."""
    assert read(make_folder(tmp_path, {"train": TWO, "val": TWO, "test": TWO}, side=25)).notes == ()


def test_one_part_under_two_names_is_refused(tmp_path: Path, make_folder: MakeFolder) -> None:
    """Which of them is meant is for the user to say."""
    assert "valid and validation are both val" in refusal(
        make_folder(tmp_path, {"train": TWO, "valid": TWO, "validation": TWO})
    )


@pytest.mark.parametrize(
    "layout", [{"holdout": TWO}, {"extra images": TWO}, {"unlabelled": {"": 3}}, {"valid": {"": 2}}]
)
def test_images_beside_train_that_are_no_part_are_refused_by_name(
    layout: dict[str, dict[str, int]], tmp_path: Path, make_folder: MakeFolder
) -> None:
    """The user thinks that they are used."""
    (name,) = layout
    message = refusal(make_folder(tmp_path, {"train": TWO, **layout}))
    assert (
        f"{name} beside train holds images and is none of train (or training), val (or valid, "
        "validation, dev)"
    ) in message


def test_a_class_called_training_is_a_class(tmp_path: Path, make_folder: MakeFolder) -> None:
    """A folder of images is a class; only a folder of classes can be a part."""
    assert read(
        make_folder(tmp_path, {"": {"running": 2, "training": 2, "testing": 1}})
    ).classes == ("running", "testing", "training")


@pytest.mark.parametrize(
    "junk",
    [".git/refs/x.png", "__MACOSX/train/cat/._1.png",
     ".ipynb_checkpoints/a/b.png", "train/.ipynb_checkpoints/1.png", "train/__MACOSX/1.png",
     "train/cat/.ipynb_checkpoints/1.png", "@eaDir/cat/1.png", "notes/read.txt",
     "lost+found/x/1.png", "train/cat/__MACOSX/1.png"],
)  # fmt: skip
@pytest.mark.parametrize("place", ["folder", "uri"])
def test_what_systems_leave_behind_is_passed_over(
    place: str, junk: str, tmp_path: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No user put it there, and none can be expected to find it."""
    monkeypatch.setenv("VISIONTUNE_DATA", str(tmp_path / "copies"))
    root = make_folder(tmp_path / "data", {"train": TWO, "test": TWO})
    (root / junk).parent.mkdir(parents=True, exist_ok=True)
    (root / junk).write_bytes(b"junk")
    dataset = read_dataset(f"folder:{'file://' if place == 'uri' else ''}{root}")
    assert {part: len(images) for part, images in dataset.splits().items()} == {
        "train": 5,
        "test": 5,
    }


def test_runs_and_bundles_beside_the_images_are_no_images(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """Whoever works in the folder of the images has both there, with pictures in them."""
    root = make_folder(tmp_path, {"train": TWO})
    for name in (
        "runs/first/plan.yaml",
        "runs/first/report/confusion.png",
        "mine/bundle.json",
        "mine/confusion.png",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    assert len(read(root).train) == 5


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (COMPOSED, DECOMPOSED,
         r"'cafe\u0301' and 'caf\xe9' look the same and differ in how accents are stored: give "
         r"both the same name"),
        ("cat", "cat ", "'cat ' and 'cat' look the same and differ in what is not seen"),
        ("cat", "cat\u200b", r"'cat\u200b' and 'cat' look the same"),
        ("big cat", "big\xa0cat", r"'big\xa0cat' and 'big cat' look the same"),
        ("cat", "Cat", "'Cat' and 'cat' differ in upper and lower case alone"),
        (COMPOSED, DECOMPOSED.upper(), "differ in upper and lower case alone"),
    ],
)  # fmt: skip
def test_classes_that_differ_in_what_is_not_seen_are_told_apart(
    train: str, test: str, message: str, tmp_path: Path, make_folder: MakeFolder
) -> None:
    """ "Has a class that train has not: café; train has café" helps nobody."""
    root = make_folder(tmp_path, {"train": {train: 2, "zebra": 2}, "test": {test: 1}})
    assert message in refusal(root)
    assert message in refused(
        "run",
        "--space",
        "tiny-image",
        "--dataset",
        f"folder:{root}",
        "--runs-dir",
        tmp_path / "runs",
    )


def test_two_classes_that_look_the_same_are_told(tmp_path: Path, make_folder: MakeFolder) -> None:
    """A class copied from another system in halves is learned as two."""
    notes = read(
        make_folder(tmp_path, {"train": {COMPOSED: 2, DECOMPOSED: 2, "a": 1, "A": 1}})
    ).notes
    assert [line for line in notes if "look the same" in line] == [
        (
            r"warning: two classes 'cafe\u0301' and 'caf\xe9' look the same and differ in how "
            r"accents are stored"
        )
    ]


def test_a_path_that_is_no_text_is_refused_before_any_work(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """It is written into plans, records and pages, at the end of the search as well as at its
    beginning.
    """
    root = make_folder(tmp_path / os.fsdecode(b"caf\xe9"), {"train": TWO})
    assert r"caf\xe9 is not UTF-8; rename it" in refused(
        "run", "--space", "tiny-image", "--dataset", f"folder:{root}"
    )
    asked = (
        "run",
        "--space",
        "toy",
        "--no-tracking",
        "--runs-dir",
        tmp_path / os.fsdecode(b"runs\xe9"),
    )
    assert r"runs\xe9 is not UTF-8; rename it, or give another --runs-dir" in refused(*asked)
    root = make_folder(tmp_path / "good", {"train": {os.fsdecode(b"caf\xe9"): 1, "dog": 1}})
    assert r"caf\xe9 is not UTF-8; rename it" in refused(
        "run", "--space", "tiny-image", "--dataset", f"folder:{root}"
    )


X = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
Y = np.array([0, 1, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("X_train", "Y_train", "X_test", "Y_test"), ["train", "test"]),
        (
            ("x_train", "y_train", "x_valid", "y_valid", "x_test", "y_test"),
            ["train", "val", "test"],
        ),
        (
            (
                "train_images",
                "train_labels",
                "val_images",
                "val_labels",
                "test_images",
                "test_labels",
            ),
            ["train", "val", "test"],
        ),
        (("x_training", "y_training", "x_dev", "y_dev"), ["train", "test"]),
        (("x", "y"), ["train"]),
        (("images", "labels"), ["train"]),
    ],
)
def test_arrays_by_other_names_are_taken_for_what_they_say(
    names: tuple[str, ...], expected: list[str], tmp_path: Path
) -> None:
    """Everybody's script calls them a little differently, and ``x_valid`` passed over would leave
    the choice to other images.
    """
    np.savez(
        tmp_path / "a.npz",
        **{name: Y if name[0] in "yYl" or "label" in name else X for name in names},
        ids=np.arange(6),
    )
    dataset = read_dataset(f"npz:{tmp_path}/a.npz")
    assert list(dataset.splits()) == expected
    given = [line for line in dataset.notes if "is taken for" in line]
    assert len(given) == sum(
        name not in [f"{letter}_{part}" for letter in "xy" for part in ("train", "val", "test")]
        for name in names
    )


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"x_holdout": X}, "x_holdout is none of x_ with train (or training), val"),
        ({"X_train": X}, "x_train and X_train are both x_train"),
        ({"x_val": X, "y_val": Y, "x_valid": X, "y_valid": Y}, "x_val and x_valid are both x_val"),
    ],
)
def test_arrays_that_would_be_left_out_are_refused_by_name(
    more: dict[str, Any], message: str, tmp_path: Path
) -> None:
    """The user thinks that they are used."""
    np.savez(tmp_path / "a.npz", x_train=X, y_train=Y, **more)
    with pytest.raises(DatasetError) as caught:
        read_dataset(f"npz:{tmp_path}/a.npz")
    assert message in str(caught.value)


def test_a_run_of_the_first_release_takes_what_it_took(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """It passed over ``valid``, and its trials would stand beside others' if it did not."""
    root = make_folder(tmp_path, {"train": TWO, "valid": TWO, "extra": TWO})
    assert list(read(root, exactly=True).splits()) == ["train"]
    np.savez(tmp_path / "a.npz", x_train=X, y_train=Y, x_valid=X, y_valid=Y)
    assert list(read_dataset(f"npz:{tmp_path}/a.npz", ReadOptions(exactly=True)).splits()) == [
        "train"
    ]


def test_a_dry_run_says_what_was_taken_for_what(tmp_path: Path, make_folder: MakeFolder) -> None:
    """It is the place to see, before hours of work, what the program made of a folder."""
    root = make_folder(tmp_path, {"Train": TWO, "dev": TWO, "test": TWO})
    done = typed(
        "run", "--space", "tiny-image", "--dataset", f"folder:{root}", "--trials", 1, "--dry-run"
    )
    assert "Train is taken for train" in done.stdout
    assert "dev is taken for val" in done.stdout


def test_folders_inside_class_folders_are_taken_on_request(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """Photographs lie by date or by camera; who says nested has all of them, and nobody else."""
    root = make_folder(tmp_path, {"train": {"cat": 3, "dog": 3}, "test": {"cat": 2, "dog": 2}})
    plain = read_dataset(f"folder:{root}", ReadOptions())
    for name in ("train/cat", "test/dog"):
        deep = root / name / "2024" / "may"
        deep.mkdir(parents=True)
        for file in sorted((root / name).glob("*.*g"))[-1:]:
            file.rename(deep / file.name)
    with pytest.raises(DatasetError, match=r"folder inside a class folder.* nested:DIR"):
        read_dataset(f"folder:{root}", ReadOptions())
    nested = read_dataset(f"nested:{root}", ReadOptions())
    assert nested.classes == plain.classes
    for part in ("train", "test"):
        one, other = plain.splits()[part], nested.splits()[part]
        assert one.labels.tolist() == other.labels.tolist()
        assert sorted(i.tobytes() for i in one.images) == sorted(i.tobytes() for i in other.images)
    (root / "train/cat/loop").symlink_to(root / "train/dog")
    with pytest.raises(DatasetError, match="link to a folder"):
        read_dataset(f"nested:{root}", ReadOptions())
