"""What is asked of every node of a cluster before a trial runs there: the same software, and the
same storage.
"""

from __future__ import annotations

import importlib
import platform
import uuid
from collections.abc import Sequence
from typing import Any

from analysis.run.provenance import software, software_changes
from spaces import plugins
from spaces.errors import on_one_line
from trainables.io.remote import join_place, read_file, remove_place, write_file
from trainables.stages.device import card

IMPORTS = (
    "ray",
    "numpy",
    "search.cluster.tune_adapters",
    "trainables.worker",
    "trainables.stages.registry",
)
"""What any trial imports."""
SHARED = "give a --runs-dir that all nodes share, or a URI"


class Probe:
    """The questions of one search: a file that the driver puts on the storage, and its own
    software.

    Args:
        runs: path or URI of the runs directory.
        imports: what its learners need beside that.
        gpu: whether trials use GPUs where a node has some.
    """

    def __init__(self, runs: str, imports: Sequence[str] = (), gpu: bool = False) -> None:
        self._place = join_place(runs, f".preflight-{uuid.uuid4().hex[:8]}")
        self.gpu = gpu
        self._imports = (*IMPORTS, *imports)
        self._runs, self._software, self._word = runs, software(), uuid.uuid4().hex
        write_file(join_place(self._place, "driver"), self._word.encode())

    def questions(self) -> tuple[str, str, Sequence[str]]:
        """What ``answer`` is called with on a node."""
        return self._place, self._word, self._imports

    def complaint(self, found: dict[str, Any], node: str) -> str:
        """What is wrong with a node that answered ``found``; empty if nothing is."""
        if found["problem"]:
            return found["problem"]
        if differing := software_changes(self._software, found["software"], "the driver's is"):
            return "; ".join(differing)
        try:
            same = read_file(join_place(self._place, node)) == found["wrote"].encode()
        except OSError:
            same = False
        return (
            "" if same else f"what it writes to {self._runs} cannot be read by the driver; {SHARED}"
        )

    def close(self) -> None:
        remove_place(self._place)


def answer(
    place: str, word: str, imports: Sequence[str], node: str, gpu: bool = False
) -> dict[str, Any]:
    """Runs on the node: imports, reads the driver's probe file and writes one of its own, named
    ``node``; says what it runs, and on which ``gpu``, after one operation there.
    """
    found: dict[str, Any] = {
        "problem": "",
        "card": "",
        "wrote": f"{platform.node()} {uuid.uuid4().hex}",
        "software": {},
    }
    try:
        for name in imports:
            importlib.import_module(name)
    except Exception as error:  # a library may fail in any way when it is loaded
        return found | {
            "problem": f"{name} cannot be imported ({type(error).__name__}: {on_one_line(error)})"
        }
    if gpu:
        first = card()
        found["card"] = str(first)
        if first.problem:
            return found | {"problem": f"its GPU cannot be used: {first}: {first.problem}"}
    if problem := plugins.there()[1]:
        return found | {"problem": problem}
    try:
        if read_file(join_place(place, "driver")) != word.encode():
            raise OSError("the driver's probe file has another content there")
        write_file(join_place(place, node), found["wrote"].encode())
    except (OSError, ValueError) as error:
        return found | {
            "problem": f"the runs directory cannot be used there ({on_one_line(error)}); {SHARED}"
        }
    return found | {"software": software()}
