"""Datasets by SPEC: ``digits``, ``fashion-mnist[:DIR]``, ``cifar10[:DIR]``, ``folder:DIR``,
``npz:FILE``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainables.data.options import ReadOptions
from trainables.data.spec import absolute_spec, read_dataset

if TYPE_CHECKING:
    from trainables.data.dataset import Dataset, Images, Split

__all__ = [
    "Dataset",
    "Images",
    "ReadOptions",
    "Split",
    "absolute_spec",
    "read_dataset",
]


def __getattr__(name: str) -> Any:
    """Load the types of images when they are asked for: who reads a plan needs no numpy."""
    if name not in ("Dataset", "Images", "Split"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trainables.data import dataset

    return getattr(dataset, name)
