"""Optuna's journal file, forced to disk when a trial begins and ends instead of at every word between."""

from __future__ import annotations

import json
from typing import Any

from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import BaseJournalFileLock
from optuna.storages.journal._storage import JournalOperation

FORCED = {JournalOperation.CREATE_STUDY, JournalOperation.CREATE_TRIAL, JournalOperation.SET_TRIAL_STATE_VALUES}


class _OneWriter(BaseJournalFileLock):
    """No lock: a run has one driver at a time, which holds the kernel's lock on the run, and nobody else writes its journal."""

    def acquire(self) -> bool:
        return True

    def release(self) -> None:
        pass


class Journal(JournalFileBackend):
    """The same file. Some fifteen lines are written for a trial, and waiting for the disk after each was a third of the driver's time.

    Optuna's lock file beside the journal, made and removed for every line, was another tenth.

    A killed driver loses nothing by it: the system has what was written. A power cut may lose what
    a running trial had been given since the last line that was forced, and it is run again.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, lock_obj=_OneWriter())

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if FORCED.intersection(log["op_code"] for log in logs):
            super().append_logs(logs)
            return
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with open(self._file_path, "ab") as file:
            file.write(lines.encode())
