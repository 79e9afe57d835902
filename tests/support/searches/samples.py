"""Made-up records of trials, for tests of what is done with records."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts, DriverState, TrialRecord

NAMES = ("<script>alert(1)</script>", "Straße $x^2$", "日本")
"""Classes whose names are markup, mathematics and no Latin."""
CONFIG = {
    "metric": "cityblock", "size": 16, "resampling": "nearest", "centring": False, "norm": "l1",
    "k": 1, "vote": "uniform",
}  # fmt: skip


def record(number: int, **changes: Any) -> TrialRecord:
    """Trial ``number`` of tiny-image, begun at 1000 + 10 × number seconds, with accuracy number /
    10.
    """
    value = number / 10
    facts: dict[str, Any] = {
        "space": "tiny-image",
        "number": number,
        "state": "COMPLETE",
        "config": CONFIG,
        "metrics": {"val_accuracy": value, "balanced_accuracy": value, "macro_f1": value},
        "accuracy_by_k": (0.5, 0.6),
        "started": 1000.0 + 10 * number,
        "seconds": 1.5,
        "node": "here",
    }
    return TrialRecord(**(facts | changes))


LABELS = [0] * 4 + [1] * 4 + [2] * 2


def run_with(
    tmp_path: Path,
    predictions: dict[int, list[int]],
    others: tuple[TrialRecord, ...] = (),
    plan: str = "",
    labels: Sequence[int] = LABELS,
) -> RunDirectory:
    """A run ``made`` of tiny-image on four cats, four dogs and two owls, or others, whose trials
    predicted this.
    """
    folder = RunDirectory(tmp_path / "made")
    folder.path.mkdir()
    folder.write_state(DriverState(id="0", state="finished", seconds=75))
    folder.write_data(
        DataFacts(
            spec="folder:/x",
            classes=("cat", "dog", "owl"),
            sizes={"train": 10},
            fingerprint="f" * 64,
        )
    )
    folder.write_validation_labels(np.array(labels))
    folder.plan_file.write_text(f"spaces: [tiny-image]\n{plan}")
    for number, given in predictions.items():
        accuracy = float(np.mean(np.array(given) == np.array(labels)))
        folder.write_record(
            record(number, metrics={"val_accuracy": accuracy}),
            "log",
            None,
            np.array(given, dtype=np.uint16),
        )
    for item in others:
        folder.write_record(item, "log", None, None)
    return folder
