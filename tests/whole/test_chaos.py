"""A search that is killed at random moments, in every way, ends as if it had not been."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import visiontune

from benchmarks.chaos import CASES, KINDS, run

SEED = int(os.environ.get("VISIONTUNE_CHAOS_SEED", "0"))
"""The same kills each time, so that what fails can be looked at; another number brings other
kills.
"""


def test_one_kill_of_each_kind_loses_nothing(tmp_path: Path) -> None:
    """What is left after a kill is repaired by resume: nothing lost, nothing twice, nothing running
    for ever.
    """
    kinds = list(KINDS)
    random.Random(SEED).shuffle(kinds)
    found = run(kinds, 40, tmp_path, seed=SEED)
    assert found["sessions"] >= 3, "the search was over before the kills"


@pytest.mark.slow
def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    """Rare moments need many tries."""
    kinds = list(KINDS) * 5
    random.Random(SEED).shuffle(kinds)
    assert run(kinds, 200, tmp_path, seed=SEED)["sessions"] >= 8


@pytest.mark.slow
@pytest.mark.parametrize("case", [case for case in CASES if case != "toy"])
def test_one_kill_of_each_kind_loses_nothing_of_other_searches(tmp_path: Path, case: str) -> None:
    """Populations, shared stages, several spaces in one budget, changes, warm starts and Tune's
    schedulers stand on the same records.
    """
    kinds = list(KINDS)
    random.Random(SEED).shuffle(kinds)
    assert run(kinds, 40, tmp_path, SEED, case)["case"] == case


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB, which only root can make."""
    place = tmp_path / "disk"
    place.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {made.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_gives_one_line_and_keeps_what_was_written(small_disk: Path) -> None:
    """A disk runs full at 3 a.m.; in the morning there must be one clear line, and every finished
    trial.
    """
    words = (
        "--space",
        "toy",
        "--set",
        "pause=0.0",
        "--trials",
        5000,
        "--no-tracking",
        "--name",
        "full",
        "--runs-dir",
        small_disk,
    )
    done = visiontune("run", *words)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("visiontune:")]
    assert len(lines) == 1, done.stderr
    assert "No space left on device" in lines[0]
    assert "Traceback" not in done.stderr
    before = len(list((small_disk / "full").glob("trials/*/*/result.json")))
    assert before > 3
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    extended = (
        (small_disk / "full" / "plan.yaml")
        .read_text()
        .replace("trials: 5000", f"trials: {before + 5}")
    )
    (small_disk / "full" / "plan.yaml").write_text(extended)
    again = visiontune("resume", "full", "--runs-dir", small_disk)
    assert again.returncode == 0, again.stderr
    assert len(list((small_disk / "full").glob("trials/*/*/result.json"))) >= before + 5


def test_a_read_only_runs_directory_is_refused_in_one_line(small_disk: Path) -> None:
    """Found out before the work, not after it."""
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    done = visiontune("run", "--space", "toy", "--trials", 3, "--runs-dir", small_disk)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        (
            f"visiontune: runs directory {small_disk} cannot be written (Read-only file system); "
            "give another --runs-dir"
        )
    ]
