"""Files as this program writes them: whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def write_whole(path: Path, content: str | bytes, *, forced: bool = True) -> None:
    """Write ``path`` so that it is there whole or not at all, whenever the process dies.

    Args:
        forced: on the disk before it has its name, or a power cut could leave the name without the content; and its
            name before this returns, or what is written next could be there without it. For what is checked when it
            is read, and can be made again, it costs more than it is worth.
    """
    data = content.encode() if isinstance(content, str) else content
    make_folder(path.parent, forced=forced)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with _writing(path, len(data)), open(temporary, "wb") as file:
            file.write(data)
            if forced:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if forced:
            force_names(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def make_folder(folder: Path, *, forced: bool = True) -> None:
    """Make ``folder`` and those above it, where they are not there yet.

    Args:
        forced: on the disk before this returns.
    """
    missing = list(itertools.takewhile(lambda place: not place.exists(), (folder, *folder.parents)))
    folder.mkdir(parents=True, exist_ok=True)
    if forced:
        for place in reversed(missing):
            force_names(place.parent)


def force_names(folder: Path) -> None:
    """Force to the disk which files are in ``folder``, and by what names; nothing where its file system cannot."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def append_lines(path: Path, lines: str, *, forced: bool = True) -> None:
    """Add whole ``lines`` to the end of a file that this process alone writes: all of them or none.

    What a full disk took of them is taken back, or whatever is added later, once there is room
    again, would go on in the middle of a line. A killed process can leave half a line:
    :func:`cut_half_line`.

    Args:
        forced: on the disk before this returns, the name of a new file too, so that a power cut does not take it.

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
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())


@contextlib.contextmanager
def _writing(path: Path, size: int) -> Iterator[None]:
    """Have what the system refuses in the block name the file, and how many bytes it was to get, for ``trainables.refused``."""
    try:
        yield
    except OSError as error:
        error.filename = str(path)
        error.__dict__["needed"] = size
        raise
