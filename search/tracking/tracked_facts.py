"""What MLflow is told of a search as a whole, when a driver begins."""

from __future__ import annotations

import hashlib
import json
import time
from typing import Any

from analysis.plan.plan import Plan
from analysis.plan.settings import NO_DATASET
from analysis.run.directory import RunDirectory
from analysis.run.provenance import sessions
from analysis.run.records import TrialRecord
from search.ledger.outbox import RunFact


def run_fact(run: RunDirectory, plan: Plan, fingerprint: str, gpus: float | None) -> RunFact:
    """Plan and dataset as params, system and code versions as tags. Where it is tracked and stored
    is nobody's business.

    Args:
        fingerprint: of the images, as they are now.
        gpus: that Ray offers; None where nothing says it.
    """
    plain = plan.model_dump(mode="json", exclude={"tracking", "storage", "changes"})
    data = run.data()
    params = {name: value for name, value in plain.items() if value not in ({}, [], "", None)}
    if data.spec != NO_DATASET:
        params |= {
            "classes": len(data.classes),
            **{f"images_{split}": size for split, size in data.sizes.items()},
        }
    return {
        "kind": "run",
        "study": run.identity(),
        "time": time.time(),
        "note": f"visiontune search of {', '.join(plan.spaces)} on {plan.dataset}",
        "params": params,
        "data": None
        if data.spec == NO_DATASET
        else data.model_dump(mode="json", include={"spec", "classes", "sizes", "fingerprint"}),
        "tags": {
            "visiontune.fingerprint": fingerprint,
            **({} if gpus is None else {"visiontune.gpus": f"{gpus:g}"}),
            **_versions(run),
        },
    }


def best_metrics(run: RunDirectory, plan: Plan, best: TrialRecord | None) -> dict[str, float]:
    """Metrics of the best trial as the search ends, and what it is worth on new images."""
    from analysis.ranking.corrected import corrected
    from analysis.ranking.leaderboard import ranked

    found = {f"best_{name}": value for name, value in (best.metrics if best else {}).items()}
    worth = corrected(run, ranked(run.records(), plan.objective), plan.objective)
    if not isinstance(worth, str):
        name = f"best_{worth.metric}_corrected"
        found |= {name: worth.estimate, f"{name}_low": worth.low, f"{name}_high": worth.high}
    return found


def _versions(run: RunDirectory) -> dict[str, str]:
    """Machine, packages and code of the session that begins, as tags."""
    found: list[dict[str, Any]] = sessions(run)[-1:]
    if not found:
        return {}
    now = found[0]
    code = hashlib.sha256(json.dumps(now["code"], sort_keys=True).encode()).hexdigest()[:16]
    tags = {
        "session": len(sessions(run)),
        "node": now["node"],
        "python": now["python"],
        "code": code,
        **now["system"],
    }
    return {f"visiontune.{name}": str(value) for name, value in tags.items()} | {
        f"visiontune.package.{name}": version for name, version in now["packages"].items()
    }
