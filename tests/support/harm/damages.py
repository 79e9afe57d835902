"""Ways in which a disk, a sync client or a hand damages a file, and what every command must do:
be right, or say in one line which file it is, and leave all as it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from subprocess import CompletedProcess

Done = CompletedProcess[str]


def turned(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def other_type(path: Path) -> None:
    path.write_text("{}" if path.read_text(errors="replace").lstrip().startswith("[") else "[1]")


def newer(path: Path) -> None:
    facts = json.loads(path.read_text())
    path.write_text(
        json.dumps({**facts, "format": 99} if isinstance(facts, dict) else [{"format": 99}])
    )


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one bit turned": turned,
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a folder": lambda path: replaced(path, Path.mkdir),
    "a link to itself": lambda path: replaced(path, lambda place: place.symlink_to(place.name)),
    "another type": other_type,
    "a newer version": newer,
    "brackets without an end": lambda path: path.write_text("[" * 100_000),
    "unreadable": lambda path: path.chmod(0),
}
UNCHANGED_IF_EMPTY = {"empty", "cut in half", "one bit turned", "zeros"}
JSON_ONLY = {"another type", "a newer version", "brackets without an end"}


def damages_of(path: Path) -> Iterable[str]:
    """Those that change this file."""
    for damage in DAMAGES:
        if damage in JSON_ONLY and path.suffix != ".json":
            continue
        if damage in UNCHANGED_IF_EMPTY and not path.stat().st_size:
            continue
        if damage == "unreadable" and not os.geteuid():
            continue
        yield damage


def content(folder: Path, but: Iterable[str] = ()) -> dict[str, bytes | str]:
    """All that lies in a folder, byte for byte; links and folders by what they are."""
    found: dict[str, bytes | str] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if name not in but:
            found[name] = (
                "link" if path.is_symlink() else "folder" if path.is_dir() else path.read_bytes()
            )
    return found


WAITS = ("starting Ray", "joining Ray", "waiting for MLflow", "10 classes", "warning: ")
"""How lines begin that a command says before it refuses."""


def judge(done: Done, usual: str, path: Path, case: str, silent: bool, unnamed: bool) -> None:
    """Right, or one line that names the damaged file.

    Args:
        usual: what the command says where nothing is damaged.
        case: what was tried, for whoever reads of a failure.
        silent: nobody can tell that this file is damaged.
        unnamed: a refusal says what is wrong with what the file says.
    """
    lines = done.stderr.splitlines()
    assert "Traceback" not in done.stderr, case
    assert all(len(line) <= 500 for line in lines), case
    said = [line for line in lines if path.name in line]
    if done.returncode:
        assert done.returncode in (1, 2), case
        assert len([line for line in lines if not line.startswith(WAITS)]) == 1, case
        assert said or unnamed, case
    elif not said and not silent:
        assert done.stdout == usual, case
