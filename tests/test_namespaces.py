"""A cluster of machines with addresses of their own, as far as one machine can be that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SKIPPED = 77


@pytest.mark.slow
@pytest.mark.parametrize("program", ["namespaces", "documented"])
def test_what_is_said_of_a_cluster_holds_on_separate_addresses(program: str) -> None:
    """What nodes share must go through S3 and Ray, also when one dies; and what docs/cluster.md tells people to type must work."""
    done = subprocess.run([sys.executable, f"benchmarks/{program}.py"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "NOT" not in done.stdout
