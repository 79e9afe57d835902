"""The log of a run's drivers."""

from __future__ import annotations

import logging
from pathlib import Path


class _Quiet(logging.FileHandler):
    """A log that falls silent when its disk is full: what stopped the search is told by the
    search.
    """

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  # logging's name
        """Nothing: logging itself would print a traceback."""


def log_to(path: Path) -> None:
    """Send our log to the run's driver.log, and nowhere else."""
    ours = logging.getLogger("visiontune")
    for old in list(ours.handlers):
        ours.removeHandler(old)
        old.close()
    handler = _Quiet(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
