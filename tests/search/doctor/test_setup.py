"""The set-up script says what is missing and what to type, and touches nothing it may not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from program import ROOT

TOOLS = ("sh", "tr", "mktemp", "rm", "tail", "cat")


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder of commands for PATH: a bare machine without compiler, apt-get or root."""
    for tool in TOOLS:
        (tmp_path / tool).symlink_to(
            next(p for d in ("/bin", "/usr/bin") if (p := Path(d) / tool).exists())
        )
    add(tmp_path, "id", "echo 1000")
    return tmp_path


def add(machine: Path, name: str, script: str) -> None:
    (machine / name).write_text(f"#!/bin/sh\n{script}\n")
    (machine / name).chmod(0o755)


def setup(machine: Path, python: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": str(machine)}
    return subprocess.run(
        ["/bin/sh", str(ROOT / "setup-system.sh"), python],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_root_it_says_what_to_type(machine: Path) -> None:
    """Whoever is not root needs the exact command, not a permission error."""
    add(machine, "apt-get", "exit 99")
    done = setup(machine, "no-such-python")
    assert done.returncode == 1
    assert (
        "sudo apt-get update && sudo apt-get install -y python3.11 python3.11-venv "
        "python3.11-dev gcc libc6-dev"
    ) in done.stderr


def test_on_another_system_it_names_what_is_missing(machine: Path) -> None:
    """There is no apt-get on Fedora; the names still tell what to look for."""
    done = setup(machine, sys.executable)
    assert done.returncode == 1
    assert "this is not Debian" in done.stderr
    assert "gcc" in done.stderr


def test_a_failing_apt_get_is_told_with_its_own_reason(machine: Path) -> None:
    """The reason of a failed step must not be swallowed."""
    add(machine, "id", "echo 0")
    add(machine, "apt-get", "echo 'E: no network today'; exit 100")
    done = setup(machine, sys.executable)
    assert done.returncode == 1
    assert "no network today" in done.stderr
    assert "run make again to carry on" in done.stderr


def test_where_nothing_is_missing_it_does_nothing(machine: Path) -> None:
    """A second set-up must not ask apt-get for anything."""
    add(machine, "apt-get", "exit 99")
    add(machine, "cc", "exit 0")
    header = Path("/usr/include/vl/dsift.h")
    if not header.exists():
        pytest.skip(f"{header} is missing: VLFeat is installed elsewhere here")
    assert setup(machine, sys.executable).returncode == 0
