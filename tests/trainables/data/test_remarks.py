"""What is said of a dataset: images that both teach and judge, and parts too small to be compared
on.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from program import output, refusal, refused, typed

from spaces.errors import DatasetError
from trainables.data import Dataset, ReadOptions, read_dataset
from trainables.data.dataset import Images
from trainables.data.remarks import spans

MakeFolder = Callable[..., Path]
SCENES = Path("/work/shared/data/scenes15")


def read(root: Path, **options: Any) -> Dataset:
    return read_dataset(f"folder:{root}", ReadOptions(**options))


def copies(dataset: Dataset) -> list[str]:
    return [line for line in dataset.notes if "pixel by pixel" in line]


def test_copies_of_training_images_in_the_test_are_counted(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """Their accuracy says how well a program remembers; a copy is one whatever its name, format and
    class.
    """
    root = make_folder(tmp_path, {"train": {"cat": 4, "dog": 4}, "test": {"cat": 3, "dog": 3}})
    assert not copies(read(root))
    shutil.copy(root / "train/cat/000.png", root / "test/cat/again.png")
    with Image.open(root / "train/dog/002.png") as image:
        image.save(root / "test/cat/other.bmp")
    shutil.copy(root / "train/dog/001.jpg", root / "test/dog/copy.jpg")
    assert copies(read(root)) == [
        (
            "warning: 3 of 9 test images are also training images, pixel by pixel, so that the "
            "test "
            "flatters"
        )
    ]


def test_copies_are_counted_of_every_part_that_judges(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """Images held out choose the configuration, and one that was chosen by what it knew by heart is
    not the best.
    """
    root = make_folder(
        tmp_path,
        {"train": {"cat": 6, "dog": 6}, "val": {"cat": 2, "dog": 2}, "test": {"cat": 2, "dog": 2}},
    )
    shutil.copy(root / "val/cat/000.png", root / "test/cat/x.png")
    shutil.copy(root / "train/cat/000.png", root / "val/cat/y.png")
    assert copies(read(root)) == [
        (
            "warning: 1 of 5 validation images is also training images, pixel by pixel, so that "
            "what is chosen is flattered"
        ),
        "warning: 1 of 5 test images is also training or validation images, pixel by pixel, so "
        "that the test flatters",
    ]
    shutil.rmtree(root / "val")
    for path in sorted((root / "train").rglob("*.png")):
        shutil.copy(path, path.with_name(f"copy-{path.name}"))
    assert any("validation images" in line for line in copies(read(root, hold_out=0.5)))


def test_a_search_keeps_what_was_said_and_others_say_it_again(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """Whoever only looks at the end must see it too: the line stands with the data's facts and
    beside the score.
    """
    root = make_folder(
        tmp_path / "data", {"train": {"cat": 4, "dog": 4}, "test": {"cat": 1, "dog": 1}}
    )
    shutil.copy(root / "train/cat/000.png", root / "test/cat/000.png")
    facts = output(
        "run",
        "--space",
        "tiny-image",
        "--dataset",
        f"folder:{root}",
        "--trials",
        1,
        "--dry-run",
        cwd=tmp_path,
    )
    assert [line for line in facts["notes"] if "1 of 2 test images is also training images" in line]


@pytest.mark.skipif(not (SCENES / "train").is_dir(), reason="the 15 scenes are not on this machine")
def test_the_scenes_have_four() -> None:
    """Four test images of the report are training images: a count that is known from outside this
    program.
    """
    assert copies(read(SCENES)) == [
        (
            "warning: 4 of 1,500 test images are also training images, pixel by pixel, so that the "
            "test flatters"
        )
    ]


def test_the_range_of_each_image_is_that_of_its_widest_channel() -> None:
    """Images of one size are measured at once and others one by one, with the same answer."""
    generator = np.random.default_rng(0)
    same = [generator.integers(0, top, (4, 5, 3), dtype=np.uint8) for top in (2, 20, 255)]
    same[0][..., 1] = 200
    single = [int(np.ptp(image.reshape(-1, 3).astype(int), axis=0).max()) for image in same]
    assert spans(Images.from_arrays(same)).tolist() == single
    assert spans(Images.from_arrays([*same, same[1][:2]])).tolist()[:3] == single
    assert spans(Images.from_arrays(same).take(np.array([2, 0]))).tolist() == [single[2], single[0]]
    dark = np.full((40, 50), 7, np.uint8)
    speck = dark.copy()
    speck[33, 17] = 250  # where no pixel is looked at first
    assert spans(Images.from_arrays([dark, speck])).tolist() == [0, 243]
    assert spans(Images.from_arrays([dark, speck, dark[:1]])).tolist() == [0, 243, 0]


@pytest.mark.parametrize("counts", [(2, 2), (4, 1), (3, 3)])
def test_more_folds_than_a_class_has_images_are_refused_before_anything_is_tried(
    counts: tuple[int, int], tmp_path: Path, make_folder: MakeFolder
) -> None:
    """Every trial of such a search fails, and says so one by one."""
    root = make_folder(tmp_path / "data", {"train": {"cat": counts[0], "dog": counts[1]}})
    asked = (
        "run",
        "--space",
        "tiny-image",
        "--dataset",
        f"folder:{root}",
        "--validation",
        "k-fold",
        "--trials",
        3,
        "--no-tracking",
    )
    line = refused(*asked, "--dry-run")
    assert (
        "k-fold makes 5 folds, each with images of the same classes, but no class has more "
        f"than {max(counts)} training images"
    ) in line
    assert "fewer folds, or for leave-one-out" in line


def test_the_search_itself_refuses_them_and_leaves_nothing(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """A dry run is not asked for by everybody."""
    root = make_folder(tmp_path / "data", {"train": {"cat": 2, "dog": 2}})
    asked = (
        "run",
        "--space",
        "tiny-image",
        "--dataset",
        f"folder:{root}",
        "--validation",
        "k-fold",
        "--trials",
        3,
        "--no-tracking",
    )
    assert "k-fold makes 5 folds" in refusal(*asked, "--runs-dir", tmp_path / "runs")
    assert not list((tmp_path / "runs").iterdir())


@pytest.mark.parametrize(
    ("counts", "fraction", "message"),
    [
        (
            {"cat": 6, "dog": 1, "owl": 1},
            0.5,
            "a class must stand in both parts, but there is one image only of dog, owl",
        ),
        (
            {"cat": 4, "dog": 4, "owl": 2},
            0.2,
            "needs an image of each of the 3 classes, but they would have 8 and 2",
        ),
        ({"cat": 2, "dog": 2}, 0.9, "they would have 0 and 4"),
        ({"cat": 9, "dog": 9}, 0.01, "they would have 17 and 1"),
    ],
)
def test_too_few_images_to_hold_some_out_are_named_by_class(
    counts: dict[str, int], fraction: float, message: str, tmp_path: Path, make_folder: MakeFolder
) -> None:
    """A class number and another library's words say nothing to whoever has folders with names."""
    with pytest.raises(DatasetError) as caught:
        read(make_folder(tmp_path, {"train": counts}), hold_out=fraction)
    assert message in str(caught.value)
    assert f"cannot hold out {fraction:g} of {sum(counts.values())} training images" in str(
        caught.value
    )


