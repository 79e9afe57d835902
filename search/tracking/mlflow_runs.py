"""The MLflow runs of one search: looked up by their tags, made where they are missing, one of each.

``create_run`` is not idempotent: a server that answers too late may have made a run of which nobody
was told. So nothing is repeated blindly (no HTTP retries), runs are looked up before they are made,
and one that is there twice is deleted but for the fuller.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import math
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from analysis.plan.addresses import deleted
from analysis.run.provenance import ROOT
from search.tracking.connection import Heard, connect
from spaces.errors import UserError

Series = dict[str, list[tuple[float, int, int]]]
"""Metric to its points: value, milliseconds since 1970, step."""
KIND, MODEL_TRAINING = "mlflow.experimentKind", "custom_model_development"
"""Tag of an experiment that makes the MLflow UI open it as model training; without it, it opens as
GenAI.
"""
PARENT = "parent"
"""Name of the run that stands for the search."""
Points = dict[str, tuple[float, int, int]]
"""Metric to its last point."""
VIEW = "workflowType=machine_learning"
"""The same in an address of the UI."""
INFERRED = (None, "no_inferred_type", "genai_development_inferred")
"""Kinds that nobody chose: none, and what the UI guessed while there was no run yet."""
LONGEST_PARAM, LONGEST_TAG = 6000, 5000
"""Characters that MLflow keeps of a value."""


@dataclass(frozen=True)
class Sent:
    """A run that MLflow has: its id, where its artifacts go, and the name that it is found by."""

    id: str
    artifacts: str
    name: str = ""


class MlflowRuns:
    """Connects, finds or makes the experiment, and looks up what is there of the search.

    Args:
        uri: MLflow's tracking URI.
        runs_dir: holds the lock under which a new sqlite file is made, and artifacts where no
            server keeps them.
        experiment: MLflow experiment.
        study: the search, as its runs' tag ``visiontune.run`` says.

    Raises:
        UserError: if the experiment was deleted.
        Exception: whatever MLflow raises.
    """

    def __init__(self, uri: str, runs_dir: Path, experiment: str, study: str) -> None:
        self.client = Heard(connect(uri, runs_dir))
        self._uri, self._study = uri, study
        found = self.client.get_experiment_by_name(experiment)
        if found is not None and found.lifecycle_stage == "deleted":
            raise UserError(deleted(experiment, uri, found.experiment_id))
        if found is None:
            store = (
                (runs_dir / "mlartifacts").absolute().as_uri()
                if not uri.startswith("http")
                else None
            )
            self.experiment = self.client.create_experiment(
                experiment, artifact_location=store, tags={KIND: MODEL_TRAINING}
            )
        else:
            self.experiment = found.experiment_id
            if found.tags.get(KIND) in INFERRED:
                self._name_kind()
        self._runs: dict[str, Sent] = {}
        self._last: dict[str, Points] = {}
        self.tidy()

    @property
    def heard(self) -> float:
        """When MLflow last answered, by the monotonic clock."""
        return self.client.at

    def _name_kind(self) -> None:
        """Say what the experiment is for, if this user may: a search is not given up over it."""
        from mlflow.exceptions import MlflowException

        with contextlib.suppress(MlflowException):
            self.client.set_experiment_tag(self.experiment, KIND, MODEL_TRAINING)

    def tidy(self) -> None:
        """Look up every run of the search; of those that are there twice all but the fullest are
        deleted.
        """
        best: dict[str, Any] = {}
        for run in self._search():
            name = run.data.tags.get("visiontune.name", "")
            other = best.get(name)
            if other is not None:
                less = min(run, other, key=_fullness)
                self.client.delete_run(less.info.run_id)
                run = other if less is run else run
            best[name] = run
        self._runs = {
            name: Sent(run.info.run_id, run.info.artifact_uri, name) for name, run in best.items()
        }
        self._last = {
            name: {
                metric.key: (metric.value, metric.timestamp, metric.step)
                for metric in run.data._metric_objs
            }
            for name, run in best.items()
        }

    def _search(self) -> list[Any]:
        runs: list[Any] = []
        token = None
        while True:
            filter_ = f"tags.`visiontune.run` = '{self._study}'"
            page = self.client.search_runs(
                [self.experiment], filter_, max_results=1000, page_token=token
            )
            runs += page
            token = page.token
            if not token:
                return runs

    def get(self, name: str) -> Sent | None:
        """The run of that name, if there is one."""
        return self._runs.get(name)

    def begin_anew(self, name: str, series: Series) -> bool:
        """Delete the run of that name if it holds what is not in ``series``, and say so: it is of a
        trial that was run again since, as its record was lost.
        """
        found = self._runs.get(name)
        held = self._last.get(name, {})
        if found is None or all(_among(point, series.get(key, ())) for key, point in held.items()):
            return False
        self.client.set_tag(found.id, "visiontune.state", "run again: its record was lost")
        self.client.delete_run(found.id)
        del self._runs[name], self._last[name]
        return True

    def running(self) -> list[tuple[str, Sent]]:
        """Runs that have not ended, by name."""
        return [
            (name, self._runs[name])
            for run in self._search()
            if run.info.status == "RUNNING"
            and (name := run.data.tags.get("visiontune.name", "")) in self._runs
        ]

    def adopt(self, run: Sent, name: str) -> None:
        """Have the runs whose names begin with ``name`` and a space below ``run``."""
        for other, sent in self._runs.items():
            if other.startswith(f"{name} "):
                self.client.set_tag(sent.id, "mlflow.parentRunId", run.id)

    def make(self, name: str, shown: str, tags: Mapping[str, str], began: float) -> Sent:
        """The run of that name, made if it is not there yet.

        Args:
            shown: its name in the UI.
            tags: set where it is made.
            began: Unix seconds.
        """
        found = self._runs.get(name)
        if found is None:
            every = {
                "visiontune.run": self._study,
                "visiontune.name": name,
                "mlflow.user": _user(),
                **source(),
                **tags,
            }
            cut = {key: value[:LONGEST_TAG] for key, value in every.items()}
            run = self.client.create_run(self.experiment, milliseconds(began), cut, run_name=shown)
            found = Sent(run.info.run_id, run.info.artifact_uri, name)
            self._runs[name] = found
        return found

    def log(
        self,
        run: Sent,
        series: Series,
        params: Mapping[str, Any],
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Log metric points, params and tags; those that are there already stay as they are."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [
            Metric(name, value, at, step)
            for name, points in series.items()
            for value, at, step in points
        ]
        kept = [Param(name, str(value)[:LONGEST_PARAM]) for name, value in params.items()]
        last = {metric: max(points, key=_when) for metric, points in series.items() if points}
        self._last.setdefault(run.name, {}).update(last)
        self.client.log_batch(
            run.id,
            metrics,
            kept,
            [RunTag(name, value[:LONGEST_TAG]) for name, value in (tags or {}).items()],
        )

    def params(self, run: Sent) -> dict[str, str]:
        """What is logged of a run; MLflow refuses to change any of it."""
        return dict(self.client.get_run(run.id).data.params)

    def attach(self, run: Sent, files: Mapping[str, Path | bytes]) -> None:
        """Put files, ``folder/name`` to content, among the artifacts of a run, in place of any of
        that name.
        """
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        repository = get_artifact_repository(run.artifacts, tracking_uri=self._uri)
        with tempfile.TemporaryDirectory(prefix="visiontune-") as scratch:
            for name, content in files.items():
                path = content if isinstance(content, Path) else Path(scratch) / Path(name).name
                if not isinstance(content, Path):
                    path.write_bytes(content)
                repository.log_artifact(str(path), str(Path(name).parent) if "/" in name else None)
                self.client.at = time.monotonic()

    def attach_table(self, run: Sent, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table that the UI shows. ``mlflow.log_table`` would append it to the one that is
        there.
        """
        columns = list(dict.fromkeys(key for row in rows for key in row))
        content = json.dumps(
            {"columns": columns, "data": [[row.get(key) for key in columns] for row in rows]},
            ensure_ascii=False,
        )
        self.attach(run, {name: content.encode()})
        self.client.set_tag(
            run.id, "mlflow.loggedArtifacts", json.dumps([{"path": name, "type": "table"}])
        )

    def note_dataset(
        self, run: Sent, name: str, digest: str, source: str, profile: Mapping[str, Any]
    ) -> None:
        """The dataset as MLflow knows datasets, with a digest of at most 36 characters."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        dataset = Dataset(
            name[:500],
            digest[:36],
            "local",
            json.dumps({"uri": source}),
            profile=json.dumps(profile),
        )
        self.client.log_inputs(
            run.id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "search")])]
        )


def milliseconds(seconds: float) -> int:
    """Unix seconds as MLflow counts them; it knows no time before 1970, which a clock that is wrong
    may have said.
    """
    return max(0, int(seconds * 1000))


def _when(point: tuple[float, int, int]) -> tuple[int, int]:
    """Step and time, by which MLflow tells the last point of a metric."""
    return point[2], point[1]


def _among(point: tuple[float, int, int], points: Sequence[tuple[float, int, int]]) -> bool:
    """Whether a point is one of these; a value that is no number is as any other."""
    return any(
        point[1:] == one[1:]
        and (math.isclose(point[0], one[0], rel_tol=1e-9) or not math.isfinite(one[0]))
        for one in points
    )


@cache
def source() -> dict[str, str]:
    """Tags that say what makes a run: this program, and the commit of its code where it lies in a
    git checkout of its own.
    """
    tags = {"mlflow.source.name": "visiontune", "mlflow.source.type": "LOCAL"}
    if (ROOT / ".git").exists():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            commit = subprocess.run(
                ["git", "-C", str(ROOT), "rev-parse", "HEAD"],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            tags["mlflow.source.git.commit"] = commit
    return tags


def _fullness(run: Any) -> tuple[bool, int, int, str]:
    return (
        run.info.status != "RUNNING",
        len(run.data.metrics),
        len(run.data.params),
        run.info.run_id,
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, in a container
        return str(os.getuid())
