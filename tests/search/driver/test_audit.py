"""The look at the images with which a search begins."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from damages import DAMAGES, damages_of
from one_ray import OneRay
from PIL import Image
from planted import clean_folder, photograph

from analysis.plan.plan import make_plan
from analysis.run.sealed import sealed
from search.driver.images import kept_glance
from trainables.audit.look import MOST_GLANCED, Glance, glance_at
from trainables.data import ReadOptions, read_dataset
from trainables.data.validation import Validation

FOLDS = Validation("k-fold", 5)


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with copies in the test, one nearly, a wrong ending and unbalanced classes."""
    root = clean_folder(tmp_path_factory.mktemp("data") / "faulty", 8)
    for i in range(2, 8):
        (root / f"train/bee/{i:03d}.jpg").unlink()
    shutil.copy(root / "train/ant/000.jpg", root / "test/ant/copy.png")
    with Image.open(root / "train/ant/003.jpg") as image:
        image.transpose(Image.Transpose.ROTATE_90).save(root / "test/ant/turned.jpg")
    return root


def test_a_search_says_what_it_found_and_goes_on(
    faulty: Path, tmp_path: Path, one_ray: OneRay
) -> None:
    """Who begins a search without a look is told on the way, once, and the run keeps it."""
    words = ("run", "--space", "tiny-image", "--trials", 1, "--dataset", f"folder:{faulty}")
    where = ("--runs-dir", tmp_path / "runs", "--no-tracking")
    done = one_ray.typed(*words, *where, "--name", "first")
    assert done.returncode == 0, done.stderr
    for line in (
        "warning: 1 test image is also a training image, nearly",
        "warning: 1 file with an ending that says something else: test/ant/copy.png is JPEG",
        "warning: classes are unbalanced: from 2 training images (bee) to 8 (ant)",
        f"visiontune check folder:{faulty}",
    ):
        assert done.stderr.count(line) == 1, done.stderr
    assert done.stderr.count("pixel by pixel") == 1
    notes = json.loads((tmp_path / "runs/first/data.json").read_text())["notes"]
    assert any("nearly" in note for note in notes)
    assert len(list((tmp_path / "runs/.cache/looks").iterdir())) == 1
    line = one_ray.refusal(*words, *where, "--name", "second", "--audit", "refuse")
    assert "(and 3 more)" in line
    assert not (tmp_path / "runs/second").exists()


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_look_that_was_kept_and_is_damaged_is_taken_again(tmp_path: Path, damage: str) -> None:
    """One bit of it would refuse a search, or not warn it; it is a note, and nothing depends on
    it.
    """
    path = tmp_path / "look.json"
    path.write_text(sealed({"said": [["copies", "two are the same"]], "unseen": ["sizes"]}))
    assert kept_glance(path) == Glance((("copies", "two are the same"),), ("sizes",))
    if damage not in damages_of(path):
        pytest.skip("nobody is refused a file here")
    DAMAGES[damage](path)
    assert kept_glance(path) is None


def test_a_plan_may_say_off_as_yaml_reads_it() -> None:
    """A bare ``off`` is false to YAML, and whoever writes it means the word."""
    assert make_plan({"spaces": "tiny-image", "audit": False}).audit == "off"


def test_a_glance_costs_no_more_for_more_images(tmp_path: Path) -> None:
    """A search of many images must not wait for a look at all of them; what was not looked at is
    said.
    """
    few = [np.asarray(photograph(seed, 32, 32)) for seed in range(4)]
    images = np.stack([few[i % 4] for i in range(8 * MOST_GLANCED)])
    images[:, 0, 0, 0] = np.arange(len(images)) % 251
    np.savez(tmp_path / "many.npz", x_train=images, y_train=np.arange(len(images)) % 2)
    dataset = read_dataset(f"npz:{tmp_path}/many.npz", ReadOptions(color="rgb"))
    began = time.process_time()
    glance = glance_at(dataset, ReadOptions(), FOLDS)
    assert time.process_time() - began < 120
    assert f"{MOST_GLANCED:,} of {len(images):,} images were looked at" in glance.unseen


def test_a_clean_folder_gives_no_line(tmp_path: Path) -> None:
    """Whoever is warned for nothing heeds no warning."""
    root = clean_folder(tmp_path / "clean", 6)
    dataset = read_dataset(f"folder:{root}", ReadOptions())
    assert glance_at(dataset, ReadOptions(), FOLDS).said == ()
