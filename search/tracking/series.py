"""The points of a trial's metrics, as MLflow takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from search.ledger.outbox import ReplicaFact, TrialFact
from search.tracking.mlflow_runs import Series, milliseconds


def end_of(fact: TrialFact | ReplicaFact) -> int:
    """When a trial ended, in milliseconds."""
    return milliseconds(fact["started"] + fact["seconds"])


def points_of(rows: Iterable[Mapping[str, Any]], metrics: AbstractSet[str]) -> Series:
    """Every point of these metrics that a trial reported, step by step."""
    series: Series = {}
    for row in rows:
        for metric in row.keys() & metrics:
            series.setdefault(metric, []).append(
                (row[metric], milliseconds(row["time"]), row["step"])
            )
    return series


def series_of(fact: TrialFact | ReplicaFact, end: int) -> Series:
    """Every metric point of a trial: step by step where it reported steps, and how it ended."""
    series = points_of(fact.get("history", ()), fact["metrics"].keys())
    for metric, value in {**fact["metrics"], "seconds": fact["seconds"]}.items():
        if metric not in series or metric == "seconds":
            series[metric] = [(value, end, 0)]
    if fact["accuracy_by_k"]:
        series["accuracy_by_k"] = [
            (value, end, k) for k, value in enumerate(fact["accuracy_by_k"], 1)
        ]
    return series
