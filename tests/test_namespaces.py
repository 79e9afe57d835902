"""A cluster of machines with addresses of their own, as far as one machine can be that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = 77


@pytest.mark.slow
def test_a_search_on_separate_addresses_outlives_a_node_and_its_driver() -> None:
    """Everything that nodes share must go through S3 and Ray: no path, no loopback address, no luck."""
    done = subprocess.run([sys.executable, "benchmarks/namespaces.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "NOT" not in done.stdout
