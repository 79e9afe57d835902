"""Pictures that are no squares: kept, cut or padded by the rule, by whoever reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from planted import clean_folder, photograph
from program import output, typed

from analysis.plan.plan import make_plan
from analysis.run.records import DataFacts
from trainables.data import ReadOptions, read_dataset
from trainables.images.image_file import read_image
from trainables.images.rule import Fit, Needs, Rule, completed


def square(pixels: np.ndarray, fit: Fit) -> np.ndarray:
    """The same, written down another way, for a picture 20 wider than high."""
    if fit == "crop":
        return pixels[:, 10:50]
    edges = ((10, 10), (0, 0), (0, 0))
    return np.pad(pixels, edges, constant_values=128) if fit == "pad" else pixels


@pytest.mark.parametrize("fit", ["squash", "crop", "pad"])
def test_files_and_arrays_are_fitted_alike(tmp_path: Path, fit: Fit) -> None:
    """One rule for a file, a turned one, a smaller one and an array, and what is a square stays."""
    picture = photograph(7, 60, 40)
    pixels, rule = np.asarray(picture), Rule(fit=fit)
    picture.save(tmp_path / "a.png")
    assert np.array_equal(read_image(tmp_path / "a.png", "rgb", rule=rule), square(pixels, fit))
    exif = Image.Exif()
    exif[0x0112] = 8
    picture.save(tmp_path / "b.png", exif=exif)
    turned = read_image(tmp_path / "b.png", "rgb", rule=Rule(orientation="exif", fit=fit))
    assert np.array_equal(turned, np.rot90(square(pixels, fit)))
    small = read_image(tmp_path / "a.png", "grey", 20, rule)
    assert small.shape == {"squash": (13, 20), "crop": (20, 20), "pad": (20, 20)}[fit]
    np.savez(tmp_path / "d.npz", x_train=np.stack([pixels] * 4), y_train=np.array([0, 1, 0, 1]))
    options = ReadOptions(color="rgb", rule=rule)
    (first, *_) = read_dataset(f"npz:{tmp_path}/d.npz", options).train.images
    assert np.array_equal(first, square(pixels, fit))
    picture.resize((40, 40)).save(tmp_path / "c.png")
    plain = read_image(tmp_path / "c.png", "rgb")
    assert np.array_equal(read_image(tmp_path / "c.png", "rgb", rule=rule), plain)


def test_a_plan_says_which_and_what_was_begun_without_keeps_shapes(tmp_path: Path) -> None:
    """Other pixels are another data set; a mistyped word is no wish; old records name none."""
    root = clean_folder(tmp_path / "data", 3)
    kept = make_plan({"spaces": "tiny-image"}).read_options()
    cut = make_plan({"spaces": "tiny-image", "fit": "crop"}).read_options()
    assert kept.rule.fit == "squash"
    assert completed(cut.rule, [Needs(top=300)]).fit == "crop"
    one, two = (read_dataset(f"folder:{root}", how) for how in (kept, cut))
    assert one.fingerprint != two.fingerprint
    assert any("middle square" in note for note in two.notes)
    old = {"spec": "folder:/x", "classes": ["a", "b"], "sizes": {}, "fingerprint": "0", "rule": {}}
    assert DataFacts.model_validate(old).as_read(cut).rule.fit == "squash"
    words = ("run", "--space", "tiny-image", "--trials", 1, "--dataset", f"folder:{root}")
    assert output(*words, "--dry-run", "--fit", "pad")["configs"]
    done = typed(*words, "--dry-run", "--fit", "stretch")
    assert done.returncode == 2
    assert "fit" in done.stderr
