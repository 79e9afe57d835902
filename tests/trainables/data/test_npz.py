"""``npz:FILE``: arrays as a dataset, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spaces.errors import DatasetError
from trainables.data import ReadOptions, read_dataset


def refusal(spec: str) -> str:
    """The one line by which ``spec`` is refused."""
    with pytest.raises(DatasetError) as caught:
        read_dataset(spec)
    message = str(caught.value)
    assert "\n" not in message
    assert spec in message
    return message


X = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
Y = np.array([0, 1, 2, 0, 1, 2])


def write_npz(root: Path, **arrays: Any) -> str:
    np.savez(root / "data.npz", **arrays)
    return f"npz:{root}/data.npz"


def test_an_npz_file_gives_its_arrays_back(tmp_path: Path) -> None:
    """What goes in as arrays must come out pixel for pixel."""
    dataset = read_dataset(
        write_npz(
            tmp_path,
            x_train=X,
            y_train=Y,
            x_test=X[:2],
            y_test=Y[:2].astype(np.uint8),
            classes=["a", "b", "c"],
        )
    )
    assert dataset.classes == ("a", "b", "c")
    np.testing.assert_array_equal(np.stack(list(dataset.train.images)), X)
    np.testing.assert_array_equal(dataset.train.labels, Y)
    colour = np.stack([X, X + 1, X + 2], axis=3)
    dataset = read_dataset(write_npz(tmp_path, x_train=colour, y_train=Y), ReadOptions(color="rgb"))
    np.testing.assert_array_equal(np.stack(list(dataset.train.images)), colour)
    assert dataset.classes == ("0", "1", "2")


def test_numbered_classes_are_padded_so_that_they_sort(tmp_path: Path) -> None:
    """Class order is alphabetical everywhere, and "10" comes before "9"."""
    dataset = read_dataset(
        write_npz(tmp_path, x_train=np.zeros((12, 2, 2), np.uint8), y_train=np.arange(12))
    )
    assert dataset.classes[:3] == ("00", "01", "02")
    assert list(dataset.classes) == sorted(dataset.classes)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["train"], ["train"]),
        (["train", "val"], ["train", "test"]),
        (["train", "test"], ["train", "test"]),
        (["train", "val", "test"],) * 2,
    ],
)
def test_the_parts_of_an_npz_file_follow_the_rule_of_folders(
    tmp_path: Path, given: list[str], expected: list[str]
) -> None:
    """The same data must be judged the same way whatever it is packed in."""
    arrays = {f"{letter}_{name}": array for name in given for letter, array in (("x", X), ("y", Y))}
    assert list(read_dataset(write_npz(tmp_path, **arrays)).splits()) == expected


WRONG_SHAPE = (
    "x_train must be numbers (n, H, W), (n, H, W, 1) or (n, H, W, 3), not empty, with "
    "y_train beside it, but got"
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_train": X.astype(np.complex64)}, f"{WRONG_SHAPE} complex64 (6, 5, 4)"),
        ({"x_train": X.astype(str)}, f"{WRONG_SHAPE} <U3 (6, 5, 4)"),
        ({"x_train": X - 1.0}, "some of its values are below 0"),
        ({"x_train": X[0]}, f"{WRONG_SHAPE} uint8 (5, 4)"),
        ({"x_train": np.stack([X] * 4, axis=3)}, f"{WRONG_SHAPE} uint8 (6, 5, 4, 4)"),
        ({"x_train": X[:0], "y_train": Y[:0]}, f"{WRONG_SHAPE} uint8 (0, 5, 4)"),
        ({"x_train": X[:, :0]}, f"{WRONG_SHAPE} uint8 (6, 0, 4)"),
        ({"x_train": None}, f"{WRONG_SHAPE} none"),
        ({"y_train": None}, f"{WRONG_SHAPE} uint8 (6, 5, 4)"),
        ({"x_test": X},
         "x_test must be numbers (n, H, W), (n, H, W, 1) or (n, H, W, 3), not empty, with "
         "y_test beside it"),
        ({"y_train": Y[:5]}, "y_train must be 6 integers from 0, but got int64 (5,)"),
        ({"y_train": Y.astype(float)}, "y_train must be 6 integers from 0, but got float64 (6,)"),
        ({"y_train": Y[:, None]}, "y_train must be 6 integers from 0, but got int64 (6, 1)"),
        ({"y_train": Y - 1}, "y_train must be in 0..5 (6 training images), but got -1..1"),
        ({"y_train": Y * 10**12},
         "y_train must be in 0..5 (6 training images), but got 0..2000000000000"),
        ({"y_train": np.array([0, 1, 2, 0, 1, 2**63], np.uint64)},
         "but got 0..9223372036854775808"),
        ({"y_train": np.array([0, 3, 1, 1, 0, 3])}, "no training images of 2"),
        ({"y_train": np.zeros(6, int)}, "needs at least 2 classes, but got 1: 0"),
        ({"x_test": X, "y_test": Y + 1}, "no training images of 3"),
        ({"classes": ["a", "b"]},
         "classes must be 3 different names in alphabetical order, but got ('a', 'b')"),
        ({"classes": ["b", "a", "c"]}, "classes must be 3 different names in alphabetical order"),
        ({"classes": ["a", "a", "b"]}, "classes must be 3 different names in alphabetical order"),
        ({"classes": "a"}, "classes must be 3 different names in alphabetical order"),
        ({"classes": ["a", "b", "c", "d"]}, "no training images of d"),
    ],
)  # fmt: skip
def test_an_npz_file_that_holds_something_else_is_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    """Arrays of another meaning would be read as images without a word."""
    arrays = {"x_train": X, "y_train": Y} | change
    assert message in refusal(
        write_npz(tmp_path, **{name: array for name, array in arrays.items() if array is not None})
    )


class Bomb:
    """Whose unpickling makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Path.touch, (self.path,)


def test_pickled_content_is_refused_and_not_run(tmp_path: Path) -> None:
    """A dataset from a stranger must not be able to run a program."""
    proof = tmp_path / "it-ran"
    spec = write_npz(tmp_path, x_train=X, y_train=Y, classes=np.array([Bomb(proof)], object))
    assert "not a readable npz file without pickles" in refusal(spec)
    assert not proof.exists()
    np.load(tmp_path / "data.npz", allow_pickle=True)["classes"]
    assert proof.exists()


def _flip(raw: bytes) -> bytes:
    middle = len(raw) // 4
    return (
        raw[:middle] + bytes(byte ^ 0x55 for byte in raw[middle : middle + 30]) + raw[middle + 30 :]
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda raw: b"",
        lambda raw: b"text",
        lambda raw: raw[:-100],
        lambda raw: raw[: len(raw) // 2],
        _flip,
    ],
)
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_damaged_npz_file_is_refused(
    tmp_path: Path, save: Callable[..., None], spoil: Callable[[bytes], bytes]
) -> None:
    """Zip files break in many ways, and each must be the same one line."""
    path = tmp_path / "data.npz"
    save(path, x_train=X, y_train=Y)
    path.write_bytes(spoil(path.read_bytes()))
    assert "not a readable npz file" in refusal(f"npz:{path}")


def test_a_missing_file_and_a_single_array_are_refused(tmp_path: Path) -> None:
    """Both are the usual slips: a wrong path, and ``np.save`` in place of ``np.savez``."""
    assert "no such file" in refusal(f"npz:{tmp_path}/nothing.npz")
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, X)
    assert "not a readable npz file" in refusal(f"npz:{tmp_path}/array.npz")
