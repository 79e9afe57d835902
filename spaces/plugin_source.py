"""The source of a plug-in: where it is, and the SHA-256 by which it is known."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from spaces.errors import UserError


class PluginError(UserError):
    """A plug-in that cannot be used, or that is needed and not there."""


def installed_source(name: str) -> Path | None:
    """The source of an installed module, the whole of its package if it has one."""
    top = name.partition(".")[0]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError, AttributeError):
        return None
    if spec is None or not spec.origin or not Path(spec.origin).is_file():
        return None
    return Path(spec.origin).parent if spec.submodule_search_locations else Path(spec.origin)


def source_sha256(source: Path) -> str:
    """Of a file, or of all Python files of a folder with their names."""
    if source.is_file():
        return hashlib.sha256(source.read_bytes()).hexdigest()
    found = hashlib.sha256()
    for path in sorted(source.rglob("*.py")):
        name = path.relative_to(source).as_posix().encode()
        found.update(name + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()
