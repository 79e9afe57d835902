"""Sends a run's folder on to its URI while a driver writes it, from a thread that nothing waits
for.

What lies at the URI is at any moment what a kill might have left on a disk, some seconds ago:
``search.ledger.recovery`` mends it. That is a matter of order. The driver writes a trial's record,
then the study's journal, then the outbox; so these are read in the other order and sent in this
one, and every trial that the journal calls finished has its record there by then. Records may be
ahead of the journal: ``recovery`` tells the study what it lacks, and drops what is of trials that
it does not know.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from analysis.run.directory import RunDirectory
from analysis.run.working_copy import (
    LEASE_SECONDS,
    WEIGHTS,
    WorkingCopy,
    copy_of,
    read_index,
    sendable,
    write_index,
)
from search.ledger.outbox import Outbox
from trainables.io.files import write_whole
from trainables.io.remote import AT_A_TIME, RemoteError

logger = logging.getLogger("visiontune.mirror")
PAUSE = 1.0
"""Seconds between two rounds, and as long as the last round took three times over: it shall take a
quarter of the time at most.
"""
PATIENCE = 120.0
"""Seconds that a search that has ended waits for its URI."""
FACTS = "outbox/facts.jsonl"
LATE = ("study.journal", FACTS)
"""Sent after the rest, in this order, as they were before it was looked at."""
STATE = "state.json"
"""Sent last: it says how the rest stands."""


class Mirror(threading.Thread):
    """Sends what changes until it is closed.

    Args:
        folder: of the run, in a working copy; this process holds its lock.
        copy: the working copy.
        say: told once when the URI cannot be reached, and once when it can again.
    """

    def __init__(self, folder: RunDirectory, copy: WorkingCopy, say: Callable[[str], None]) -> None:
        super().__init__(name="visiontune-mirror", daemon=True)
        self._folder, self._copy, self._say = folder, copy, say
        self._remote = copy.remote.child(folder.name)
        self._sent = {
            name: (size, written) for name, (_, size, written) in read_index(folder.path).items()
        }
        self._outbox = Outbox(folder.outbox)
        self._outbox.mark_mirrored(self._sent.get(FACTS, (0, 0))[0])
        self._closing = threading.Event()
        self._leased = 0.0
        self.error = ""

    def run(self) -> None:
        while True:
            began = time.monotonic()
            self._try_round()
            if self._closing.wait(PAUSE + 3 * (time.monotonic() - began)):
                return

    def catch_up(self) -> None:
        """Send what there is now, if the URI can be reached; the thread has ended after that."""
        self._closing.set()
        self.join()
        self._try_round()

    def close(self) -> str:
        """Send the rest; why that was not possible, or nothing."""
        self.catch_up()
        end = time.monotonic() + PATIENCE
        while not self._try_round(last=True) and time.monotonic() < end:
            time.sleep(PAUSE)
        return self.error

    def _try_round(self, last: bool = False) -> bool:
        try:
            self.send(last)
        except (RemoteError, OSError) as error:
            if not self.error:
                self._say(
                    f"warning: {error}; the search goes on, and what changes is kept in "
                    f"{self._folder.path}"
                )
            self.error = str(error)
            return False
        if self.error and not last:
            self._say(f"{self._copy.remote.uri} can be written again")
        self.error = ""
        return True

    def send(self, last: bool = False) -> None:
        """One round: what changed here is sent, what was asked at the URI is fetched.

        Raises:
            RemoteError: if the URI cannot be written.
        """
        if last or time.monotonic() - self._leased > LEASE_SECONDS / 3:
            self._copy.write_lease(self._folder.name, ended=False)
            self._leased = time.monotonic()
        self._take_requests()
        late = {name: self._read(name) for name in reversed(LATE)}
        there = sendable(self._folder.path)
        changed = [
            name
            for name, about in there.items()
            if self._sent.get(name) != about and not WEIGHTS.fullmatch(name)
        ]
        with ThreadPoolExecutor(AT_A_TIME) as pool:
            list(
                pool.map(
                    self._send, [name for name in changed if name not in LATE and name != STATE]
                )
            )
        for name in LATE:
            content, about = late[name]
            if about and self._sent.get(name) != about:
                self._remote.write(name, content)
                self._sent[name] = about
                if name == FACTS:
                    self._outbox.mark_mirrored(about[0])
        if STATE in changed:
            self._send(STATE)
        for name in set(self._sent) - set(there) - set(LATE):
            self._remote.delete(name)
            del self._sent[name]
        if changed or last:
            write_index(
                self._folder.path, {name: [0, *about] for name, about in self._sent.items()}
            )
        if last:
            self._copy.write_lease(self._folder.name, ended=True)

    def _read(self, name: str) -> tuple[bytes, tuple[int, int] | None]:
        """A file's content, and its size and time from before it was read: what is added meanwhile
        is seen in the next round.
        """
        path = self._folder.path / name
        try:
            about = path.stat()
            return path.read_bytes(), (about.st_size, about.st_mtime_ns)
        except FileNotFoundError:
            return b"", None

    def _send(self, name: str) -> None:
        content, about = self._read(name)
        if about:  # else it was removed meanwhile: the next round sees that
            self._remote.write(name, content)
            self._sent[name] = about

    def _take_requests(self) -> None:
        """What other machines asked of the driver becomes what this one's other terminals would
        have asked.
        """
        if self._remote.read("stop") is not None:
            self._folder.stop_file.touch()
            self._remote.delete("stop")
        for name in self._remote.files("requests"):
            content = self._remote.read(name)
            if content is not None:
                write_whole(self._folder.path / name, content)
                self._remote.delete(name)


@contextmanager
def mirrored(folder: RunDirectory, say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """Keep a run's URI up to date for the time of the block; gives what brings it up to date at
    once.

    Nothing is done where the run is kept in a folder alone.
    """
    copy = copy_of(folder.path.parent)
    if copy is None:
        yield lambda: None
        return
    mirror = Mirror(folder, copy, say)
    mirror.start()
    try:
        yield mirror.catch_up
    finally:
        error = mirror.close()
        if error:
            say(
                f"warning: {copy.remote.uri} lacks the end of this run ({error}); {folder.path} "
                f"has it: visiontune sync {folder.name}"
            )
