"""What of a run directory is attached to its runs in MLflow, beside params and metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.plan.plan import Plan
from analysis.run.directory import RunDirectory
from analysis.run.records import TrialRecord
from spaces.errors import UserError
from trainables.io.files import read_json

Files = dict[str, Path | bytes]
BEST = 3
"""Trials, the best ones, whose pictures are drawn."""
TABLE_ROWS = 1000
"""Rows of the leaderboard that MLflow's own table has; leaderboard.csv has all."""


def trial_files(run: RunDirectory, space: str, number: int) -> Files:
    """What every trial left: its log, and the traceback of one that failed."""
    paths = [run.trial(space, number) / name for name in ("log.txt", "traceback.txt")]
    return {path.name: path for path in paths if path.is_file() and path.stat().st_size}


def leaderboard(run: RunDirectory) -> list[dict[str, Any]]:
    """The leaderboard as the report last wrote it, best first; empty where there is none."""
    try:
        found = read_json(run.report / "leaderboard.json")
    except (OSError, ValueError, RecursionError):
        return []
    wanted = {"space", "number", "trial", "config", "passes"}
    return (
        [row for row in found if isinstance(row, dict) and wanted <= row.keys()]
        if isinstance(found, list)
        else []
    )


def table_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the leaderboard without anything nested, and nothing said twice, as a table shows
    them.
    """
    flat = [{**row, **row["config"], "passes": ", ".join(row["passes"])} for row in rows]
    return [
        {name: value for name, value in row.items() if name not in ("config", "space", "number")}
        for row in flat
    ]


def best_files(
    run: RunDirectory, plan: Plan, rows: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, Files]]:
    """(trial, files) of the best and of each space's best: curves, confusion matrix, and the
    weights of a space's best.

    Args:
        rows: of the leaderboard, best first.
    """
    firsts = {row["space"]: row["trial"] for row in reversed(rows)}
    for rank, row in enumerate(rows):
        first = firsts[row["space"]] == row["trial"]
        record = _record(run, row) if first or rank < BEST else None
        if record is None:
            continue
        files = _pictures(run, plan, record)
        if first:
            weights = run.weights(record.space, record.number)
            files |= {
                f"weights/{path.name}": path for path in sorted(weights.glob("*.safetensors"))
            }
        if files:
            yield record.key, files


def _record(run: RunDirectory, row: Mapping[str, Any]) -> TrialRecord | None:
    try:
        return run.record(row["space"], row["number"])
    except UserError:
        return None  # whoever ranks the trials says so


def _pictures(run: RunDirectory, plan: Plan, record: TrialRecord) -> Files:
    from analysis.figures import drawing as figures
    from analysis.figures.curves import learning_curves
    from analysis.ranking.confusion import confusion_of

    files: Files = {}
    if steps := run.steps(record.space, record.number):
        files["learning-curves.png"] = figures.to_png(
            learning_curves({record.key: steps}, plan.reference)
        )
    if record.accuracy_by_k:
        curve = figures.accuracy_by_k(
            {record.key: record.accuracy_by_k},
            {record.key: int(record.config["k"])},
            plan.reference,
        )
        files["accuracy-by-k.png"] = figures.to_png(curve)
    if found := confusion_of(run, record, plan.class_order, plan.abbreviations):
        files["confusion.png"] = figures.to_png(
            figures.confusion(found.counts, found.names, found.title)
        )
    return files
