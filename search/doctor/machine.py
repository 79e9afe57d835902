"""Is this machine ready for a search: what it has, what is missing, and what to type."""

from __future__ import annotations

import importlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from search.cluster.ray_folder import ray_folder_problem
from search.doctor.versions import Pins
from spaces.errors import on_one_line

LEAST_MEMORY_GIB = 4
LEAST_DISK_GIB = 5
FETCHED = "models--timm--*/snapshots/*/model.safetensors"
"""Weights of timm's in Hugging Face's cache."""
CGROUP = Path("/sys/fs/cgroup/memory.max")


@dataclass(frozen=True)
class Check:
    """One thing looked at: how it stands in words, and whether a search can go on with it."""

    name: str
    ok: bool
    said: str


def check_machine(runs_dir: Path, pins: Pins) -> list[Check]:
    """Everything about this machine that a search needs; starts nothing and leaves nothing
    behind.
    """
    checks: Sequence[tuple[str, Callable[[], tuple[bool, str]]]] = (
        ("python", lambda: _python(pins)),
        ("packages", lambda: _packages(pins)),
        ("cores", _cores),
        ("memory", _memory),
        ("gpu", _gpu),
        ("vlfeat", _vlfeat),
        ("weights", _weights),
        ("runs directory", lambda: _writable(runs_dir)),
        ("disk", lambda: _disk(runs_dir)),
        ("shared memory", _shared_memory),
    )
    return [Check(name, *look()) for name, look in checks]


def _python(pins: Pins) -> tuple[bool, str]:
    found, want = platform.python_version(), pins.python.rpartition(".")[0]
    if found.rpartition(".")[0] != want:
        return (
            False,
            f"Python is {found}; visiontune wants {want}: run make setup PYTHON=python{want}",
        )
    return (
        True,
        found
        if found == pins.python
        else f"{found} (the image has {pins.python}: do not mix the two in one cluster)",
    )


def _packages(pins: Pins) -> tuple[bool, str]:
    missing = [
        name
        for name in ("ray", "optuna", "mlflow", "torch", "torchvision", "faiss", "sklearn")
        if not importlib.util.find_spec(name)
    ]
    differing = list(pins.differences())
    if missing or differing:
        more = f" and {len(differing) - 5} more" if len(differing) > 5 else ""
        wrong = [f"{name} is not installed" for name in missing] + differing[:5]
        return False, f"{', '.join(wrong)}{more}; run make setup"
    return True, f"as constraints.txt pins them (ray {pins.ray})"


def _cores() -> tuple[bool, str]:
    usable = hasattr(os, "sched_getaffinity")
    return True, f"{len(os.sched_getaffinity(0)) if usable else os.cpu_count() or 1}"


def _memory() -> tuple[bool, str]:
    import psutil

    memory = psutil.virtual_memory()
    total, free = memory.total, memory.available
    limit = CGROUP.read_text().strip() if CGROUP.is_file() else "max"
    if limit.isdigit():
        total, free = min(total, int(limit)), min(free, int(limit))
    said = f"{free / 2**30:.1f} GiB free of {total / 2**30:.1f}"
    return (
        free >= LEAST_MEMORY_GIB * 2**30,
        said if free >= LEAST_MEMORY_GIB * 2**30 else f"{said}; a search wants {LEAST_MEMORY_GIB}",
    )


def _gpu() -> tuple[bool, str]:
    """What the driver says; torch is asked only where it says something, since loading it takes
    seconds.
    """
    program = shutil.which("nvidia-smi")
    if not program:
        return True, "none (networks are trained on cores)"
    asked = [program, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
    try:
        found = (
            subprocess.run(asked, capture_output=True, text=True, timeout=30, check=True)
            .stdout.strip()
            .splitlines()
        )
    except (OSError, subprocess.SubprocessError) as error:
        return False, f"{program} fails ({type(error).__name__}); look at the NVIDIA driver"
    code = (
        "import torch; from trainables.stages.device import card; found = card(); "
        "print(torch.cuda.device_count(), torch.version.cuda, found, found.problem, sep='\\t')"
    )
    seen = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    count, cuda, first, problem = (seen.stdout.rstrip("\n").split("\t") + [""] * 4)[:4]
    if count != str(len(found)) and "CUDA_VISIBLE_DEVICES" not in os.environ:
        return (
            False,
            f"the driver has {len(found)} GPUs, torch (CUDA {cuda or 'unknown'}) sees "
            f"{count or 'none'}; install a newer driver",
        )
    if problem:
        return False, f"{first}: {problem}"
    return True, f"{'; '.join(found)} (name, memory, driver); {first}, torch with CUDA {cuda}"


def _vlfeat() -> tuple[bool, str]:
    """Descriptors of a small image: an import alone would not find a library that does not fit."""
    import numpy as np

    from trainables.knn.sift import dense_sift

    try:
        found = dense_sift(np.zeros((32, 32), np.uint8), step=8, bin_size=3, fast=True)
    except (ImportError, OSError) as error:
        return (
            False,
            f"cyvlfeat cannot be loaded ({on_one_line(error)}); run make setup, which installs "
            "libvlfeat and builds it",
        )
    return len(found) > 0, f"cyvlfeat finds {len(found)} descriptors"


def _weights() -> tuple[bool, str]:
    """Of pretrained networks: those that packages brought, and those that were fetched."""
    from huggingface_hub import constants

    from trainables.pretrained.facts import BackboneError
    from trainables.pretrained.packaged import BACKBONES

    there, missing = [], ""
    for one in BACKBONES.values():
        try:
            one.place()
            there.append(one.name)
        except BackboneError as error:
            missing = missing or str(error)
    cache = Path(constants.HF_HUB_CACHE)
    fetched = sorted({path.parents[2].name[14:] for path in cache.glob(FETCHED)})
    there += [*fetched[:5], *([f"{len(fetched) - 5} more"] if len(fetched) > 5 else [])]
    return bool(there), f"{', '.join(there)} (other networks are fetched)" if there else missing


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(parent for parent in (folder, *folder.parents) if parent.exists())


def _writable(runs_dir: Path) -> tuple[bool, str]:
    """By writing: access rights do not tell of a file system mounted read-only."""
    place = _existing(runs_dir)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"visiontune")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return (
            False,
            f"{runs_dir} cannot be written ({error.strerror}); give another --runs-dir, or set "
            "VISIONTUNE_RUNS",
        )
    return True, f"{runs_dir} can be written"


def _disk(runs_dir: Path) -> tuple[bool, str]:
    if problem := ray_folder_problem():
        return False, problem
    free = shutil.disk_usage(_existing(runs_dir)).free / 2**30
    enough = free >= LEAST_DISK_GIB
    return (
        enough,
        f"{free:.0f} GiB free"
        if enough
        else f"{free:.1f} GiB free; a search wants {LEAST_DISK_GIB} (visiontune cache clear)",
    )


def _shared_memory() -> tuple[bool, str]:
    """Ray's results lie there; containers have 64 MiB of it unless told otherwise, and Ray then
    uses the disk.
    """
    shared = Path("/dev/shm")
    if not shared.is_dir():
        return True, "no /dev/shm; Ray uses the disk"
    size = shutil.disk_usage(shared).total / 2**30
    return (
        size >= 0.5,
        f"{size:.1f} GiB"
        if size >= 0.5
        else f"{size * 1024:.0f} MiB; start the container with --shm-size 4g",
    )
