"""Every look at the test images of a run: counted, kept and shown, since whoever looks twice could choose by it."""

from __future__ import annotations

import json
import time
from typing import Any

from analysis.bundle_facts import Measured
from analysis.records import TrialRecord
from analysis.run_directory import RunDirectory
from trainables.files import read_json, write_whole

FILE = "test_scores.json"


def looks(run: RunDirectory) -> list[dict[str, Any]]:
    """``trial``, ``time`` (seconds since the epoch), ``accuracy``, of each, oldest first; ``n`` and ``scheme`` too, but in runs of old."""
    path = run.path / FILE
    return list(read_json(path)) if path.is_file() else []


def count_look(run: RunDirectory, record: TrialRecord, test: Measured) -> None:
    entry = {"trial": record.key, "time": time.time(), "accuracy": test.accuracy, "n": test.n, "scheme": test.scheme}
    write_whole(run.path / FILE, json.dumps([*looks(run), entry], indent=1))
