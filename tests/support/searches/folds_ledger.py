"""The ledger of a search of toys, and what their trials would say fold by fold, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.plan.plan import make_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DriverState
from search.ledger.ledger import Ledger
from search.ledger.trial_source import Proposal

FOLDS = [  # (mean of the folds so far, this fold's own)
    (0.9, 0.9),
    (0.7, 0.5),
    (0.75, 0.85),
]


def ledger_of(tmp_path: Path, **settings: Any) -> tuple[RunDirectory, Ledger]:
    """A new run, or the one that is there, as a driver opens it."""
    folder = RunDirectory(tmp_path / "run")
    if not folder.path.is_dir():
        folder.write_state(DriverState(id="0123abcd"))
    return folder, Ledger(
        folder, make_plan({"spaces": "toy-folds", "trials": 9, "sampler": "random", **settings})
    )


def begun(ledger: Ledger) -> Proposal:
    proposal = ledger.propose()
    assert proposal is not None
    return proposal


def step(number: int, accuracy: float, **more: Any) -> dict[str, Any]:
    """What a trial says of a step."""
    return {
        "step": number,
        "val_accuracy": accuracy,
        "val_loss": 1 - accuracy,
        "model_mb": 1.0,
        "latency_ms": 1.0,
        "seconds": 2.0,
        **more,
    }
