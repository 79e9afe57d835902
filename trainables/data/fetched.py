"""A dataset at a URI: this machine's own copy of it, fetched once and again only where it has
changed there.

Copies lie in ``VISIONTUNE_DATA``, by default ``~/.cache/visiontune/data``, one folder a URI, and
stay until somebody removes them.
"""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from spaces.errors import DatasetError
from trainables.data.names import passed_over
from trainables.io.files import alone, read_json, remove, write_whole
from trainables.io.remote import AT_A_TIME, ListedFile, Remote, read_file

INDEX = "index.json"
"""Beside the copy: name to [size, written there], of every file that the copy has in full."""


def fetched_folder(uri: str) -> Path:
    """A folder of this machine that holds exactly the files below ``uri``.

    Raises:
        DatasetError: if nothing lies there, or a name would leave the folder.
        RemoteError: if the URI cannot be read.
    """
    remote = Remote(uri)
    there = remote.files()
    if not there:
        raise DatasetError(f"folder:{uri}: nothing lies there; expected URI/train/CLASS/*.jpg")
    for name in there:
        _refuse_leaving(uri, name)
    there = {
        name: entry for name, entry in there.items() if not any(map(passed_over, name.split("/")))
    }
    home = _home(uri)
    copy, index = home / "files", home / INDEX
    with alone(home):
        known = _known(index)
        for name in known.keys() - there.keys():
            (copy / name).unlink(missing_ok=True)
        missing = [name for name, entry in there.items() if known.get(name) != _mark(entry)]

        def fetch(name: str) -> None:
            content = remote.read(name)
            if content is not None:  # else it was removed since the listing
                write_whole(copy / name, content)

        try:
            with ThreadPoolExecutor(AT_A_TIME) as pool:
                for name, _ in zip(missing, pool.map(fetch, missing), strict=True):
                    known[name] = _mark(there[name])
        finally:  # what has come is not fetched again
            write_whole(
                index, json.dumps({name: mark for name, mark in known.items() if name in there})
            )
    return copy


def _known(index: Path) -> dict[str, Any]:
    """What the index says; nothing where it is not there or damaged: all is fetched again."""
    try:
        found = read_json(index)
    except (OSError, ValueError):
        found = None
    if isinstance(found, dict):
        return found
    for path in (index, index.parent / "files"):  # files of a copy that nobody knows any more
        remove(path)
    return {}


def fetched_file(uri: str) -> Path:
    """A file of this machine with the content of the file at ``uri``.

    Raises:
        OSError: if there is none; RemoteError, if it cannot be read.
    """
    home = _home(uri)
    path = home / "files" / PurePosixPath(uri.partition("?")[0]).name
    with alone(home):
        write_whole(path, read_file(uri))
    return path


def _mark(entry: ListedFile) -> list[int]:
    return [entry.size, entry.written]


def _refuse_leaving(uri: str, name: str) -> None:
    if {"..", ".", ""} & set(name.split("/")) or "\0" in name:
        raise DatasetError(f"folder:{uri}: {name!r} would lie outside the folder; rename it there")


def own_place() -> Path:
    """Where this machine keeps copies."""
    return Path(
        os.environ.get("VISIONTUNE_DATA") or Path.home() / ".cache" / "visiontune" / "data"
    ).absolute()


def _home(uri: str) -> Path:
    return own_place() / hashlib.sha256(uri.encode()).hexdigest()[:16]
