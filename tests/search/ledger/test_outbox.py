"""What the outbox holds is what its facts say, whoever wrote it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from program import ROOT
from samples import record

from search.ledger.outbox import Outbox, replica_fact, trial_fact

RELEASED = sorted((ROOT / "tests" / "golden").rglob("outbox/facts.jsonl"))
TRIAL = trial_fact(record(1), [])


@pytest.mark.parametrize("file", RELEASED, ids=lambda file: file.parent.parent.name)
def test_what_a_released_version_wrote_is_read_as_it_stands(file: Path) -> None:
    """A run that goes on, or is synced, after an upgrade tells MLflow the same."""
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines
    assert [fact for fact, _ in Outbox(file.parent).read()] == lines


@pytest.mark.parametrize(
    "line",
    [
        {**TRIAL, "number": "one"},
        {name: value for name, value in TRIAL.items() if name != "state"},
        {**TRIAL, "metrics": ["val_accuracy"]},
        {"kind": "end"},
        {"kind": "report", "files": "report.html"},
        {"kind": "something new"},
    ],
    ids=["number", "no state", "metrics", "end", "files", "kind"],
)
def test_a_line_that_is_no_fact_is_unreadable_and_holds_up_no_other(
    line: dict[str, object], tmp_path: Path
) -> None:
    """Whoever sends would fail over it again and again, and MLflow hear of nothing behind it."""
    outbox = Outbox(tmp_path / "outbox")
    again = replica_fact(record(2), [{"step": 0, "val_accuracy": 0.5}], of=1, seed=3)
    outbox.append(TRIAL)
    with open(tmp_path / "outbox" / "facts.jsonl", "a") as file:
        file.write(json.dumps(line) + "\n")
    outbox.append(again)
    assert [fact for fact, _ in outbox.read()] == [TRIAL, {"kind": "unreadable"}, again]
