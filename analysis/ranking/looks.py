"""Every look at the test images of a run: counted, kept and shown, since whoever looks twice could
choose by it.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from analysis.run.directory import RunDirectory, RunError
from analysis.run.notes import note
from analysis.run.records import Measured, TrialRecord
from spaces.errors import on_one_line
from trainables.io.files import read_json, set_aside, write_whole

FILE = "test_scores.json"
COPY = "test_scores.copy.json"
"""A second one: a count that is lost would begin again at 1."""
MISSING = "missing"
_WANTED = {"trial", "time", "accuracy"}


def looks(run: RunDirectory) -> list[dict[str, Any]]:
    """``trial``, ``time`` (seconds since the epoch), ``accuracy``, of each, oldest first; ``n`` and
    ``scheme`` too, but in runs of old.
    """
    first, second = (_read(run.path / name) for name in (FILE, COPY))
    if isinstance(first, list) and (not isinstance(second, list) or len(first) >= len(second)):
        return first
    if isinstance(second, list):
        note(
            f"{run.path / FILE}: {first if isinstance(first, str) else 'missing a look'}; "
            f"{COPY} beside it says what it said"
        )
        return second
    if isinstance(first, str) and (first != MISSING or second != MISSING):
        raise RunError(
            f"{run.path / FILE}: {first}; it counts the looks at the test images: put it back, "
            "or move it away to count from 0 again"
        )
    return []


def _read(path: Path) -> list[dict[str, Any]] | str:
    """The looks that a file tells of, or why it tells none."""
    try:
        found = read_json(path)
    except FileNotFoundError:
        return MISSING
    except OSError as error:
        return error.strerror or "unreadable"
    except (ValueError, RecursionError) as error:
        return f"no JSON ({on_one_line(error)})"
    if not isinstance(found, list) or not all(
        isinstance(look, dict) and look.keys() >= _WANTED for look in found
    ):
        return "no list of looks"
    if not all(
        isinstance(share, int | float) and 0 <= share <= 1
        for look in found
        for share in (look["accuracy"], look.get("whole_accuracy", 0))
    ):
        return "a look whose accuracy is none"
    return found


def count_look(
    run: RunDirectory, record: TrialRecord, test: Measured, whole: Measured | None = None
) -> None:
    """Count one more.

    Args:
        whole: on all test images, where ``test`` leaves out those that are also training images.
    """
    entry = {
        "trial": record.key,
        "time": time.time(),
        "accuracy": test.accuracy,
        "n": test.n,
        "scheme": test.scheme,
    } | ({"whole_accuracy": whole.accuracy, "whole_n": whole.n} if whole else {})
    content = json.dumps([*looks(run), entry], indent=1)
    for path in (run.path / COPY, run.path / FILE):
        if path.is_dir() and not path.is_symlink():
            note(f"{path}: a folder lies there; it was moved to {set_aside(path)}")
        write_whole(path, content, within=run.path)
