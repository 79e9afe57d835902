"""Memory that a process asks for, frees and asks for again, batch after batch.

glibc hands blocks of more than 32 MB back to the system as soon as they are freed, and gets them
again page by page, each set to zero: for a network that sees images on cores that is as much work
as the network itself (mallopt(3), ``M_MMAP_THRESHOLD``).
"""

from __future__ import annotations

import ctypes
import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MALLOPT = {-3: 2**30, -1: 2**31 - 1, -2: 2**26, -8: 1}
"""Of mallopt(3): from how many bytes a block is the system's own (``M_MMAP_THRESHOLD``), how many
free ones are kept (``M_TRIM_THRESHOLD``), how many more than needed are asked for at a time
(``M_TOP_PAD``), and how many heaps there are for threads (``M_ARENA_MAX``): those beside the first
one hold no large blocks.
"""
SOON = 1.0
"""Seconds: whoever is done sooner keeps what is free, which takes some hundredths to give back."""


def keep_memory() -> None:
    """Have this process keep what it frees; nothing where another C library has no such options, or
    whoever started the process has chosen them (``MALLOC_…``, ``GLIBC_TUNABLES``).
    """
    set_option = _function("mallopt")
    if set_option is None or any(name.startswith(("MALLOC_", "GLIBC_TUN")) for name in os.environ):
        return
    for option, value in MALLOPT.items():
        set_option(option, value)


@contextmanager
def kept_memory() -> Iterator[None]:
    """What is freed in the block is kept until its end."""
    keep_memory()
    began = time.monotonic()
    try:
        yield
    finally:
        if time.monotonic() - began > SOON:
            return_memory()


def return_memory() -> None:
    """Give the system what this process keeps and does not use."""
    if trim := _function("malloc_trim"):
        trim(0)


@functools.cache
def _function(name: str) -> Callable[..., int] | None:
    try:
        return getattr(ctypes.CDLL(None), name, None)
    except (OSError, TypeError):  # a system that has no such library
        return None
