"""The ledger of a search of tiny images whose trials are only said to have ended, for tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.plan.plan import Plan, make_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DriverState
from search.ledger.ledger import Ledger
from search.study.storage import read_trials


def plan(**settings: Any) -> Plan:
    return make_plan({"spaces": ["tiny-image"], "trials": 5, "sampler": "random", **settings})


def run_directory(tmp_path: Path) -> RunDirectory:
    folder = RunDirectory(tmp_path / "run")
    folder.path.mkdir(exist_ok=True)
    folder.write_state(DriverState(id="0123abcd"))
    return folder


def result(value: float) -> dict[str, Any]:
    """What a trial says at its end."""
    return {
        "val_accuracy": value,
        "balanced_accuracy": value,
        "macro_f1": value,
        "accuracy_by_k": [value],
        "seconds": 0.1,
        "log": "x\n",
    }


def finish_all(ledger: Ledger) -> None:
    """Trials until there is none to try, each with its number / 10."""
    while (proposal := ledger.propose()) is not None:
        ledger.end(proposal.key, result(proposal.number / 10))


def states(folder: RunDirectory) -> dict[str, list[str]]:
    """The states of the study's trials, by space."""
    return {
        space: [trial.state.name for trial in trials]
        for space, trials in read_trials(folder).items()
    }
