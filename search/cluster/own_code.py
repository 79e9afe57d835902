"""That whoever runs our tasks runs the code of the program that sends them, and not other packages
of the same names.
"""

from __future__ import annotations

import site
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

from analysis.run.provenance import LAYERS, ROOT
from spaces import plugins

Code = dict[str, tuple[str, str]]
"""Of each of our packages, by name, the folder that it is imported from (empty if there is none)
and a digest of its source.
"""


def first_folders() -> list[str]:
    """Where workers are to look for modules first: in the folder of our packages, unless every
    Python here looks there anyway.
    """
    anyway = {*site.getsitepackages(), site.getusersitepackages(), *sysconfig.get_paths().values()}
    return [] if str(ROOT) in {str(Path(folder).resolve()) for folder in anyway} else [str(ROOT)]


def with_plugins() -> dict[str, Any] | None:
    """Ray's description of an environment in which workers have loaded the plug-ins that this
    process has, from a copy of their source; None if there are none.
    """
    if not plugins.loaded():
        return None
    return {
        "py_modules": [str(plugin.source) for plugin in plugins.loaded()],
        "env_vars": {plugins.WANTED: plugins.wanted()},
        "worker_process_setup_hook": f"{plugins.__name__}.{plugins.load_wanted.__name__}",
    }


def looker() -> Callable[[], Code]:
    """A function that tells the code of the process that calls it.

    It is made here so that it is sent by value: a process that imports other packages for ours must
    be able to run it.
    """
    layers = LAYERS

    def code() -> Code:
        import hashlib
        import importlib.util
        from pathlib import Path

        found = {}
        for name in layers:
            spec = importlib.util.find_spec(name)
            folder = next(iter(spec.submodule_search_locations or ()), "") if spec else ""
            digest = hashlib.sha256()
            for path in sorted(Path(folder).rglob("*.py")) if folder else ():
                digest.update(
                    f"{path.relative_to(folder).as_posix()}\0".encode() + path.read_bytes() + b"\0"
                )
            found[name] = folder, digest.hexdigest()
        return found

    return code


def difference(theirs: Code) -> str:
    """What is wrong with the code of a process that answered ``theirs``, naming both places; empty
    if it is the code of this one.
    """
    for name, (place, digest) in looker()().items():
        folder, other = theirs.get(name, ("", ""))
        if other != digest:
            return (
                f"{name} would be run from {folder}, with other code than {place}"
                if folder
                else f"{name} of {place} is not found there"
            )
    return ""
