"""A cluster of machines with addresses of their own, as far as one machine can be that."""

from __future__ import annotations

import subprocess
import sys

import pytest
from program import ROOT

SKIPPED = 77


def holds(*words: str) -> None:
    """Run one of the programs in benchmarks/, all of which must hold; skips where no namespaces can
    be made, saying why.
    """
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout.strip())
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "ok " in done.stdout
    assert "NOT" not in done.stdout


def test_a_search_runs_on_separate_addresses() -> None:
    """On one address a node reaches what no other machine would: a file by its path, a port on
    loopback.
    """
    holds("benchmarks/cluster/namespaces.py", "--quick")


@pytest.mark.slow
@pytest.mark.parametrize("program", ["namespaces", "documented"])
def test_what_is_said_of_a_cluster_holds_on_separate_addresses(program: str) -> None:
    """What nodes share must go through S3 and Ray, also when one dies; and what docs/cluster.md
    tells people to type must work.
    """
    holds(f"benchmarks/cluster/{program}.py")
