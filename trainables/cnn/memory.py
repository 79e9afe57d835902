"""Memory of a device: how many images at once, and in which words there turns out to be too
little.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainables.stages.allocation import return_memory

if TYPE_CHECKING:
    from trainables.cnn.data import Streamed

EVALUATED = 500
"""Images judged at a time where they are small; the same everywhere, so that the same network gives
the same bits.
"""
EVALUATED_PIXELS = EVALUATED * 64 * 64
"""Of images judged at a time: larger ones come in smaller batches."""
WORDS = (
    "out of memory",
    "allocate memory",
    "STATUS_ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",
)
"""How CUDA, cuBLAS, cuDNN and the C library say it; the last is what cuBLAS says when it finds no
room for its own workspace.
"""


class TrainingError(RuntimeError):
    """A training that cannot go on; the message is one line."""


class ShortageError(TrainingError):
    """A training for which there is too little memory."""


def evaluated_at_once(images: Tensor | Streamed) -> int:
    """How many of (n, channels, height, width) images are judged at a time."""
    return max(1, min(EVALUATED, EVALUATED_PIXELS // (images.shape[-2] * images.shape[-1])))


def free(device: torch.device) -> int:
    """Bytes of a device's memory that nobody uses."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    import psutil  # which a classifier in use does without

    return int(psutil.virtual_memory().available)


def is_shortage(error: BaseException) -> bool:
    """Whether an exception says that memory did not suffice."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in WORDS)


@contextmanager
def shortage_named(device: torch.device, model: str, batch: int, parts: int) -> Iterator[None]:
    """Say how large a batch of which model was on which device where memory did not suffice.

    Raises:
        ShortageError: in place of what the libraries say.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_shortage(error):
            raise
        cut = f" in {parts} parts" if parts > 1 else ""
        raise ShortageError(
            f"out of memory on {device} with batch size {batch}{cut} ({model}): "
            "lower batch_size or width, or run fewer trials at once"
        ) from error


def cap(share: float) -> None:
    """Let this process take no more of its GPU than ``share`` of it, 0..1: trials that share a card
    must not take each other's memory.
    """
    torch.cuda.set_per_process_memory_fraction(min(1.0, share))


def give_back() -> None:
    """Give memory back that nothing holds any more, a GPU's too: this process may wait long for its
    next trial.
    """
    gc.collect()
    return_memory()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
