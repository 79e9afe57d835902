"""A search that trains a pretrained network on photographs: the size that it chooses, bundle,
ONNX, refit, and the next search that starts from it.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from conftest import copied, for_reading
from PIL import Image
from program import output, refusal, typed, visiontune
from safetensors.torch import save_file

from analysis.run.directory import RunDirectory
from trainables.cnn import weights

SETTINGS = {"model": "pretrained", "batch_size": 8, "resized_crop": "true", "crop_area": 0.5}
WORDS = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
NETWORK = "test_efficientnet"
"""A network of timm's that trains in moments."""
LINE = "networks see images at 64 × 64 pixels: half of them have a shorter side of 70 or more"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reddish and bluish noise, of 70 × 90 pixels."""
    root, draw = tmp_path_factory.mktemp("images"), np.random.default_rng(0)
    for part, count in (("train", 12), ("test", 3)):
        for channel, name in ((0, "blue"), (2, "red")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = draw.integers(60, 200, (70, 90, 3), dtype=np.uint8)
                pixels[:, :, channel] //= 2
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, images: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A runs directory with a finished search called ``photos``, whose file of weights is gone by
    now; for reading.
    """
    runs = tmp_path_factory.mktemp("runs")
    file = tmp_path_factory.mktemp("weights") / "mine.safetensors"
    torch.manual_seed(0)
    save_file(timm.create_model(NETWORK).state_dict(), file)
    own = ("--set", f"backbone={NETWORK}@{file}")
    done = visiontune(
        "run", "--space", "cnn", "--dataset", f"folder:{images}", "--name", "photos", "--trials", 1,
        "--epochs", 3, "--patience", 1, "--runs-dir", runs, "--no-tracking", *WORDS, *own,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert LINE in done.stderr
    file.unlink()
    return for_reading(request, runs)


def test_the_size_is_chosen_from_the_images_kept_and_told(runs: Path, images: Path) -> None:
    """Photographs shrunk to 32 pixels without a word are another task than the user's."""
    folder = RunDirectory(runs / "photos")
    assert folder.plan().training.image_size == 64
    _, use = weights.read(folder.weights("cnn", 0) / "last.safetensors")
    assert use.size == 64
    shown = ("--dataset", f"folder:{images}", "--dry-run", "--trials", 1, *WORDS)
    done = typed("run", "--space", "cnn", *shown)
    assert done.returncode == 0, done.stderr
    assert LINE in done.stdout
    done = typed("run", "--space", "cnn", *shown, "--set", "side=96", "--json")
    facts = json.loads(done.stdout)
    assert facts["image_size"] == 64
    assert facts["configs"][0]["side"] == 96


def test_what_a_search_finds_of_it_is_used_as_any_network_is(
    runs: Path, images: Path, tmp_path: Path
) -> None:
    """A bundle that gives other answers than were recorded is worth nothing, and a report without
    its layers says little.
    """
    runs = copied(runs, tmp_path / "runs")
    best = output("best", "photos", "--runs-dir", runs)[0]
    out = tmp_path / "bundle"
    made = output("export", "photos", "--out", out, "--runs-dir", runs)
    facts = json.loads((out / "bundle.json").read_text())
    assert facts["val"]["accuracy"] == best["val_accuracy"]
    assert facts["preprocessing"]["size"] == 64
    mean = [255 * share for share in (0.485, 0.456, 0.406)]  # the network's own
    assert facts["preprocessing"]["mean"] == pytest.approx(mean)
    assert {"timm", "torch"} <= set(facts["versions"])
    assert facts["weights"]["architecture"] == NETWORK
    assert len(facts["weights"]["sha256"]) == 64
    found = output("evaluate", out, "--dataset", f"folder:{images}")
    assert found["accuracy"] == made["test_accuracy"]
    report = RunDirectory(runs / "photos").report
    (row,) = csv.DictReader((report / "models.csv").read_text().splitlines())
    assert row["model"] == "pretrained"
    assert "Linear-" in (report / "architecture.txt").read_text()


@pytest.mark.slow
def test_it_is_started_from(runs: Path, images: Path, tmp_path: Path) -> None:
    """The next search on other classes goes on from what this one learned, not from what the
    weights knew before, also where those are gone; and what ONNX gives is what torch does.
    """
    runs, out = copied(runs, tmp_path / "runs"), tmp_path / "bundle"
    said = refusal("export", "photos", "--refit", "--out", out, "--runs-dir", runs)
    assert "there is no such file of weights" in said
    output("export", "photos", "--onnx", "--out", out, "--runs-dir", runs)
    assert (out / "model.onnx").is_file()
    done = visiontune(
        "run", "--space", "cnn", "--dataset", f"folder:{images}", "--name", "again", "--trials", 1,
        "--epochs", 1, "--runs-dir", tmp_path, "--no-tracking", "--init", out,
        "--set", "head_epochs=1", "--set", "batch_size=8",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    folder = RunDirectory(tmp_path / "again")
    assert folder.plan().set["model"] == "pretrained"
    assert folder.plan().training.image_size == 64
    before, _ = weights.read(out / "model.safetensors")
    after, _ = weights.read(folder.weights("cnn", 0) / "last.safetensors")
    name = "conv_stem.weight"
    assert bool((before[name] == after[name]).all())
