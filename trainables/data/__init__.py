"""Datasets by SPEC: ``digits``, ``fashion-mnist[:DIR]``, ``cifar10[:DIR]``, ``folder:DIR``,
``npz:FILE``.
"""

from __future__ import annotations

from trainables.data.dataset import Dataset, Images, Split
from trainables.data.options import ReadOptions
from trainables.data.spec import absolute_spec, read_dataset

__all__ = [
    "Dataset",
    "Images",
    "ReadOptions",
    "Split",
    "absolute_spec",
    "read_dataset",
]
