"""``visiontune doctor`` on a machine: each thing that is missing is said with what to do."""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from program import ROOT, typed

from search.doctor import machine as doctor
from search.doctor.cluster_exposure import EXPOSURE
from search.doctor.versions import Pins
from spaces.errors import UserError

PINS = Pins.read()


def check(name: str, runs_dir: Path, pins: Pins = PINS) -> doctor.Check:
    return next(item for item in doctor.check_machine(runs_dir, pins) if item.name == name)


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without one, whatever this one has."""
    monkeypatch.setattr(shutil, "which", lambda name: None)


def nvidia_smi(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setattr(shutil, "which", lambda name: str(program))


def test_this_machine_has_a_word_for_each_thing_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """The tests run here, so what they need is here."""
    checks = {item.name: item for item in doctor.check_machine(tmp_path / "runs", PINS)}
    assert list(checks) == [
        "python",
        "packages",
        "cores",
        "memory",
        "gpu",
        "vlfeat",
        "weights",
        "runs directory",
        "disk",
        "shared memory",
    ]
    assert checks["vlfeat"] == doctor.Check("vlfeat", True, "cyvlfeat finds 9 descriptors")
    assert checks["gpu"].ok
    assert int(checks["cores"].said) >= 1
    assert list(tmp_path.iterdir()) == []


def test_another_python_and_other_versions_are_findings(tmp_path: Path) -> None:
    """Two versions of one package give two answers."""
    other = Pins({**PINS.packages, "numpy": "1.0.0"}, "3.9.1")
    assert not check("python", tmp_path, other).ok
    packages = check("packages", tmp_path, other)
    assert not packages.ok
    assert re.search(r"numpy is \S+, pinned 1\.0\.0; run make setup", packages.said)
    assert check("python", tmp_path, Pins(PINS.packages, "3.11.99")).ok


def test_a_library_that_does_not_load_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search would find out at its first descriptor."""

    def broken(*_: object, **__: object) -> Any:
        raise ImportError("libvl.so: cannot open shared object file")

    monkeypatch.setattr("trainables.knn.sift.dense_sift", broken)
    found = check("vlfeat", tmp_path)
    assert not found.ok
    assert "libvl.so" in found.said


def test_a_runs_directory_that_cannot_be_written_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried by writing; root may write wherever access rights say no."""

    def refuse(**_: object) -> Any:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    found = check("runs directory", tmp_path / "runs")
    assert not found.ok
    assert "Read-only file system" in found.said


def test_too_little_memory_and_disk_are_findings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container's limit is the memory there is."""
    limit = tmp_path / "memory.max"
    limit.write_text(f"{2**30}\n")
    monkeypatch.setattr(doctor, "CGROUP", limit)
    assert check("memory", tmp_path).said == "1.0 GiB free of 1.0; a search wants 4"
    monkeypatch.setattr(doctor, "LEAST_DISK_GIB", 10**9)
    assert not check("disk", tmp_path).ok


def test_a_driver_that_fails_or_a_torch_that_sees_no_gpu_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search would quietly train on cores, for days."""
    nvidia_smi(tmp_path, "exit 9", monkeypatch)
    assert "fails" in doctor._gpu()[1]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    nvidia_smi(
        tmp_path, "for n in 1 2 3 4 5 6 7 8 9; do echo 'NVIDIA H100, 81559 MiB'; done", monkeypatch
    )
    monkeypatch.setattr(doctor.sys, "executable", "/bin/true")  # type: ignore[attr-defined]
    ok, said = doctor._gpu()
    assert not ok
    assert "the driver has 9 GPUs" in said


@pytest.mark.parametrize("text", ["ray==2.60.0\n", "# python 3.11.7\nnumpy==2.4\n"])
def test_a_constraints_file_that_names_no_ray_or_python_is_refused(
    text: str, tmp_path: Path
) -> None:
    """Nothing could be compared with it."""
    (tmp_path / "constraints.txt").write_text(text)
    with pytest.raises(UserError, match="must name the image's Python"):
        Pins.read(tmp_path / "constraints.txt")


def test_the_page_names_every_check() -> None:
    """A finding's name is looked up there."""
    page = (ROOT / "docs" / "cluster.md").read_text()
    named = set(re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE))
    source = (ROOT / "search" / "doctor" / "cluster_lint.py").read_text()
    assert named == {
        "ray-schema",
        *(name for name, _ in EXPOSURE),
        *re.findall(r'^        \("([a-z-]+)", ', source, re.MULTILINE),
    }


def test_a_card_that_torch_has_no_kernels_for_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver is content with it, and so is torch until the first operation."""
    nvidia_smi(tmp_path, "echo 'Tesla P100, 16384 MiB, 580.65.06'", monkeypatch)
    python = tmp_path / "python"
    said = "Tesla P100 (compute capability 6.0)\tthe installed torch has no kernels for it"
    python.write_text(f"#!/bin/sh\nprintf '1\t13.0\t{said}\n'\n")
    python.chmod(0o755)
    monkeypatch.setattr(doctor.sys, "executable", str(python))  # type: ignore[attr-defined]
    assert doctor._gpu() == (False, said.replace("\t", ": "))
    python.write_text("#!/bin/sh\nprintf '1\t13.0\tTesla P100 (compute capability 6.0)\t\n'\n")
    ok, line = doctor._gpu()
    assert ok
    assert line.startswith("Tesla P100, 16384 MiB, 580.65.06 (name, memory, driver); Tesla P100 (")


def test_a_plug_in_has_a_line_of_its_own(tmp_path: Path) -> None:
    """Whoever asks whether a machine is ready for a search with one is told which it would be."""
    path = tmp_path / "mine.py"
    path.write_text(
        "from spaces.kinds import Objective\n"
        "def register(add):\n"
        "    add(Objective('worst', 'maximize', 'least', 4, lambda truth, found, classes: 0.5))\n"
    )
    done = typed("doctor", "--plugin", path, "--runs-dir", tmp_path / "runs")
    (line,) = [row for row in done.stdout.splitlines() if "plug-in" in row]
    assert line.startswith("ok      plug-in: plug-in mine adds ")
    assert "worst (SHA-256 " in line
    assert "mine" not in typed("doctor", "--runs-dir", tmp_path / "runs").stdout
