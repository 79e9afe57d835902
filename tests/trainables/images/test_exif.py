"""A camera's orientation tag: applied where the rule says so, and by nobody who began without."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from planted import clean_folder, photograph
from program import output, typed

from analysis.plan.plan import make_plan
from analysis.run.records import DataFacts
from trainables.data import ReadOptions, read_dataset
from trainables.images.image_file import read_image
from trainables.images.rule import Needs, Rule, completed

UPRIGHT = Rule(orientation="exif")


def tagged(path: Path, tag: int) -> Path:
    exif = Image.Exif()
    exif[0x0112] = tag
    photograph(7, 60, 40).save(path, exif=exif)
    return path


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("tag", [1, 2, 3, 4, 5, 6, 7, 8, 9])
def test_pictures_are_turned_as_pillow_turns_them(tmp_path: Path, tag: int, ending: str) -> None:
    """All eight ways to hold a camera, in every format that has the tag; a ninth is none."""
    path = tagged(tmp_path / f"a.{ending}", tag)
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert np.array_equal(read_image(path, "rgb", rule=UPRIGHT), expected)
    if ending != "tif":  # which Pillow turns itself
        with Image.open(path) as image:
            assert np.array_equal(read_image(path, "rgb"), np.asarray(image.convert("RGB")))
    small = read_image(path, "grey", 30, UPRIGHT)
    assert small.shape == ((20, 30) if tag in (1, 2, 3, 4, 9) else (30, 20))


def test_what_was_begun_without_stays_without(tmp_path: Path) -> None:
    """Records and bundles of before name no orientation, and their pixels must not change."""
    assert make_plan({"spaces": "tiny-image"}).read_options().rule.orientation == "exif"
    old = DataFacts.model_validate(
        {"spec": "folder:/x", "classes": ["a", "b"], "sizes": {}, "fingerprint": "0", "rule": {}}
    )
    new = make_plan({"spaces": "tiny-image"}).read_options()
    assert old.as_read(new).rule.orientation == "stored"
    assert completed(UPRIGHT, [Needs(top=300)]).orientation == "exif"


def test_a_dataset_and_its_fingerprint_follow_the_rule(tmp_path: Path) -> None:
    """Other pixels are another data set, and without a tag nothing changes."""
    root = clean_folder(tmp_path / "data", 3)
    stored, upright = ReadOptions(), ReadOptions(rule=UPRIGHT)
    before = read_dataset(f"folder:{root}", stored).fingerprint
    assert read_dataset(f"folder:{root}", upright).fingerprint == before
    tagged(root / "train/ant/x.jpg", 6)
    one, two = (read_dataset(f"folder:{root}", how) for how in (stored, upright))
    assert one.fingerprint != two.fingerprint
    assert {image.shape for image in two.train.images} == {(90, 120), (60, 40)}


def test_a_plan_says_which_and_a_word_that_is_none_is_refused(tmp_path: Path) -> None:
    """Who wants what is stored says so; a mistyped word is no wish."""
    root = clean_folder(tmp_path / "data", 3)
    words = ("run", "--space", "tiny-image", "--trials", 1, "--dataset", f"folder:{root}")
    assert output(*words, "--dry-run", "--orientation", "stored")["configs"]
    done = typed(*words, "--dry-run", "--orientation", "sideways")
    assert done.returncode == 2
    assert "orientation" in done.stderr
    assert json.loads(json.dumps({"rule": UPRIGHT.__dict__}))["rule"]["orientation"] == "exif"
