"""A search of a made-up learner without Ray, for tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from analysis.plan.plan import Plan, make_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts
from search.driver.beginning import create
from search.ledger.ledger import Ledger


def plan(**settings: Any) -> Plan:
    usual = {
        "spaces": ["toy"],
        "trials": 12,
        "name": "run",
        "pruner": "median",
        "pruner_options": {"n_startup_trials": 2},
    }
    return make_plan({**usual, **settings})


def begin(tmp_path: Path, wanted: Plan) -> RunDirectory:
    folder = RunDirectory(tmp_path / "run")
    os.close(
        create(folder, wanted, DataFacts(spec="none", classes=(), sizes={}, fingerprint=""), None)
    )
    return folder


def run_some(ledger: Ledger, most: int = 1000) -> None:
    """Run trials of a made-up learner to their ends: reports step by step, every fifth fails."""
    for _ in range(most):
        proposal = ledger.propose()
        if proposal is None:
            return
        scores = {
            "balanced_accuracy": 0.5,
            "macro_f1": 0.5,
            "val_loss": 0.1,
            "model_mb": 1.0,
            "latency_ms": 1.0,
        }
        if proposal.number % 5 == 4:
            ledger.end(proposal.key, {"failure": "out of luck"})
            continue
        for step in range(3):
            value = ((proposal.number * 7) % 10 + 1) / 11 * (step + 1) / 3
            done = {
                "step": step,
                "val_accuracy": value,
                **scores,
                "seconds": 0.1,
                "done": step == 2,
            }
            if proposal.space == "tiny-image":
                ledger.end(proposal.key, {**done, "accuracy_by_k": [value]})
                break
            if step < 2 and ledger.report(proposal.key, done):
                break
            if step == 2:
                ledger.end(proposal.key, done)
