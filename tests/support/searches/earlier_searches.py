"""Searches of the toy in this process, begun as the driver begins them, for tests."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from analysis.plan.plan import Plan, make_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts
from search.driver.beginning import create
from search.driver.warm_start import find_sources, take
from search.ledger.ledger import Ledger
from search.study.combinations import check_combination
from spaces import ToyConfig
from trainables.learners.toy import ToyRun

NO_IMAGES = DataFacts(spec="none", classes=(), sizes={}, fingerprint="")


def plan_of(name: str, **settings: Any) -> Plan:
    facts = {"spaces": "toy", "name": name, "tracking": {"enabled": False}, "trials": 6}
    return make_plan({**facts, **settings})


def begin(
    runs: Path, plan: Plan, facts: DataFacts = NO_IMAGES, labels: Any = None
) -> tuple[RunDirectory, list[str]]:
    """A new run as the driver begins it, and what it says."""
    said: list[str] = []
    check_combination(plan)
    earlier = take(plan, find_sources(plan, runs), facts, labels, said.append)
    folder = RunDirectory(runs / plan.name)
    lock = create(folder, plan, facts, labels, earlier)
    os.close(lock)
    return folder, said


def toy_accuracy(config: dict[str, Any]) -> float:
    run = ToyRun(ToyConfig(**config))
    return float([run.step()["val_accuracy"] for _ in range(config["steps"])][-1])


def go_on(folder: RunDirectory, trials: int, say: Any = lambda line: None) -> list[float]:
    """A driver that tries so many more, one after the other; what each came to."""
    ledger = Ledger(folder, folder.plan(), say=say)
    ledger.take_requests()
    found = []
    for _ in range(trials):
        proposal = ledger.propose()
        if proposal is None:
            break
        found.append(toy_accuracy(proposal.config))
        measured = {"step": 7, "val_loss": 0.5, "model_mb": 1.0, "latency_ms": 1.0, "seconds": 2.0}
        ledger.end(proposal.key, {**measured, "val_accuracy": found[-1], "done": True})
    return found


def searched(runs: Path, name: str, trials: int, **settings: Any) -> RunDirectory:
    folder, _ = begin(runs, plan_of(name, trials=trials, **settings))
    go_on(folder, trials)
    return folder
