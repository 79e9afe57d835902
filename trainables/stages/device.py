"""GPUs: whether the first one works, and where stages compute."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

# cuBLAS reads it at the first of its calls in a process, and is deterministic only with it
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

CORES = "cpu"
"""Where stages compute unless they say otherwise."""


def on(device: str) -> dict[str, str]:
    """What a stage that computes on ``device`` has among its parameters: results are known by it,
    as each rounds in its own way.
    """
    return {} if device == CORES else {"device": device}


@dataclass(frozen=True)
class Card:
    """A GPU as torch sees it.

    Attributes:
        name: of the card.
        capability: its compute capability, as ``8.0``.
        problem: why networks cannot be trained on it; empty if they can.
    """

    name: str
    capability: str
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.name} (compute capability {self.capability})"


def card() -> Card:
    """This process's first GPU, after one real operation on it."""
    import torch

    if not torch.cuda.is_available():
        return Card("no GPU", "none", "torch sees no CUDA device; look at driver and container")
    capability = torch.cuda.get_device_capability()
    name, number = torch.cuda.get_device_name(), "{}.{}".format(*capability)
    kernels = torch.cuda.get_arch_list()
    if not has_kernels(capability, kernels):
        return Card(
            name,
            number,
            f"the installed torch {torch.__version__} has no kernels for compute capability "
            f"{number} (it has {', '.join(kernels)}); install a torch that has",
        )
    try:
        ones = torch.ones(64, 64, device="cuda")
        found = float((ones @ ones).sum())
    except RuntimeError as error:
        return Card(
            name, number, f"a first operation failed ({' '.join(str(error).split())[:200]})"
        )
    wrong = "" if found == 64.0**3 else f"64 × 64 ones multiplied gave {found:g}"
    return Card(name, number, wrong)


def has_kernels(capability: tuple[int, int], kernels: Iterable[str]) -> bool:
    """Whether code built for ``kernels`` runs on a GPU of ``capability``.

    Machine code (``sm_80``) runs on the same major version and this minor one or a later; PTX
    (``compute_90``) on anything later (NVIDIA, CUDA C++ Programming Guide).
    """
    for built in kernels:
        kind, _, digits = built.partition("_")
        if not (version := re.match(r"(\d+)(\d)(?!\d)", digits)):
            continue
        major, minor = int(version[1]), int(version[2])
        if kind == "sm" and major == capability[0] and minor <= capability[1]:
            return True
        if kind == "compute" and (major, minor) <= capability:
            return True
    return False
