"""A run whose outbox waits for MLflow, and what MLflow has of it, for tests."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import mlflow
from samples import record

from analysis.run.directory import RunDirectory
from analysis.run.records import DriverState
from search.ledger.outbox import Outbox, trial_fact
from search.tracking.connection import connect


@cache
def new_database() -> bytes:
    """MLflow's sqlite file as it is when it is new: to make its tables takes seconds, which one
    test need spend for all.
    """
    with tempfile.TemporaryDirectory() as folder:
        connect(f"sqlite:///{folder}/mlflow.db", Path(folder))
        return (Path(folder) / "mlflow.db").read_bytes()


def run_directory(tmp_path: Path, trials: int = 3) -> RunDirectory:
    """A run whose outbox holds a beginning, some trials and a file; beside it a new MLflow
    database.
    """
    folder = RunDirectory(tmp_path / "runs" / "one")
    folder.path.mkdir(parents=True)
    (folder.path.parent / "mlflow.db").write_bytes(new_database())
    folder.plan_file.write_text("spaces: [tiny-image]\n")
    folder.write_state(DriverState(id="0123abcd"))
    outbox = Outbox(folder.outbox)
    outbox.append(
        {
            "kind": "run",
            "time": 1000.0,
            "note": "a search",
            "params": {"trials": trials},
            "tags": {"a": "b"},
        }
    )
    for number in range(trials):
        outbox.append(trial_fact(record(number), []))
    return folder


def client(folder: RunDirectory) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{folder.path.parent / 'mlflow.db'}")


def stored(folder: RunDirectory) -> tuple[list[Any], list[Any]]:
    """(parents, children) that MLflow holds."""
    (experiment,) = [e for e in client(folder).search_experiments() if e.name == "visiontune"]
    runs = client(folder).search_runs([experiment.experiment_id])
    return [r for r in runs if "mlflow.parentRunId" not in r.data.tags], [
        r for r in runs if "mlflow.parentRunId" in r.data.tags
    ]
