"""Checkpoint folders: JSON and arrays, never a pickle, and a manifest that tells whether all of it
is there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from trainables.io.files import read_json

MANIFEST = "manifest.json"
STATE = "state.json"


def write_state(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write ``state`` (JSON values) beside whatever files the caller has put into ``folder``, and
    then the manifest.

    Args:
        step: steps done so far: the next one has this index.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / STATE).write_text(json.dumps(state))
    write_manifest(folder, step)


def write_manifest(folder: Path, step: int) -> None:
    """Say that ``folder`` is a whole checkpoint after ``step`` steps, with the files that are in it
    now.
    """
    (folder / MANIFEST).write_bytes(manifest(step, files_of(folder)))


def manifest(step: int, files: Mapping[str, bytes]) -> bytes:
    """What says that ``files``, by name, are a whole checkpoint after ``step`` steps."""
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return json.dumps({"step": step, "files": digests}).encode()


def files_of(folder: Path) -> dict[str, bytes]:
    """Content of every file of a checkpoint but its manifest, by name."""
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.iterdir())
        if path.is_file() and not path.name.startswith(".") and path.name != MANIFEST
    }


def read_state(folder: Path) -> tuple[int, dict[str, Any]]:
    """(steps done, the state) of a whole checkpoint.

    Raises:
        ValueError: if part of it is missing or damaged.
    """
    step = steps_done(folder)
    if step is None:
        raise ValueError(f"{folder}: not a whole checkpoint")
    return step, read_json(folder / STATE)


def steps_done(folder: Path) -> int | None:
    """Steps done at a checkpoint; None if it is not whole."""
    try:
        manifest = read_json(folder / MANIFEST)
        whole = all(
            _digest(folder / Path(name).name) == digest
            for name, digest in manifest["files"].items()
        )
        return int(manifest["step"]) if whole else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def latest(folders: Iterable[Path]) -> Path | None:
    """The whole checkpoint with the most steps done, if there is one."""
    whole = [
        (step, str(folder), folder)
        for folder in folders
        if (step := steps_done(folder)) is not None
    ]
    return max(whole)[2] if whole else None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
