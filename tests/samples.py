"""Made-up records of trials, for tests of what is done with records."""

from __future__ import annotations

from typing import Any

from analysis.records import TrialRecord

CONFIG = {
    "metric": "cityblock", "size": 16, "resampling": "nearest", "centring": False, "norm": "l1", "k": 1, "vote": "uniform",
}  # fmt: skip


def record(number: int, **changes: Any) -> TrialRecord:
    """Trial ``number`` of tiny-image, begun at 1000 + 10 × number seconds, with accuracy number / 10."""
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
