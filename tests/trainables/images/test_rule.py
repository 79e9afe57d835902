"""One rule for all images of a dataset, arrays included: what it says, what it refuses, and what it
leaves as a run has it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from odd_images import GREY, png, save_all, shapes
from PIL import Image

from analysis.plan.plan import make_plan
from analysis.run.records import DataFacts
from spaces.errors import DatasetError
from trainables.data import Dataset, ReadOptions, read_dataset
from trainables.images.image_file import read_image
from trainables.images.rule import FIRST, Rule, completed, needs_of, to_8_bits

UInt8 = npt.NDArray[np.uint8]
PICTURES = shapes(6)


def read(root: Path, **options: Any) -> Dataset:
    return read_dataset(f"folder:{root}", ReadOptions(**options))


def test_the_rule_of_the_first_release_gives_its_pixels(tmp_path: Path) -> None:
    """A bundle that names no rule was made from images read so, and must go on seeing what it
    learned from.
    """
    (tmp_path / "deep.png").write_bytes(png(np.array([[240, 65535, 257]], np.uint16), GREY))
    Image.fromarray(np.array([[[200, 200, 200, 0], [3, 3, 3, 255]]], np.uint8)).save(
        tmp_path / "clear.png"
    )
    assert read_image(tmp_path / "deep.png", rule=FIRST).tolist() == [[0, 255, 1]]
    assert read_image(tmp_path / "clear.png", rule=FIRST).tolist() == [[200, 3]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([-1.0, 0.5], "below 0, down to -1"),
        ([0.1, np.nan], "no numbers"),
        ([0.1, np.inf], "no numbers"),
        ([0.0, 1e12], "reach 1e+12"),
    ],
)
def test_numbers_without_a_place_between_black_and_white_are_refused(
    values: list[float], message: str, tmp_path: Path
) -> None:
    """Normalised or measured values have no known black, so any picture of them would be a
    guess.
    """
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(DatasetError, match=r"a\.tif: .*") as caught:
        read_image(tmp_path / "a.tif")
    assert message in str(caught.value)


WHOLE, FLOATS = (np.uint16, np.int64, np.uint64), (np.float16, np.float32, np.float64)
ARRAYS = [
    (np.uint8, 255),
    *((t, most) for t in WHOLE for most in (255, 4095)),
    *((t, most) for t in FLOATS for most in (1, 255)),
]


@pytest.mark.parametrize(("dtype", "most"), [*ARRAYS, (np.float32, 4095)])
def test_arrays_of_any_numbers_are_read_by_the_same_rule(
    dtype: type, most: int, tmp_path: Path
) -> None:
    """The same picture must be the same whatever number type somebody's script left it in."""
    floating = np.issubdtype(dtype, np.floating)
    plain = np.stack([picture for of_class in PICTURES.values() for picture in of_class])
    labels = np.repeat(np.arange(3), 6)
    x = (plain / 255 * most).astype(dtype) if most != 255 else plain.astype(dtype)
    if most == 4095:
        x[0, 0, 0] = 4095
    np.savez(tmp_path / "a.npz", x_train=x, y_train=labels, x_test=x[:3], y_test=labels[:3])
    dataset = read_dataset(f"npz:{tmp_path}/a.npz")
    found = np.stack(list(dataset.train.images)).astype(int)
    found[0, 0, 0] = plain[0, 0, 0]
    assert np.abs(found - plain).max() <= 1
    if dtype is np.uint8 or (most == 255 and not floating):
        np.testing.assert_array_equal(found, plain)


def test_yes_and_no_are_white_and_black(tmp_path: Path) -> None:
    """Masks are kept as booleans."""
    np.savez(
        tmp_path / "a.npz",
        x_train=np.stack([np.eye(4), 1 - np.eye(4)]).astype(bool),
        y_train=[0, 1],
    )
    np.testing.assert_array_equal(
        read_dataset(f"npz:{tmp_path}/a.npz").train.images[0], np.eye(4) * 255
    )


@pytest.mark.parametrize("flat", [False, True])
def test_many_images_that_show_next_to_nothing_are_told(flat: bool, tmp_path: Path) -> None:
    """A search on black images ends at chance, and nobody knows why."""

    def save(picture: UInt8, path: Path) -> None:
        Image.fromarray(picture * 0 + 9 if flat else picture // 16).save(path)

    save_all(tmp_path, PICTURES, "png", save)
    warnings = [line for line in read(tmp_path).notes if line.startswith("warning: ")]
    assert any(
        "12 of 12 training images use under a sixteenth of the range" in line for line in warnings
    )
    assert any("6 of 6 test images use under a sixteenth" in line for line in warnings)
    assert all(("one colour all over" in line) == flat for line in warnings if "sixteenth" in line)


def test_what_a_rule_says_is_not_decided_again() -> None:
    """A bundle's rule holds for every picture it is shown, however bright that is."""
    rule = completed(
        Rule(white=4095),
        [needs_of(np.array([9], np.uint16)), needs_of(np.array([65000], np.uint16))],
    )
    assert rule == Rule(white=4095)
    assert to_8_bits(np.array([0, 4095, 65000], np.uint16), rule).tolist() == [0, 255, 255]


@pytest.mark.parametrize(
    "change",
    [{"white": 0}, {"white": 100}, {"white": 4094}, {"float_white": 0.0}, {"float_white": np.nan}],
)
def test_a_white_that_is_none_is_refused(change: dict[str, Any]) -> None:
    """It comes from a bundle that anybody may have written, and is divided by."""
    with pytest.raises(ValueError, match="white must be"):
        Rule(**change)


def test_a_file_that_a_run_left_out_stays_out_when_it_can_be_read(tmp_path: Path) -> None:
    """A release that reads more kinds of files, or a file that was repaired, must not put other
    images beside a run's results.
    """
    save_all(tmp_path, PICTURES, "png", lambda picture, path: Image.fromarray(picture).save(path))
    odd = tmp_path / "train" / "down" / "zz.tif"
    odd.write_bytes(b"not yet")
    before = read(tmp_path, skip_unreadable=True)
    Image.fromarray(np.ones((8, 8), np.float32)).save(odd)
    began = DataFacts(
        spec=before.spec,
        classes=before.classes,
        sizes={},
        fingerprint=before.fingerprint,
        skipped=before.skipped,
    )
    plan = make_plan({"spaces": ["tiny-image"], "dataset": before.spec, "skip_unreadable": True})
    again = read_dataset(before.spec, began.as_read(plan.read_options()))
    assert (again.fingerprint, again.skipped) == (before.fingerprint, ("train/down/zz.tif",))
    assert len(read(tmp_path, skip_unreadable=True).train) == len(again.train) + 1
