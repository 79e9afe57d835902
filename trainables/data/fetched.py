"""A dataset at a URI: what this machine knows of its files, and those of them that it was asked
for, fetched once and again only where they have changed there.

Copies lie in ``VISIONTUNE_DATA``, by default ``~/.cache/visiontune/data``, one folder a URI, and
stay until somebody removes them. A file that nobody asked for is an empty one there, so that a
folder can be looked through before anything is fetched.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from spaces.errors import DatasetError
from trainables.data.names import passed_over
from trainables.io.files import alone, read_json, remove, write_whole
from trainables.io.remote import AT_A_TIME, ListedFile, Remote, read_file

INDEX = "index.json"
"""Beside the copy: name to [size, written there], of every file that the copy has in full, and to
nothing of every other.
"""


@dataclass(frozen=True)
class Copy:
    """A folder of this machine with a file for each that lies below a URI.

    Attributes:
        uri: the folder there.
        home: of the copy and its index.
        there: what lies below the URI, by name.
    """

    uri: str
    home: Path
    there: dict[str, ListedFile]

    @property
    def files(self) -> Path:
        """The folder; files that have not been fetched are empty in it."""
        return self.home / "files"

    def fetch(self, names: Iterable[str] | None = None) -> Path:
        """The folder, with the content of the files of these names, or of all.

        Raises:
            RemoteError: if they cannot be read.
        """
        remote, index = Remote(self.uri), self.home / INDEX
        with alone(self.home):
            known = _known(index)
            missing = [
                name
                for name in (self.there if names is None else names)
                if known.get(name) != _mark(self.there[name])
            ]

            def fetch(name: str) -> None:
                content = remote.read(name)
                if content is not None:  # else it was removed since the listing
                    write_whole(self.files / name, content)

            try:
                with ThreadPoolExecutor(AT_A_TIME) as pool:
                    for name, _ in zip(missing, pool.map(fetch, missing), strict=True):
                        known[name] = _mark(self.there[name])
            finally:  # what has come is not fetched again
                if missing:
                    write_whole(index, json.dumps(known))
        return self.files


def copy_of(uri: str, named: Collection[str] | None = None, whose: str = "") -> Copy:
    """What lies below ``uri``; nothing is fetched yet.

    Args:
        named: look at no others than these.
        whose: keep a copy of its own for this; else the URI's.

    Raises:
        DatasetError: if nothing lies there, or a name would leave the folder.
        RemoteError: if the URI cannot be read.
    """
    there = Remote(uri).files()
    if named is not None:
        there = {name: there[name] for name in named if name in there}
    elif not there:
        raise DatasetError(f"folder:{uri}: nothing lies there; expected URI/train/CLASS/*.jpg")
    for name in there:
        _refuse_leaving(uri, name)
    there = {
        name: entry
        for name, entry in there.items()
        if named is not None or not any(map(passed_over, name.split("/")))
    }
    found = Copy(uri, _home(whose or uri), there)
    copy, index = found.files, found.home / INDEX
    with alone(found.home):
        before = _known(index)
        for name in before.keys() - there.keys():
            (copy / name).unlink(missing_ok=True)
            _remove_empty((copy / name).parent, copy)
        now = {
            name: mark if (mark := before.get(name)) == _mark(entry) else None
            for name, entry in there.items()
        }
        for name in now.keys() - before.keys() | {n for n in now if now[n] != before.get(n)}:
            path = copy / name
            remove(path)  # it may have been a folder
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        if now != before:
            write_whole(index, json.dumps(now))
    return found


def _remove_empty(folder: Path, root: Path) -> None:
    """Remove folders up to ``root`` that nothing lies in: there are none at a URI."""
    with contextlib.suppress(OSError):
        while folder != root:
            folder.rmdir()
            folder = folder.parent


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


def fetched_file(spec: str, uri: str) -> Path:
    """A file of this machine with the content of the file at ``uri``.

    Raises:
        DatasetError: if there is none; RemoteError, if it cannot be read.
    """
    home = _home(uri)
    path = home / "files" / PurePosixPath(uri.partition("?")[0]).name
    with alone(home):
        try:
            content = read_file(uri)
        except FileNotFoundError:
            raise DatasetError(f"{spec}: no such file") from None
        write_whole(path, content)
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
