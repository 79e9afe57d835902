"""What trials leave on disk: which weights and checkpoints stay when a search ends."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from analysis.leaderboard import pareto_front, ranked
from analysis.records import RunDirectory
from trainables.checkpoint import latest

KEPT_CHECKPOINTS = 3
"""Trials whose weights and last checkpoint are kept when the search ends: the best ones."""


def checkpoints(folder: RunDirectory, space: str, number: int) -> list[Path]:
    """Every checkpoint of a trial, whole or not, of all sessions."""
    return list((folder.path / "tune").glob(f"{space}-{number:05d}.session-*/checkpoint_*"))


def clear_checkpoints(folder: RunDirectory, objectives: Sequence[str]) -> None:
    """Delete weights and checkpoints of finished trials, but for the weights and the last checkpoint of each of the best.

    Args:
        objectives: the first ranks the trials; with several, those on their Pareto front stay too.
    """
    records = folder.records()
    best = {record.key for record in ranked(records, objectives[0])[:KEPT_CHECKPOINTS]}
    if len(objectives) > 1:
        best |= {record.key for record in pareto_front(records, objectives)}
    there: dict[str, list[Path]] = {}
    for path in (folder.path / "tune").glob("*.session-*/checkpoint_*"):  # one look for all: there may be many thousand trials
        space, _, number = path.parent.name.rpartition(".session-")[0].rpartition("-")
        there.setdefault(f"{space}/{int(number)}", []).append(path)
    for record in records:  # a trial that has not finished has none, and goes on from what it has
        kept = record.key in best
        if not kept:
            shutil.rmtree(folder.weights(record.space, record.number), ignore_errors=True)
        last = latest(there.get(record.key, [])) if kept else None
        for path in there.get(record.key, []):
            if path != last:
                shutil.rmtree(path, ignore_errors=True)
