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


def npy_bytes(array: npt.NDArray[Any]) -> bytes:
    """``array`` as the bytes of an npy file."""
    out = io.BytesIO()
    np.save(out, array, allow_pickle=False)
    return out.getvalue()


def read_json(path: Path) -> Any:
    return json.loads(path.read_bytes())
