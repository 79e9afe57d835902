"""Nearest words through torch, for a CUDA device: what ``encoding`` does on the cores.

torch is loaded by the function, since no other part of kNN needs it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from trainables.knn.sift import GRID, Float32

Int64 = npt.NDArray[np.int64]


def word_counter(
    words: Float32, variance: float, device: str
) -> Callable[[Int64, Float32], Float32]:
    """A function from (m,) cells and (m, 128) descriptors to their (16, size) word counts.

    Args:
        variance: of soft assignment; 0 for hard.
        device: of torch. The words stay there.
    """
    import torch

    book = torch.tensor(words, device=device)
    halves = (book * book).sum(dim=1) / 2

    def counted(cells: Int64, descriptors: Float32) -> Float32:
        score = torch.tensor(descriptors, device=device) @ book.T - halves
        cell = torch.tensor(cells, device=device)
        if variance:
            shares = (score / variance).softmax(dim=1)
            found = torch.nn.functional.one_hot(cell, GRID * GRID).T.float() @ shares
        else:
            found = torch.bincount(
                cell * len(book) + score.argmax(dim=1), minlength=GRID * GRID * len(book)
            )
        counts: Float32 = found.float().cpu().numpy().reshape(GRID * GRID, len(book))
        return counts

    return counted
