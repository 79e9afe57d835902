"""The leaderboard: finished trials from best to worst, as rows, CSV and JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from analysis.records import TrialRecord

METRICS = ("val_accuracy", "balanced_accuracy", "macro_f1")


def ranked(records: list[TrialRecord], objective: str = "val_accuracy") -> list[TrialRecord]:
    """COMPLETE trials from best to worst by the objective; equals by space and number."""
    complete = [record for record in records if record.state == "COMPLETE" and objective in record.metrics]
    return sorted(complete, key=lambda record: (-record.metrics[objective], record.space, record.number))


def rows(records: list[TrialRecord], objective: str, reference: Mapping[str, float]) -> list[dict[str, Any]]:
    """One JSON-able row a trial, best first.

    Each row says which reference lines its val_accuracy passes.
    """
    return [
        {
            "rank": rank,
            "trial": record.key,
            "space": record.space,
            "number": record.number,
            **{name: record.metrics[name] for name in METRICS if name in record.metrics},
            "passes": [name for name, value in reference.items() if record.metrics.get("val_accuracy", 0.0) > value],
            "seconds": record.seconds,
            "config": record.config,
        }
        for rank, record in enumerate(ranked(records, objective), 1)
    ]


def to_csv(table: list[dict[str, Any]]) -> str:
    """Rows as CSV, one column a parameter; empty where a space has no such parameter."""
    parameters = list(dict.fromkeys(name for row in table for name in row["config"]))
    columns = ["rank", "trial", "space", "number", *METRICS, "seconds", *parameters]
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, **row["config"]} for row in table)
    return out.getvalue()


def short_config(config: Mapping[str, Any]) -> str:
    """A configuration on one line: ``metric=cityblock size=16 …``."""
    return " ".join(f"{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in config.items())
