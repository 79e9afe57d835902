"""What a program does to its files, in the order in which it does it: a power cut keeps the
beginning of that and loses the rest.
"""

from __future__ import annotations

import builtins
import io
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Deed:
    """One thing done to a file below the folder that is watched.

    Attributes:
        what: ``write`` (opened to be written anew), ``append``, ``change`` (opened to be changed in
            place), ``force`` (to the disk), ``name`` (given this name), ``remove``.
        file: below the folder; ``x~`` is the temporary file of ``x``, and a folder ends with ``/``.
        size: bytes that it has at that moment, before what an ``append`` adds.
    """

    what: str
    file: str
    size: int = 0


@dataclass
class FileOrder:
    """Watches a folder: what is opened for writing through ``open``, forced, renamed and removed is
    noted and done as always.

    Attributes:
        deeds: in order.
    """

    root: Path
    deeds: list[Deed] = field(default_factory=list)

    def start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Watch until the test ends."""
        opened, fsync, removers = (
            builtins.open,
            os.fsync,
            {name: getattr(os, name) for name in ("unlink", "remove")},
        )

        def open_(file: Any, mode: str = "r", *more: Any, **others: Any) -> Any:
            what = (
                "append"
                if "a" in mode
                else "change"
                if "+" in mode and "r" in mode
                else "write"
                if set("wx") & set(mode)
                else ""
            )
            if what and not isinstance(file, int):
                self._note(what, file)
            return opened(file, mode, *more, **others)

        def fsync_(descriptor: Any) -> None:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            fsync(number)
            self._note("force", os.readlink(f"/proc/self/fd/{number}"))

        def renaming(name: str) -> Any:
            rename = getattr(os, name)

            def rename_(source: Any, target: Any, **others: Any) -> None:
                rename(source, target, **others)
                self._note("name", target)

            return rename_

        def removing(name: str) -> Any:
            def remove_(path: Any, **others: Any) -> None:
                removers[name](path, **others)
                if "dir_fd" not in others:
                    self._note("remove", path)

            return remove_

        for module in (builtins, io):
            monkeypatch.setattr(module, "open", open_)
        monkeypatch.setattr(os, "fsync", fsync_)
        for name in ("rename", "replace"):
            monkeypatch.setattr(os, name, renaming(name))
        for name in removers:
            monkeypatch.setattr(os, name, removing(name))

    def _note(self, what: str, path: Any) -> None:
        place = Path(os.fsdecode(path)).absolute()
        if not place.is_relative_to(self.root):
            return
        name = place.relative_to(self.root).as_posix()
        name = re.sub(r"(^|/)\.([^/]+)\.[0-9a-f]{8}$", r"\1\2~", name)
        there = place.is_file()
        self.deeds.append(
            Deed(what, name + "/" if place.is_dir() else name, place.stat().st_size if there else 0)
        )

    def files(self) -> list[str]:
        """The files that were written, appended to or removed (``-x``), in order; again and again
        is once, and folders are left out.
        """
        names: list[str] = []
        for deed in self.deeds:
            name = f"-{deed.file}" if deed.what == "remove" else deed.file.removesuffix("~")
            if not name.endswith("/") and names[-1:] != [name]:
                names.append(name)
        return names

    def whole(self, file: str) -> bool:
        """Whether ``file`` was last written aside, forced to the disk, then named, and then its
        name forced, with nothing between.
        """
        begun = max(
            (at for at, deed in enumerate(self.deeds) if deed == Deed("write", f"{file}~")),
            default=None,
        )
        if begun is None:
            return False
        size, folder = (self.root / file).stat().st_size, f"{Path(file).parent.as_posix()}/"
        wanted = [
            Deed("write", f"{file}~"),
            Deed("force", f"{file}~", size),
            Deed("name", file, size),
            Deed("force", folder),
        ]
        return self.deeds[begun : begun + len(wanted)] == wanted

    def kept(self, file: str) -> bool:
        """Whether ``file`` was only ever added to, and the last thing that was done to it was to
        force all of it to the disk.
        """
        done = [deed for deed in self.deeds if deed.file.removesuffix("~") == file]
        return {deed.what for deed in done} == {"append", "force"} and done[-1] == Deed(
            "force", file, (self.root / file).stat().st_size
        )
