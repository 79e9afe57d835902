"""A process that is killed just before any of the things that it does to files leaves nothing that
cannot be gone on from.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from program import ROOT, WITH_SUPPORT


def killed(action: str, folder: Path, every: int) -> str:
    """Everything that is wrong; empty if nothing is."""
    words = [
        sys.executable,
        str(ROOT / "tests/support/harm/killed_at.py"),
        action,
        str(folder),
        str(every),
    ]
    environment = {**os.environ, "PYTHONPATH": WITH_SUPPORT}
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1400, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "killed" in done.stderr
    return done.stdout


@pytest.mark.parametrize(("action", "every"), [("run", 37), ("resume", 29)])
def test_a_kill_now_and_then_loses_and_doubles_nothing(
    tmp_path: Path, action: str, every: int
) -> None:
    """Kills come at any moment: no dead end, nothing lost, twice or left behind."""
    assert killed(action, tmp_path, every) == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "every"),
    [
        *((action, 1) for action in ("run", "resume", "rebuild", "extend", "report", "export")),
        *((f"{action}-db", 1) for action in ("run", "resume", "rebuild", "extend")),
        ("sync", 1),
        ("sync-lost", 3),
        ("sync-new", 25),
        ("export-network", 2),
        ("export-onnx", 5),
    ],
)
def test_a_kill_at_every_write_loses_and_doubles_nothing(
    tmp_path: Path, action: str, every: int
) -> None:
    """The same at all of them."""
    assert killed(action, tmp_path, every) == ""
