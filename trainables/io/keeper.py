"""Checkpoints beside the steps of a trial: copied between two steps, written by a thread meanwhile.

A copy is taken when the next step is asked for, never sooner: only then has the driver written down
the one before, so no checkpoint is ahead of what is on record.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from spaces.errors import on_one_line
from trainables.io.checkpoint import MANIFEST
from trainables.io.remote import Remote, is_uri, join_place, remove_place, write_file

SHARE = 0.05
"""Of a trial's time that copying and writing its checkpoints may take."""
MOST_SECONDS = 60.0
"""After so long one is written whatever it costs."""
COPIED = 0.01
"""A copy that takes less than this share of a step is taken before each, for a trial that is
stopped.
"""
KEPT = 2
"""Whole checkpoints of a trial that stay: the last may be damaged."""
Files = Callable[[], Mapping[str, bytes]]
"""Makes the files of a checkpoint, by name, from a copy of the state; the manifest is the last."""


class Keeper:
    """Writes the checkpoints of one trial, in order, one at a time.

    Args:
        place: path or URI of the folder that they lie in.
    """

    def __init__(self, place: str) -> None:
        self._place, self._there = place, kept_in(place)
        self._copy: Files | None = None
        self._thread: threading.Thread | None = None
        self._copying, self._cost, self._last = 0.0, 0.0, -math.inf
        self.trouble = ""

    def places(self) -> list[str]:
        """Path or URI of each checkpoint that is there, whole or not."""
        return [join_place(self._place, name) for name in self._there]

    def offer(self, snapshot: Callable[[], Files], step_seconds: float) -> None:
        """Copy the state where that is cheap or a checkpoint is due, and have one written that is.

        Args:
            snapshot: copies the state.
            step_seconds: that the step before took.
        """
        began = time.monotonic()
        waited = began - self._last
        busy = self._thread is not None and self._thread.is_alive()
        due = not busy and waited >= min(MOST_SECONDS, self._cost / SHARE)
        if not due and self._copying > COPIED * step_seconds:
            return
        self._copy = snapshot()
        self._copying = time.monotonic() - began
        if due:
            self._last = began
            copy, self._copy = self._copy, None
            self._thread = threading.Thread(target=self._write, args=(copy,), daemon=True)
            self._thread.start()

    def close(self, last: bool = False) -> None:
        """Wait for what is being written.

        Args:
            last: write the latest copy too: the trial is stopped, and is to go on from there.
        """
        if self._thread is not None:
            self._thread.join()
        if last and self._copy is not None:
            self._write(self._copy)
        self._copy = None

    def _write(self, copy: Files) -> None:
        began = time.monotonic()
        try:
            files = copy()
            name = f"checkpoint_{json.loads(files[MANIFEST])['step']:06d}"
            folder = join_place(self._place, name)
            if name in self._there:  # of a worker that died, whole or not
                self._there.remove(name)
                remove_place(folder)
            for file, content in files.items():
                write_file(join_place(folder, file), content)
            self._there.append(name)
            while len(self._there) > KEPT:
                remove_place(join_place(self._place, self._there.pop(0)))
        except Exception as error:  # the trial goes on: what it finds may still be written
            self.trouble = on_one_line(error)
        self._cost = self._copying + time.monotonic() - began


def kept_in(place: str) -> list[str]:
    """Names of the checkpoints, whole or not, in a folder at a path or URI; the oldest first."""
    names = (
        Remote(place).folders()
        if is_uri(place)
        else [path.name for path in Path(place).glob("checkpoint_*")]
    )
    return sorted(name for name in names if name.startswith("checkpoint_"))
