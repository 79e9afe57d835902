"""Thousands of inputs that a generator spoilt: each is answered rightly or refused in a line
(``fuzz_inputs`` says what is asked).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_inputs import KINDS, put_good, wrong
from program import ROOT, WITH_SUPPORT

COUNTS = {
    "plan": 800, "options": 500, "npz": 500, "knn-bundle": 400, "cnn-bundle": 200,
    "embedding-bundle": 150, "ensemble-bundle": 300, "served": 200, "request": 300, "table": 400,
    "csv": 300, "parquet": 300, "image": 300,
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_spoilt_inputs_are_answered_in_a_line(tmp_path: Path, kind: str) -> None:
    """What a stranger or a bad disk made of a file must never be a traceback."""
    put_good(tmp_path)
    spoilt = {seed: wrong(KINDS[kind](random.Random(seed), tmp_path)) for seed in range(12)}
    assert {seed: complaint for seed, complaint in spoilt.items() if complaint} == {}


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "count"), COUNTS.items())
def test_thousands_of_spoilt_inputs_are_answered_in_a_line(
    tmp_path: Path, kind: str, count: int
) -> None:
    """The same, often enough to find what nobody thought of; in a process of its own, which a crash
    may end.
    """
    words = [
        sys.executable,
        ROOT / "tests/support/harm/fuzz_inputs.py",
        kind,
        "1000",
        str(count),
        tmp_path,
    ]
    environment = {**os.environ, "PYTHONPATH": WITH_SUPPORT}
    done = subprocess.run(
        words, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1400, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    *complaints, last = done.stdout.splitlines()
    assert complaints == []
    assert int(last.split()[1]) < 500, last
