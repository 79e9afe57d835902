"""The folder of Ray's sockets and logs, looked at before Ray is started: Ray needs a minute to find
out, or never says.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

SOCKET_BYTES = 107
"""Longest path of a socket that Linux takes."""
BELOW = "/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""What Ray puts below the folder at most."""
NEEDED = 32 * 2**20
"""Bytes that must be free: a search of an hour has a few MB of logs."""


def _setting() -> str:
    """The variable that says where the folder is to be, as Ray reads it; empty if none does."""
    return next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), "")


def ray_folder() -> Path:
    """Absolute: Ray's processes do not all start in the same place."""
    return Path(os.environ.get(_setting()) or "/tmp").absolute() / "ray"


def ray_folder_problem() -> str:
    """Why Ray could not start in its folder, in one line that says what to set; empty if it could.
    Leaves nothing behind.
    """
    folder, name = ray_folder(), _setting()
    place = folder.parent
    most = SOCKET_BYTES - len(BELOW)
    if (length := len(os.fsencode(place))) > most:
        return (
            f"Ray keeps its sockets below {name} {place}, whose {length} bytes are too many for "
            "them; "
            f"set RAY_TMPDIR to a folder whose path has at most {most}, such as RAY_TMPDIR=/tmp"
        )
    try:
        with tempfile.TemporaryFile(
            dir=next(there for there in (folder, *folder.parents) if there.exists())
        ) as probe:
            os.posix_fallocate(probe.fileno(), 0, NEEDED)
    except OSError as error:
        return (
            f"Ray keeps its sockets and logs in {folder}, where a file of {NEEDED // 2**20} MiB "
            f"cannot be written ({error.strerror}); "
            "set RAY_TMPDIR to a folder with room, such as RAY_TMPDIR=/var/tmp"
        )
    return ""
