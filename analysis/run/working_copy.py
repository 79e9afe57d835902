"""A runs directory at a URI: what lies there, and the folder of this machine that stands for it.

Commands work on folders. For a URI that is its **working copy**, a folder whose file ``.remote``
names the URI. A driver writes its run into the working copy and ``search.driver.mirror`` sends on
what changes; on any other machine what changed since the last look is fetched before a command
reads it. Weights and checkpoints are written to the URI by the trials themselves, wherever they
run.

Whose copy is the newer one is told by the run's **lease** at the URI, ``driver.json``: which
working copy the last driver wrote into, and when it last said that it lives.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from analysis.run.sealed import RunError
from spaces.errors import on_one_line
from trainables.io.files import read_json, write_whole
from trainables.io.remote import AT_A_TIME, Remote

NOTE = ".remote"
INDEX = ".remote-index.json"
"""In a run of a working copy: name to [written there, size here, written here] of what was last
known to be equal.
"""
LEASE = "driver.json"
LEASE_SECONDS = 30.0
"""After which a driver that said nothing is taken for dead on other machines."""
OWN = {"lock", "plan.lock", "stop", LEASE, "outbox/sent.json"}
"""What is said of one machine, or of one working copy, and is neither sent nor fetched."""
FOLDERS = ("outbox", "replicas", "report", "start", "trials")
REPLICAS = "replicas"
"""A folder of a run that is one itself."""
WEIGHTS = re.compile(r"trials/[^/]+/\d+/weights/[^/]+")
END = re.compile(r"trials/[^/]+/\d+/end/[^/]+")
"""Of a population: workers alone need it."""


@dataclass(frozen=True)
class Lease:
    """What a run's last driver said of itself.

    Attributes:
        copy: identity of the working copy that it wrote into.
        time: when it said so, Unix seconds.
        ended: it has ended, and all it wrote is at the URI.
    """

    copy: str
    node: str
    pid: int
    time: float
    ended: bool = False

    @property
    def fresh(self) -> bool:
        return not self.ended and time.time() - self.time < LEASE_SECONDS


@dataclass(frozen=True)
class WorkingCopy:
    """A runs directory at a URI.

    Attributes:
        folder: of this machine, that stands for it.
        identity: of the folder, among all that stand for it anywhere.
    """

    folder: Path
    remote: Remote
    identity: str

    def names(self) -> list[str]:
        """The runs there."""
        return [name for name in self.remote.folders() if not name.startswith(".")]

    def has(self, name: str) -> bool:
        return self.remote.read(f"{name}/plan.yaml") is not None

    def lease(self, name: str) -> Lease | None:
        content = self.remote.read(f"{name}/{LEASE}")
        try:
            return Lease(**json.loads(content)) if content else None
        except (ValueError, TypeError, RecursionError):
            return None

    def write_lease(self, name: str, ended: bool) -> None:
        lease = Lease(self.identity, os.uname().nodename, os.getpid(), time.time(), ended)
        self.remote.write(f"{name}/{LEASE}", json.dumps(asdict(lease)).encode())

    def elsewhere(self, name: str) -> Lease | None:
        """The lease of a driver that lives and writes into another working copy."""
        lease = self.lease(name)
        return lease if lease is not None and lease.copy != self.identity and lease.fresh else None

    def fetch(self, name: str, driver_here: bool) -> None:
        """Bring the folder of a run up to what lies at the URI, where that is the newer one.

        Args:
            driver_here: a driver writes into this copy now: it lacks nothing but weights.

        Raises:
            RemoteError: if the URI cannot be read.
        """
        run, lease = self.folder / name, self.lease(name)
        ours = driver_here or (
            (run / "plan.yaml").is_file() and (lease is None or lease.copy == self.identity)
        )
        source, known = self.remote.child(name), read_index(run)
        there = {
            file: entry
            for folder in FOLDERS
            for file, entry in source.files(folder).items()
            if not END.fullmatch(file)
        }
        if ours:
            there = {file: entry for file, entry in there.items() if WEIGHTS.fullmatch(file)}
        else:
            there |= {
                file: entry
                for file, entry in source.files(recursive=False).items()
                if file not in OWN
            }
        missing = [
            file
            for file, entry in there.items()
            if known.get(file, [0])[0] != entry.written or not (run / file).is_file()
        ]

        def bring(file: str) -> tuple[str, list[int]] | None:
            content = source.read(file)
            if content is None:
                return None
            write_whole(run / file, content)
            about = (run / file).stat()
            return file, [there[file].written, about.st_size, about.st_mtime_ns]

        # the plan last: it stands for all of it
        first, last = (
            [file for file in missing if file != "plan.yaml"],
            [file for file in missing if file == "plan.yaml"],
        )
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            brought = [found for found in pool.map(bring, first) if found]
        brought += [found for found in map(bring, last) if found]
        if not ours and (run / "plan.yaml").is_file():
            for file in set(sendable(run)) - set(there):
                (run / file).unlink(missing_ok=True)
            known = {file: facts for file, facts in known.items() if file in there}
        if brought or not ours:
            write_index(run, known | dict(brought))


def working_copy(uri: str) -> Path:
    """The folder of this machine that stands for the runs directory at ``uri``; made if it is not
    there.

    In ``VISIONTUNE_WORK``, by default ``~/.cache/visiontune/runs``.

    Raises:
        RemoteError: for a URI that nothing here can read.
    """
    remote = Remote(uri.rstrip("/"))
    parent = Path(
        os.environ.get("VISIONTUNE_WORK") or Path.home() / ".cache" / "visiontune" / "runs"
    ).absolute()
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", uri.partition("?")[0]).strip("-")[-60:]
    folder = parent / f"{plain}-{hashlib.sha256(remote.uri.encode()).hexdigest()[:8]}"
    note = folder / NOTE
    if not note.is_file():
        write_whole(note, json.dumps({"uri": remote.uri, "copy": uuid.uuid4().hex[:12]}))
    return folder


def copy_of(runs_dir: Path) -> WorkingCopy | None:
    """What ``runs_dir`` stands for; None if it is a folder like any other."""
    try:
        facts = read_json(runs_dir / NOTE)
        uri, copy = str(facts["uri"]), str(facts["copy"])
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise RunError(
            f"{runs_dir / NOTE}: does not say which URI this folder stands for "
            f"({on_one_line(error)}); remove it, and name the URI as --runs-dir again"
        ) from None
    return WorkingCopy(runs_dir.absolute(), Remote(uri), copy)


def shown(runs_dir: Path) -> str:
    """A runs directory as it was typed: its URI, or its path."""
    copy = copy_of(runs_dir)
    return f"'{copy.remote.uri}'" if copy else str(runs_dir)


def remote_of(run: Path) -> Remote | None:
    """Where the folder of a run, of its replicas, or of all runs is mirrored to; None if it is
    not.
    """
    if copy := copy_of(run):
        return copy.remote
    if run.name == REPLICAS:
        outer = remote_of(run.parent)
        return outer.child(REPLICAS) if outer else None
    copy = copy_of(run.parent)
    return copy.remote.child(run.name) if copy else None


def place_of(run: Path) -> str:
    """The path or URI by which trials, wherever they run, reach the folder of a run, or of all
    runs.
    """
    remote = remote_of(run)
    return remote.uri if remote else str(run)


def sendable(run: Path) -> dict[str, tuple[int, int]]:
    """Name to (size, written, nanoseconds) of every file of a run that belongs at the URI; Tune's
    own folder is there already.
    """
    found: dict[str, tuple[int, int]] = {}
    waiting = [run] if run.is_dir() else []
    while waiting:
        with contextlib.suppress(FileNotFoundError), os.scandir(waiting.pop()) as entries:
            for entry in entries:
                name = os.path.relpath(entry.path, run)
                if entry.name.startswith(".") or name in OWN:
                    continue
                if entry.is_dir():
                    if name not in ("tune", f"{REPLICAS}/tune", "requests"):
                        waiting.append(Path(entry.path))
                    continue
                with contextlib.suppress(FileNotFoundError):
                    about = entry.stat()
                    found[name] = (about.st_size, about.st_mtime_ns)
    return found


def read_index(run: Path) -> dict[str, list[int]]:
    try:
        index = read_json(run / INDEX)
    except (OSError, ValueError):
        return {}
    return index if isinstance(index, dict) else {}


def write_index(run: Path, index: dict[str, Any]) -> None:
    write_whole(run / INDEX, json.dumps(index))
