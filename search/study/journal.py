"""Optuna's journal file, forced to disk when a trial begins and ends instead of at every word
between.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from optuna.storages.journal import JournalFileBackend

from search.study.optuna_internals import TURNS
from trainables.io.files import append_lines


class Journal(JournalFileBackend):
    """The same file. Some fifteen lines are written for a trial, and waiting for the disk after
    each was a third of the driver's time.

    Optuna's lock file beside the journal, made and removed for every line, was another tenth, and
    guards nothing here: a run has one driver at a time, which holds the kernel's lock on the run,
    and nobody else writes its journal.

    A killed driver loses nothing by it: the system has what was written. A power cut may lose what
    a running trial had been given since the last line that was forced, and it is run again.
    A full disk keeps no half of a line, after which Optuna could read nothing any more.

    Args:
        forced: False where whoever writes it forces the whole file.
    """

    def __init__(self, path: str, forced: bool = True) -> None:
        super().__init__(path)
        self._path = Path(path)
        self._forced = forced

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        append_lines(
            self._path,
            lines,
            forced=self._forced and bool(TURNS.intersection(log["op_code"] for log in logs)),
        )
