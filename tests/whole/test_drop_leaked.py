"""Test images that are also training images, left out of the test score where somebody asks."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from one_ray import OneRay
from planted import clean_folder
from program import output, refusal

LEAKS = 3


@pytest.fixture(scope="module")
def leaky(tmp_path_factory: pytest.TempPathFactory, one_ray: OneRay) -> Path:
    """A folder of 8 + 8 test images and three copies of training images, and a run of it."""
    folder = tmp_path_factory.mktemp("leaky")
    root = clean_folder(folder / "data", 8)
    for i in range(LEAKS):
        shutil.copy(root / f"train/ant/{i:03d}.jpg", root / f"test/ant/copy{i}.jpg")
    words = ("run", "--space", "tiny-image", "--set", "k=1", "--trials", 1, "--name", "made")
    options = ("--dataset", f"folder:{root}", "--runs-dir", folder / "runs", "--no-tracking")
    done = one_ray.typed(*words, *options, "--drop-leaked")
    assert done.returncode == 0, done.stderr
    return folder


def whole_from(kept: dict[str, Any]) -> float:
    """A neighbour search knows every copy: all of them right, beside the rest."""
    rest = kept["accuracy"] * 16
    return float((rest + LEAKS) / (16 + LEAKS))


def test_export_and_report_tell_both_figures(leaky: Path) -> None:
    """The one says how well it generalises, the other what was reported before."""
    runs = leaky / "runs"
    done = output("export", "made", "--runs-dir", runs, "--out", leaky / "bundle")
    facts = json.loads((leaky / "bundle/bundle.json").read_text())
    assert (facts["test"]["n"], facts["test_all"]["n"]) == (16, 16 + LEAKS)
    assert done["test_accuracy"] == facts["test"]["accuracy"]
    assert done["test_accuracy_all"] == pytest.approx(whole_from(facts["test"]))
    page = (runs / "made/report/report.html").read_text()
    assert f"{done['test_accuracy']:.4f} on 16 images that are no training images" in page
    assert f"{done['test_accuracy_all']:.4f} on all {16 + LEAKS}" in page
    assert "also training images" in (leaky / "bundle/README.md").read_text()


def test_evaluate_leaves_them_out_of_the_score_and_of_no_row(leaky: Path, tmp_path: Path) -> None:
    """Whoever looks rows up by number must find all of them."""
    output("export", "made", "--runs-dir", leaky / "runs", "--out", tmp_path / "bundle")
    words = ("evaluate", tmp_path / "bundle", "--dataset", f"folder:{leaky / 'data'}")
    found = output(*words, "--drop-leaked", "--out", tmp_path / "rows.json")
    assert (found["n"], found["all"]["n"]) == (16, 16 + LEAKS)
    assert sum(map(sum, found["confusion"])) == 16
    assert found["all"]["accuracy"] == pytest.approx(whole_from(found))
    assert len(json.loads((tmp_path / "rows.json").read_text())) == 16 + LEAKS
    assert output(*words)["n"] == 16 + LEAKS
    for split in ("ant", "bee"):
        shutil.rmtree(leaky / "data/test" / split)
        shutil.copytree(leaky / "data/train" / split, leaky / "data/test" / split)
    assert "all test images are also training images" in refusal(*words, "--drop-leaked")
