"""Searches of pretrained networks that are killed: while weights are fetched, while features are
made, while heads are fitted; nothing twice, nothing lost.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import timm
from hub_server import hub_server
from PIL import Image
from program import PATIENCE, Driver, output, visiontune
from safetensors.torch import save_file
from sklearn.datasets import load_sample_image

from analysis.run.directory import RunDirectory
from trainables.io.files import sha256

HUB = "timm/test_resnet.r160_in1k"
TRIALS = 12
pytestmark = pytest.mark.slow


def images(root: Path, count: int) -> str:
    """Pieces of two photographs."""
    random = np.random.default_rng(0)
    for name in ("china", "flower"):
        whole = load_sample_image(f"{name}.jpg")
        for number in range(count):
            top, left = (random.integers(0, length - 128) for length in whole.shape[:2])
            folder = root / ("train" if number % 4 else "test") / name
            folder.mkdir(parents=True, exist_ok=True)
            piece = whole[top : top + 128, left : left + 128]
            Image.fromarray(piece).save(folder / f"{number}.png")
    return f"folder:{root}"


def wait_for(there: object, what: str) -> None:
    """Until ``there()`` is true."""
    end = time.monotonic() + PATIENCE
    while not there():  # type: ignore[operator]
        assert time.monotonic() < end, what
        time.sleep(0.05)


def whole(runs: Path, before: dict[str, bytes], trials: int) -> None:
    """The run has exactly its trials, and those finished before as they were."""
    run = RunDirectory(runs / "seen")
    records = run.records()
    assert [(record.number, record.state) for record in records] == [
        (number, "COMPLETE") for number in range(trials)
    ]
    assert {key: (run.path / key).read_bytes() for key in before} == before
    assert output("status", "seen", "--runs-dir", runs)["state"] == "finished"


def finished(runs: Path) -> dict[str, bytes]:
    run = runs / "seen"
    return {
        str(path.relative_to(run)): path.read_bytes() for path in run.glob("trials/*/*/result.json")
    }


def test_killed_while_features_are_made_and_while_heads_are_fitted(tmp_path: Path) -> None:
    """Features that were made are read again, trials that ended stay, and what was being made is
    made once.
    """
    runs, log = tmp_path / "runs", tmp_path / "log"
    asked = (
        "run", "--space", "embedding", "--dataset", images(tmp_path / "images", 80), "--trials",
        TRIALS, "--name", "seen", "--runs-dir", runs, "--no-tracking", "--set", "side=64,96",
        "--set", "crop=squash", "--set", "views=one",
    )  # fmt: skip
    driver = Driver(*asked, log=log)
    wait_for((runs / "seen" / "trials").is_dir, "the search began")
    driver.kill_all()
    assert finished(runs) == {}
    driver = Driver("resume", "seen", "--runs-dir", runs, log=log)
    driver.wait_for_trials(runs / "seen", TRIALS // 2)
    driver.kill_all()
    before = finished(runs)
    assert len(before) >= TRIALS // 2 - 1
    done = visiontune("resume", "seen", "--runs-dir", runs)
    assert done.returncode == 0, done.stderr
    whole(runs, before, TRIALS)
    logs = [path.read_text() for path in (runs / "seen").glob("trials/embedding/*/log.txt")]
    assert sum("features computed" in text for text in logs) <= 4
    kept = [path.read_text() for path in (runs / ".cache" / "stages").glob("*.json")]
    assert sum("network_features" in text for text in kept) == 2, "a side each, once"


def test_killed_while_weights_are_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No run is there yet; typed again, the rest is fetched, once, and the search is whole."""
    place = tmp_path / "hub" / HUB / "model.safetensors"
    place.parent.mkdir(parents=True)
    save_file(timm.create_model("test_resnet").state_dict(), place)
    runs = tmp_path / "runs"
    with hub_server(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        asked = (
            "run", "--space", "embedding", "--dataset", images(tmp_path / "images", 20),
            "--trials", 4, "--name", "seen", "--runs-dir", runs, "--no-tracking", "--set",
            "side=64", "--set", "backbone=test_resnet.r160_in1k",
        )  # fmt: skip
        hub.slow = True
        driver = Driver(*asked, log=tmp_path / "log")
        wait_for(lambda: hub.gets, "weights are fetched")
        wait_for(lambda: list((tmp_path / "home").rglob("*.incomplete")), "they come")
        driver.kill_all()
        assert f"fetching the weights of test_resnet.r160_in1k: {hub.endpoint}" in driver.log
        assert not (runs / "seen").exists()
        hub.slow = False
        done = visiontune(*asked)
        assert done.returncode == 0, done.stderr
        asked_for = len(hub.gets)
        place.unlink()
    whole(runs, {}, 4)
    fetched = [path for path in (tmp_path / "home").rglob("*.safetensors") if path.is_file()]
    assert len(fetched) == 1
    known = RunDirectory(runs / "seen").plan().weights["test_resnet.r160_in1k"]
    assert sha256(fetched[0]) == known.sha256
    assert asked_for == 2
    more = visiontune("extend", "seen", "--trials", 2, "--runs-dir", runs)
    assert more.returncode == 0, more.stderr
    whole(runs, {}, 6)
