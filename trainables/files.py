"""Files as this program writes them: whole or not at all."""

from __future__ import annotations

import io
import json
import os
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


def write_whole(path: Path, content: str | bytes, *, forced: bool = True) -> None:
    """Write ``path`` so that it is there whole or not at all, whenever the process dies.

    Args:
        forced: on the disk before it has its name, or a power cut could leave the name without the content; for
            what is checked when it is read, and can be made again, it costs more than it is worth.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            if forced:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def append_lines(path: Path, lines: str, *, forced: bool = True) -> None:
    """Add whole ``lines`` to the end of a file that this process alone writes: all of them or none.

    What a full disk took of them is taken back, or whatever is added later, once there is room
    again, would go on in the middle of a line. A killed process can leave half a line:
    :func:`cut_half_line`.

    Args:
        forced: on the disk before this returns, so that a power cut does not take it.

    Raises:
        OSError: if they cannot be written; the file is then as it was.
    """
    with open(path, "ab", buffering=0) as file:
        before = os.fstat(file.fileno()).st_size
        left = memoryview(lines.encode())
        try:
            while left:
                left = left[file.write(left) :]
            if forced:
                os.fsync(file.fileno())
        except BaseException:
            file.truncate(before)
            raise


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
