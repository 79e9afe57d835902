"""Optuna's journal file, forced to disk when a trial begins and ends instead of at every word between."""

from __future__ import annotations

import json
from typing import Any

from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal._file import get_lock_file
from optuna.storages.journal._storage import JournalOperation

FORCED = {JournalOperation.CREATE_STUDY, JournalOperation.CREATE_TRIAL, JournalOperation.SET_TRIAL_STATE_VALUES}


class Journal(JournalFileBackend):
    """The same file. Some fifteen lines are written for a trial, and waiting for the disk after each was a third of the driver's time.

    A killed driver loses nothing by it: the system has what was written. A power cut may lose what
    a running trial had been given since the last line that was forced, and it is run again.
    """

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        if FORCED.intersection(log["op_code"] for log in logs):
            super().append_logs(logs)
            return
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        with get_lock_file(self._lock), open(self._file_path, "ab") as file:
            file.write(lines.encode())
