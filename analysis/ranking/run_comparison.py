"""Several runs side by side: one leaderboard a space and model, and whether their figures may be
compared at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.ranking.leaderboard import ranked, rows
from analysis.ranking.significance import Comparison, compare, intervals
from analysis.run.directory import RunDirectory, RunError
from analysis.run.records import TrialRecord
from spaces.objectives import METRICS

Row = dict[str, Any]
Ranked = tuple[TrialRecord, Row, RunDirectory]


@dataclass(frozen=True)
class JudgedRun:
    """A run, and by what its plan compares trials.

    Attributes:
        objective: the metric that ranks its trials.
        scheme: how its images were validated, in words.
        reference: accuracies to compare with, by their names.
    """

    run: RunDirectory
    objective: str
    scheme: str
    reference: Mapping[str, float]


@dataclass(frozen=True)
class RunComparison:
    """What several runs found.

    Attributes:
        rows: the trials of all, best first; rows of ``analysis.ranking.leaderboard`` with ``run``
            and ``model``.
        boards: the same by space and model, such as ``cnn, resnet18``; the best board first.
        differences: why figures cannot be compared, a line each; empty if they can.
        against: the first against the next, where both were judged on the same images.
    """

    objective: str
    rows: Sequence[Row]
    boards: Mapping[str, Sequence[Row]]
    differences: Sequence[str]
    against: Comparison | None

    def facts(self, top: int) -> dict[str, Any]:
        """All of it, for JSON; ``top`` rows of each board."""
        boards = {name: list(board[:top]) for name, board in self.boards.items()}
        return {
            "objective": self.objective,
            "comparable": not self.differences,
            "differences": list(self.differences),
            "boards": boards,
        }


def compare_runs(judged: Sequence[JudgedRun]) -> RunComparison:
    """The trials of several runs, best first by the objective: its mean over other seeds where a
    trial was run again, or else its own.

    Raises:
        RunError: if a run is named twice, or they are judged by different objectives.
    """
    paths = [item.run.path for item in judged]
    if len(set(paths)) < len(paths):
        raise RunError(f"a run is named twice: {', '.join(item.run.name for item in judged)}")
    objectives = {item.objective for item in judged}
    if len(objectives) > 1:
        said = ", ".join(f"{item.run.name} by {item.objective}" for item in judged)
        raise RunError(
            f"these runs are judged by different objectives: {said}; name runs with the same"
        )
    objective = judged[0].objective
    found = [_rows(item, objective) for item in judged]
    order = [ranked for one in found for ranked in one]
    sign = -1.0 if METRICS[objective].direction == "maximize" else 1.0
    order.sort(key=lambda ranked: sign * ranked[0].value(objective))
    boards: dict[str, list[Row]] = {}
    for rank, (_, row, _) in enumerate(order, 1):
        row["rank"] = rank
        boards.setdefault(", ".join(filter(None, (row["space"], row["model"]))), []).append(row)
    differences = _differences(judged)
    against = _against(order[0], order[1]) if len(order) > 1 and not differences else None
    return RunComparison(objective, [row for _, row, _ in order], boards, differences, against)


def _rows(item: JudgedRun, objective: str) -> list[Ranked]:
    records = ranked(item.run.records(), objective)
    table = rows(records, objective, item.reference)
    spreads = intervals(item.run, records)
    own = [
        {"run": item.run.name, "model": str(record.config.get("model", "")), "interval": spread}
        for record, spread in zip(records, spreads, strict=True)
    ]
    return [
        (record, {**row, **more}, item.run)
        for record, row, more in zip(records, table, own, strict=True)
    ]


def _differences(judged: Sequence[JudgedRun]) -> list[str]:
    """Why the figures of these runs cannot stand side by side, each run against the first."""
    first, *others = judged
    found = []
    for other in others:
        here, there = first.run.data(), other.run.data()
        pair = f"{first.run.name} and {other.run.name}"
        if here.fingerprint != there.fingerprint:
            mine, theirs = (
                f"{data.spec}, {_sizes(data.sizes)} (fingerprint {data.fingerprint[:8]})"
                for data in (here, there)
            )
            found.append(f"{pair} did not see the same images: {mine}, and {theirs}")
        labels = [run.validation_labels() for run in (first.run, other.run)]
        sizes = ["no" if one is None else f"{len(one):,}" for one in labels]
        if first.scheme != other.scheme or sizes[0] != sizes[1] or not np.array_equal(*labels):  # type: ignore[arg-type]
            found.append(
                f"{pair} are not judged alike: by {first.scheme} on {sizes[0]} images, and by "
                f"{other.scheme} on {sizes[1]}"
            )
    return found


def _sizes(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{size:,} {name}" for name, size in sizes.items()) or "none"


def _against(first: Ranked, other: Ranked) -> Comparison | None:
    labels = first[2].validation_labels()
    mine, theirs = (run.predictions(record) for record, _, run in (first, other))
    if labels is None or mine is None or theirs is None:
        return None
    return compare(mine == labels, theirs == labels, f"{other[2].name}: {other[0].key}")
