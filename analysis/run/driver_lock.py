"""The lock of a run's driver: the kernel holds it for the process, so a dead one holds nothing."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path


def take_lock(run: Path) -> int | None:
    """A file descriptor to keep open, or None if a live driver on this machine has the lock."""
    descriptor = os.open(run / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    for _ in range(20):  # somebody who only looks holds it for an instant
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return descriptor
        except BlockingIOError:
            time.sleep(0.05)
    os.close(descriptor)
    return None


def is_locked(run: Path) -> bool:
    """Whether a driver on this machine works on the run now."""
    try:
        descriptor = os.open(run / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
