"""A search of pictures of every odd kind, and what its bundle makes of them: one rule, and no kind
that ends it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from odd_images import GREY, png, save_all, shapes
from one_ray import OneRay
from PIL import Image
from program import output

PICTURES = shapes(18, side=32)
STRIPS = [(1, 20), (20, 1), (1, 1), (2, 300), (4000, 3), (12, 13)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """16-bit pictures that use 12 bits, with strips and small ones among them."""
    root = tmp_path_factory.mktemp("odd") / "images"
    save_all(
        root,
        PICTURES,
        "png",
        lambda picture, path: path.write_bytes(png(picture.astype(np.uint16) * 16, GREY)) and None,
    )
    for number, shape in enumerate(STRIPS):
        for name in PICTURES:
            noise = np.random.default_rng(number).integers(0, 4096, shape).astype(np.uint16)
            (root / "train" / name / f"strip-{number}.png").write_bytes(png(noise, GREY))
    return root


@pytest.fixture(scope="module")
def bundle(folder: Path, one_ray: OneRay) -> Path:
    """The best bag of words of a search of them."""
    runs = folder.parent / "runs"
    where = ("--name", "odd", "--no-tracking", "--runs-dir", runs)
    settings = [
        "--set",
        "step=4",
        "--set",
        "bin_size=4",
        "--set",
        "vocabulary_size=20",
        "--set",
        "scales=1",
        "--set",
        "vocabulary_step=8",
    ]
    done = one_ray.typed(
        "run",
        "--space",
        "bag-of-sift",
        "--dataset",
        f"folder:{folder}",
        "--trials",
        4,
        *where,
        *settings,
    )
    assert done.returncode == 0, done.stderr
    assert "4,095 becomes white" in done.stderr
    facts = json.loads((runs / "odd" / "data.json").read_bytes())
    assert facts["rule"]["white"] == 4095
    output("export", "odd", "--runs-dir", runs, "--out", folder.parent / "bundle")
    return folder.parent / "bundle"


def test_pictures_of_any_size_are_searched_and_predicted(bundle: Path, folder: Path) -> None:
    """A picture one pixel high ended the process of whoever described it, a worker's or the user's
    own.
    """
    assert len(output("predict", bundle, *sorted(folder.rglob("strip-*.png")))) == len(
        STRIPS
    ) * len(PICTURES)
    assert output("evaluate", bundle, "--dataset", f"folder:{folder}")["accuracy"] > 0.8


def test_a_bundle_goes_on_with_the_rule_of_its_images(
    bundle: Path, folder: Path, tmp_path: Path
) -> None:
    """A single dim picture, or a brighter set, must be seen as the training images were, or every
    score is another's.
    """
    facts = json.loads((bundle / "bundle.json").read_bytes())
    assert facts["preprocessing"]["rule"] == {
        "white": 4095,
        "float_white": None,
        "background": None,
        "orientation": "exif",
        "fit": "squash",
    }
    assert "4,095 becomes white" in (bundle / "README.md").read_text()
    names = sorted((folder / "test").rglob("*.png"))
    together = [row["scores"] for row in output("predict", bundle, *names)]
    assert [output("predict", bundle, name)[0]["scores"] for name in names[:3]] == together[:3]
    plain = save_all(
        tmp_path / "plain",
        PICTURES,
        "png",
        lambda picture, path: Image.fromarray(picture).save(path),
    )
    as_8_bits = [
        row["scores"] for row in output("predict", bundle, *sorted((plain / "test").rglob("*.png")))
    ]
    assert (
        np.abs(
            np.array([[*s.values()] for s in together]) - [[*s.values()] for s in as_8_bits]
        ).mean()
        < 0.2
    )
