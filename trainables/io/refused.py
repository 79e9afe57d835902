"""What is said when the operating system refuses a file: which, why, and what to do about it."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

from spaces.errors import UserError, on_one_line

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
TO_DO = {
    errno.EACCES: "give yourself the right to it, or name another place",
    errno.EPERM: "give yourself the right to it, or name another place",
    errno.EROFS: "what it lies on is mounted read-only: name another place",
    errno.ENOENT: "it was moved or deleted, maybe just now: put it back, or name another",
    errno.EIO: "the disk or the network drive that it lies on fails",
    errno.EMFILE: "allow more open files: ulimit -n 4096",
    errno.ENFILE: "end some of what runs on this machine",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "it is a link that leads back to itself: remove it",
    errno.EISDIR: "a folder lies where a file belongs: move it away",
    errno.ENOTDIR: "a file lies where a folder belongs: move it away",
    errno.ENOMEM: "there is no memory left: run less at once",
}


def refused(error: OSError) -> str:
    """One line on what the operating system refused: which file, why, and what to do; of a run's
    own file, how to go on.
    """
    why = error.strerror or str(error) or type(error).__name__
    name = error.filename2 or error.filename  # of a rename, the name that was wanted
    if not isinstance(name, str | bytes):
        kind = "the disk is full, see df -h" if error.errno in FULL else type(error).__name__
        return f"{kind}: {on_one_line(why)}"
    path = Path(os.fsdecode(name))
    if error.errno in FULL:
        needed = error.__dict__.get("needed", 0)
        wants = f"{amount(needed)} to be written, " if needed else ""
        said = f"{path} cannot be written ({why}): {_no_room(error, path, wants)}"
    else:
        said = f"{path} cannot be used ({why}); {TO_DO.get(error.errno or 0, 'look at it')}"
    run = next((parent for parent in path.parents if _is_file(parent / "plan.yaml")), None)
    return (
        f"{said}; what is finished is kept: then go on with visiontune resume {run}"
        if run
        else said
    )


def told(error: BaseException) -> str:
    """Any error in a line: what a user is meant to read as it is, what the system refused, and the
    kind of everything else.
    """
    if isinstance(error, UserError):
        return " ".join(str(error).split())
    return (
        refused(error)
        if isinstance(error, OSError)
        else f"{type(error).__name__}: {on_one_line(error)}"
    )


def _no_room(error: OSError, path: Path, wants: str) -> str:
    if error.errno == errno.EFBIG:
        return (
            f"no file may become so large here ({wants}see ulimit -f, or the file system's "
            "own limit)"
        )
    if error.errno == errno.EDQUOT:
        return f"your quota is used up ({wants}see quota); delete something of yours"
    place = next((parent for parent in path.parents if parent.is_dir()), Path("/"))
    if os.statvfs(place).f_favail == 0 and os.statvfs(place).f_files:
        return "no more files fit on its disk (no inode is free, see df -i); delete some"
    return (
        f"its disk is full ({wants}{amount(shutil.disk_usage(place).free)} free); make "
        "room, as with visiontune cache clear"
    )


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def amount(size: float) -> str:
    """Bytes in words."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{int(size)} {unit}"
        size /= 1024
    return f"{size:,.1f} GiB"