@pytest.mark.parametrize(
    "counts",
    [
        {"a": 2, "b": 2},
        {"a": 3, "b": 2, "c": 5},
        {"a": 20, "b": 2},
        {"a": 7, "b": 2, "c": 2, "d": 2},
    ],
)
@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.34, 0.5, 0.66, 0.9])
def test_what_is_not_refused_can_be_held_out(
    counts: dict[str, int], fraction: float, tmp_path: Path, make_folder: MakeFolder
) -> None:
    """The counts in the message are those of the library that draws, for any numbers: it must never
    be the one to refuse.
    """
    root = make_folder(tmp_path, {"train": counts}, side=8)
    total = sum(counts.values())
    try:
        dataset = read(root, hold_out=fraction)
    except DatasetError as error:
        refused_with = str(error)
    else:
        refused_with = ""
        assert dataset.val is not None
        assert len(dataset.val) + len(dataset.train) == total
    assert (
        bool(refused_with)
        == ("they would have" in refused_with)
        == (min(math.ceil(fraction * total), total - math.ceil(fraction * total)) < len(counts))
    )


def test_a_folder_of_nothing_but_test_images_is_judged(
    digits_bundle: Path, tmp_path: Path, make_folder: MakeFolder
) -> None:
    """Whoever received a bundle has pictures to judge it by, and not what it learned from."""
    root = make_folder(tmp_path, {"test": {"3": 2, "7": 1}}, side=32)
    found = output("evaluate", digits_bundle, "--dataset", f"folder:{root}")
    assert (found["split"], found["n"]) == ("test", 3)
    only = make_folder(tmp_path / "one", {"valid": {"5": 4}}, side=32)
    found = output("evaluate", digits_bundle, "--dataset", f"folder:{only}")
    assert (found["split"], found["n"], np.array(found["confusion"])[5].sum()) == ("test", 4, 4)
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    np.savez(tmp_path / "only.npz", x_test=images, y_test=[9, 9, 2])
    assert output("evaluate", digits_bundle, "--dataset", f"npz:{tmp_path}/only.npz")["n"] == 3


def test_other_classes_than_the_bundle_s_are_told_apart(
    digits_bundle: Path, tmp_path: Path, make_folder: MakeFolder
) -> None:
    """A class that only looks like the bundle's is as strange to it as any."""
    root = make_folder(tmp_path, {"test": {"3\u200b": 1}}, side=32)
    assert r"'3\u200b' and '3' look the same" in refused(
        "evaluate", digits_bundle, "--dataset", f"folder:{root}"
    )


def test_evaluate_says_what_is_odd_about_the_images(digits_bundle: Path, tmp_path: Path) -> None:
    """A score on black images is a score of nothing."""
    np.savez(tmp_path / "black.npz", x_test=np.zeros((4, 32, 32), np.uint8), y_test=[0, 1, 2, 3])
    done = typed("evaluate", digits_bundle, "--dataset", f"npz:{tmp_path}/black.npz", "--json")
    assert "4 of 4 test images use under a sixteenth of the range" in done.stderr
    assert json.loads(done.stdout)["notes"] == [
        line for line in done.stderr.splitlines() if "warning" in line
    ]
