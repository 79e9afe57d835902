"""A search with somebody's own distance, network, metric and reader, from its beginning to a model
that is served, killed in its midst.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from program import PATIENCE, ROOT, Driver, output, refusal, tracked, visiontune

from analysis.run.directory import RunDirectory

GUIDE = (ROOT / "docs" / "guide" / "plugins.md").read_text(encoding="utf-8")
MINE = GUIDE.split("```python\n")[1].split("```")[0]
COMMANDS = [shlex.split(line) for line in GUIDE.split("```sh\n")[1].split("```")[0].splitlines()]
NEAR = ("--space", "tiny-image", "--set", "metric=canberra")
NET = (
    "--space", "cnn", "--set", "model=tinynet", "--set", "tiny_channels=4", "--set", "loss=focal",
    "--set", "invert=true", "--set", "batch_size=16", "--epochs", "2",
)  # fmt: skip


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(MINE)
    return path


def test_a_search_with_a_plug_in_runs_in_ray_s_workers(mine: Path) -> None:
    """They are other processes, started by others, which must know what it added."""
    run = output(
        "run", *NEAR, "--space", "nearest-mean", "--plugin", mine,
        "--dataset", "stripes:60", "--trials", 2,
        "--objective", "worst_recall", "--no-tracking", "--name", "near", "--json",
        "--runs-dir", mine.parent,
    )  # fmt: skip
    assert run["trials"]["COMPLETE"] == 2
    records = RunDirectory(mine.parent / "near").records()
    assert {record.space for record in records} == {"tiny-image", "nearest-mean"}
    assert {record.config.get("metric", "canberra") for record in records} == {"canberra"}
    assert all(0 <= record.metrics["worst_recall"] <= 1 for record in records)
    known = RunDirectory(mine.parent / "near").plugins()
    assert list(known) == ["mine"]


@pytest.mark.slow
def test_the_guide_s_commands_work_as_printed(mine: Path) -> None:
    """Whoever begins with it must not end with an error."""
    for words in COMMANDS:
        done = visiontune(*words[1:], cwd=mine.parent)
        assert done.returncode == 0, (words, done.stderr)
    assert "canberra" in visiontune(*COMMANDS[0][1:], cwd=mine.parent).stdout


@pytest.mark.slow
@pytest.mark.parametrize(("space", "trials"), [(NEAR, 60), (NET, 6)], ids=["near", "net"])
def test_a_killed_search_with_a_plug_in_goes_on_and_is_used(
    space: Sequence[str], trials: int, mine: Path
) -> None:
    """Whatever ours can do, what somebody brought must be able to do."""
    runs = mine.parent / "runs"
    at, plug = ("--runs-dir", runs), ("--plugin", mine)
    log = mine.parent / "log"
    driver = Driver(
        "run", *space, *plug, "--dataset", "stripes:60", "--trials", trials, "--objective",
        "worst_recall", "--name", "own", *at, log=log,
    )  # fmt: skip
    driver.wait_for_trials(runs / "own", 3)
    driver.kill_all()
    assert "needs plug-in mine" in refusal("resume", "own", *at)
    text = mine.read_text()
    mine.write_text(text + "\n# another\n")
    assert "has changed since" in refusal("resume", "own", *at, *plug)
    mine.write_text("1 / 0")
    assert "fails when it is loaded" in refusal("resume", "own", *at, *plug)
    mine.write_text(text)
    done = visiontune("resume", "own", *at, *plug)
    assert done.returncode == 0, done.stderr
    assert output("status", "own", *at, *plug)["trials"]["COMPLETE"] == trials
    assert visiontune("report", "own", *at, *plug).returncode == 0
    assert "worst_recall" in (runs / "own" / "report" / "report.html").read_text()
    found = tracked(runs)
    assert found.names == sorted(record.key for record in RunDirectory(runs / "own").records())
    bundle = mine.parent / "bundle"
    said = output("export", "own", *at, *plug, "--out", bundle, "--register", "own")
    assert said["test_accuracy"] > 0.2
    assert "- needs plug-in `mine` (SHA-256 " in (bundle / "README.md").read_text()
    assert "needs plug-in mine" in refusal("evaluate", bundle, "--dataset", "digits")
    judged = output("evaluate", bundle, *plug, "--dataset", "stripes:60")
    assert judged["accuracy"] == said["test_accuracy"]
    picture = mine.parent / "x.png"
    Image.fromarray(np.full((32, 32), 60, np.uint8)).save(picture)
    answer = output("predict", bundle, *plug, picture)
    assert set(answer[0]["scores"]) == {"dark", "grey", "light"}
    assert served(runs, picture) == [{"class": answer[0]["class"], "scores": answer[0]["scores"]}]


def served(runs: Path, picture: Path) -> Any:
    """What the registered model says, loaded where there is neither visiontune nor the plug-in."""
    elsewhere = runs.parent / "elsewhere"
    elsewhere.mkdir()
    code = (
        "import sys, json, mlflow, pandas as pd, warnings; warnings.simplefilter('ignore');"
        f"mlflow.set_tracking_uri('sqlite:///{runs / 'mlflow.db'}');"
        "model = mlflow.pyfunc.load_model('models:/own@best');"
        f"said = model.predict(pd.DataFrame({{'image': [open({str(picture)!r}, 'rb').read()]}}));"
        "print('\\n' + json.dumps(said))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], cwd=elsewhere, capture_output=True, text=True,
        timeout=PATIENCE, check=False, env={**os.environ, "PYTHONPATH": ""},
    )  # fmt: skip
    shutil.rmtree(elsewhere)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])
