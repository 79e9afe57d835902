"""Copies of what a released version wrote, for tests."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from program import ROOT

GOLDEN = ROOT / "tests" / "golden"
RUNS = ("database", "killed", "knn", "networks", "replicas", "toy")
BUNDLES = ("knn", "networks")


def golden_runs(to: Path, *names: str) -> Path:
    """A runs directory with copies of these runs, or of all, and of the databases beside them;
    returns it.
    """
    to.mkdir(parents=True, exist_ok=True)
    for name in names or RUNS:
        shutil.copytree(GOLDEN / "runs" / name, to / name)
    if not names or "database" in names:
        shutil.copy(GOLDEN / "runs" / "studies.db", to)
        plan = to / "database" / "plan.yaml"
        plan.write_text(
            re.sub(
                r"sqlite:///\S+/studies.db",
                f"sqlite:///{to.absolute() / 'studies.db'}",
                plan.read_text(),
            )
        )
    if not names or "killed" in names:
        shutil.copy(GOLDEN / "runs" / "mlflow.db", to)
    return to
