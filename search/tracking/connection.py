"""A client of MLflow's: quiet, quick to give up, and known to have answered."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from pathlib import Path
from typing import Any

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
    one process.
    """
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    runs_dir.mkdir(parents=True, exist_ok=True)
    with open(runs_dir / ".mlflow.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        client = mlflow.MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client
