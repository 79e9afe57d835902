"""A bundle used where nothing is installed but the packages that it names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from program import PATIENCE, ROOT

CODE = """
import json, re, sys
from importlib import metadata
from importlib.machinery import PathFinder

def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()

def with_needs(names):
    from packaging.requirements import Requirement  # which is among what every environment has
    found, waiting = set(), [plain(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            for line in metadata.requires(name) or ():
                need = Requirement(line)
                if need.marker is None or need.marker.evaluate({"extra": ""}):
                    waiting.append(plain(need.name))
    return found

class OnlyNamed:
    owners = {
        top: {plain(owner) for owner in owners}
        for top, owners in metadata.packages_distributions().items()
    }
    named = with_needs(json.loads(sys.argv[1])) | {"visiontune"}

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        owners = cls.owners.get(name.partition(".")[0])
        unnamed = owners and not owners & cls.named
        return None if unnamed else PathFinder.find_spec(name, path, target)

sys.meta_path[:] = [OnlyNamed if finder is PathFinder else finder for finder in sys.meta_path]
for name in [name for name in sys.modules if name.partition(".")[0] in OnlyNamed.owners]:
    del sys.modules[name]
sys.argv = ["visiontune", *sys.argv[2:]]
from search.cli import main
main()
"""


def evaluated(bundle: Path, dataset: str) -> dict[str, Any]:
    """What ``evaluate --json`` says of ``bundle`` in a process that can import its named packages,
    and what these need, alone.
    """
    names = [
        name
        for name in json.loads((bundle / "bundle.json").read_text())["versions"]
        if name != "python"
    ]
    command = [
        sys.executable,
        "-c",
        CODE,
        json.dumps(names),
        "evaluate",
        str(bundle),
        "--dataset",
        dataset,
        "--json",
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, done.stderr
    # packages may say something of those that they do not find
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found
