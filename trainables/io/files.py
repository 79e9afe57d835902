"""Files as this program writes them: whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import io
import itertools
import json
import math
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:  # numpy is loaded where an array is read or written: many commands need none
    import numpy.typing as npt

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}")
"""What is being written, under a name of its own; whoever writes it holds a kernel lock on it."""


LONGEST_NAME = 255
"""Bytes that file systems allow."""


def temporary_name(path: Path) -> Path:
    """Beside ``path``, hidden, and like no other: for what is to become ``path`` by a rename."""
    return path.with_name(f"{_hidden(path)}{uuid.uuid4().hex[:8]}")


def _hidden(path: Path) -> str:
    """How the temporary names of ``path`` begin; a long one is cut, so that there is room."""
    start = os.fsencode(path.name)[: LONGEST_NAME - 10].decode(errors="ignore")
    kept = path.name if len(os.fsencode(path.name)) <= LONGEST_NAME - 10 else start
    return f".{kept}."


def write_whole(
    path: Path, content: str | bytes, *, forced: bool = True, within: Path | None = None
) -> None:
    """Write ``path`` so that it is there whole or not at all, whenever the process dies.

    Args:
        forced: on the disk before it has its name, or a power cut could leave the name without the
            content; and its name before this returns, or what is written next could be there
            without it. For what is checked when it is read, and can be made again, it costs more
            than it is worth.
        within: a folder above ``path`` that is not made if it is gone.

    What text cannot be in UTF-8, as of a file's name that is none, is written as JSON and Python
    would write it: ``\\udcNN``.

    Raises:
        OSError: if it cannot be written; FileNotFoundError if ``within`` is gone.
    """
    data = content.encode(errors="backslashreplace") if isinstance(content, str) else content
    make_folder(path.parent, within, forced=forced)
    temporary = temporary_name(path)
    try:
        with _writing(path, len(data)), open(temporary, "wb") as file:
            hold(file)
            file.write(data)
            file.flush()
            if forced:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        if forced:
            force_names(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(folder: Path, within: Path | None = None, *, forced: bool = True) -> None:
    """Make ``folder`` and those above it, where they are not there yet.

    Args:
        within: a folder above it that is not made, nor what is above that, if it is gone.
        forced: on the disk before this returns.

    Raises:
        FileNotFoundError: if ``within`` is gone.
    """
    missing = list(
        itertools.takewhile(
            lambda place: place != within and not place.exists(), (folder, *folder.parents)
        )
    )
    for place in reversed(missing):
        with contextlib.suppress(FileExistsError):
            place.mkdir()
        if forced:
            force_names(place.parent)


def force_names(folder: Path) -> None:
    """Force to the disk which files are in ``folder``, and by what names; nothing where its file
    system cannot.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def hold(file: IO[bytes] | int) -> None:
    """Mark an open file or folder as being written, until it is closed; a dead process marks
    nothing.
    """
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold a lock on ``folder`` (made if it is missing) while the block runs. Other processes of
    this machine that ask for it wait until the block ends.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def left_behind(folder: Path, of: Path | None = None) -> Iterator[Path]:
    """Temporary files and folders right in ``folder`` that nobody writes any more: their process
    was killed.

    Args:
        of: only those that were to become this one.
    """
    start = _hidden(of) if of else "."
    with contextlib.suppress(OSError):
        for path in [
            path
            for path in folder.iterdir()
            if path.name.startswith(start) and TEMPORARY.fullmatch(path.name)
        ]:
            with contextlib.suppress(OSError):
                descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    yield path
                finally:
                    os.close(descriptor)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it, if it can be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def set_aside(path: Path) -> Path:
    """Move what cannot be used out of the way; returns where it is kept."""
    number, aside = 1, path.with_name(f"{path.name}.damaged")
    while aside.is_symlink() or aside.exists():
        number += 1
        aside = path.with_name(f"{path.name}.damaged-{number}")
    os.rename(path, aside)
    return aside


def append_lines(path: Path, lines: str, *, forced: bool = True) -> None:
    """Add whole ``lines`` to the end of a file that this process alone writes: all of them or none.

    What a full disk took of them is taken back, or whatever is added later, once there is room
    again, would go on in the middle of a line. A killed process can leave half a line:
    :func:`cut_half_line`.

    Args:
        forced: on the disk before this returns, the name of a new file too, so that a power cut
            does not take it.

    Raises:
        OSError: if they cannot be written; the file is then as it was.
    """
    new = forced and not path.exists()
    data = lines.encode()
    with _writing(path, len(data)), open(path, "ab", buffering=0) as file:
        before = os.fstat(file.fileno()).st_size
        left = memoryview(data)
        try:
            while left:
                left = left[file.write(left) :]
            if forced:
                os.fsync(file.fileno())
        except BaseException:
            file.truncate(before)
            raise
    if new:
        force_names(path.parent)


def cut_half_line(path: Path) -> None:
    """Remove what follows the last line end of a file that is only appended to, line by line."""
    if not path.is_file():
        return
    with open(path, "r+b") as file:
        end = file.seek(0, 2)
        position = end
        while position > 0:
            start = max(0, position - 65536)
            file.seek(start)
            found = file.read(position - start).rfind(b"\n")
            if found >= 0:
                position = start + found + 1
                break
            position = start
        if position < end:
            file.truncate(position)


def npy_bytes(array: npt.NDArray[Any]) -> bytes:
    """``array`` as the bytes of an npy file."""
    import numpy as np

    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def read_npy(path: Path) -> npt.NDArray[Any]:
    """The array in an npy file, never a pickle.

    What its header says is compared with the size of the file before memory is taken: one turned
    bit may ask for a terabyte.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is not a whole npy file.
    """
    import numpy as np

    with open(path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read_header = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, _, dtype = read_header(file)
            there = os.fstat(file.fileno()).st_size - file.tell()
            wanted = math.prod(shape) * dtype.itemsize
        except Exception as error:  # a damaged header can make numpy raise anything
            raise ValueError(f"{path}: no npy file") from error
        if dtype.hasobject or wanted != there:
            raise ValueError(
                f"{path}: no whole npy file: {wanted:,} bytes of {dtype} {shape} are said to "
                f"follow, but there are {there:,}"
            )
        file.seek(0)
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def sha256(path: Path) -> str:
    """The SHA-256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """What a file of JSON says.

    Raises:
        ValueError: if it is none, or one without an end.
    """
    try:
        return json.loads(path.read_bytes())
    except RecursionError:
        raise ValueError("nested deeper than anything that was written") from None


@contextlib.contextmanager
def _writing(path: Path, size: int) -> Iterator[None]:
    """Have what the system refuses in the block name the file, and how many bytes it was to get,
    for ``trainables.io.refused``.
    """
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        error.__dict__["needed"] = size
        raise
