"""A client of MLflow's: quiet, quick to give up, and known to have answered."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import Any

from analysis.plan.addresses import sqlite_file
from trainables.io.files import force_names, hold, left_behind, remove, temporary_name

SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # MLflow's own block for minutes, and make runs twice
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # our output may be JSON
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}
"""MLflow's environment, unless the user has set it otherwise."""


class Heard:
    """A client that notes when it was last answered (``at``)."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self.at = time.monotonic()

    def __getattr__(self, name: str) -> Any:
        call = getattr(self._client, name)

        def noted(*arguments: Any, **named: Any) -> Any:
            found = call(*arguments, **named)
            self.at = time.monotonic()
            return found

        return noted


def connect(uri: str, runs_dir: Path) -> Any:
    """An MLflow client at ``uri``, quiet and quick to give up; a new sqlite file is made first, by
    one process, and appears whole.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    file = sqlite_file(uri)
    place = file.resolve().parent if file else runs_dir
    place.mkdir(parents=True, exist_ok=True)
    with open(place / ".mlflow.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if file:
            _make(file.resolve())
        client = mlflow.MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def _make(file: Path) -> None:
    """Make MLflow's sqlite file, where it is not there: under another name, for MLflow takes dozens
    of steps to make one, and cannot use what was killed among them.
    """
    import mlflow

    for path in left_behind(file.parent, of=file):
        remove(path)
    if file.exists() and not _half_made(file):
        return
    folder = temporary_name(file)
    folder.mkdir()
    marked = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        hold(marked)
        mlflow.MlflowClient(f"sqlite:///{folder / file.name}").search_experiments(max_results=1)
        os.replace(folder / file.name, file)
        force_names(file.parent)
    finally:
        os.close(marked)
        shutil.rmtree(folder, ignore_errors=True)


def _half_made(file: Path) -> bool:
    """Whether whoever was making it was killed: one that is whole has an experiment."""
    if not file.stat().st_size:
        return True
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(
            sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, timeout=1)
        ) as database,
    ):
        names = database.execute("select name from sqlite_master where type = 'table'")
        there = {name for (name,) in names} & {"runs", "registered_models"}
        return "runs" in there and not any(
            database.execute(f"select 1 from {name} limit 1").fetchone()
            for name in ("experiments", *sorted(there))
        )
    return False
