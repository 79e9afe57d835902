"""MLflow as a view of the run: sent from the outbox by a thread that no search ever waits for.

Exactly once: runs are looked up by their tags before they are created, params and tags
may be set twice, and a metric point that carries its recorded time is stored once however
often it is sent. So after a crash everything since the last noted offset is sent again.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from pathlib import Path
from typing import Any

from analysis.records import RunDirectory
from search.outbox import Fact, Outbox
from search.plan import Tracking

logger = logging.getLogger("visiontune.tracking")

PARENT = "parent"
MODEL_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
"""Tag that makes the MLflow UI open at runs and metrics; without it, it opens at pages for language models."""
BATCH = 50
"""Facts sent between two notes of how far we came."""
STATUS = {"COMPLETE": "FINISHED", "PRUNED": "KILLED", "FAIL": "FAILED", "finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}


def tracking_uri(tracking: Tracking, runs_dir: Path) -> str:
    """Where MLflow keeps the runs: what the plan says, or sqlite in the runs directory."""
    return tracking.uri or f"sqlite:///{runs_dir.absolute() / 'mlflow.db'}"


class Sender:
    """Sends the facts of one run to MLflow, from where it last came to.

    Args:
        run: whose outbox is sent.
        tracking: the plan's section; ``uri`` None is sqlite beside the run.
    """

    def __init__(self, run: RunDirectory, tracking: Tracking) -> None:
        self._run = run
        self._tracking = tracking
        self._runs_dir = run.path.parent
        self._outbox = Outbox(run.outbox)
        self._study = f"{run.name}-{run.state().id}"
        self._client: Any = None
        self._experiment = ""
        self._ids: dict[str, str] = {}

    def send(self) -> int:
        """Send what waits; returns how many facts were sent.

        Raises:
            Exception: whatever MLflow raises; everything sent before is noted.
        """
        if self._client is None:
            self._connect()
        sent = 0
        while facts := self._outbox.sendable(BATCH):
            for fact, _ in facts:
                self._send(fact)
            self._outbox.mark_sent(facts[-1][1])
            sent += len(facts)
        return sent

    def reset(self) -> None:
        """Connect anew, and look up what is there, before the next fact is sent."""
        self._client = None

    def parent_url(self, base: str) -> str:
        """The page of this run in an MLflow UI at ``base``."""
        if self._client is None:
            self._connect()
        return f"{base}/#/experiments/{self._experiment}" + (f"/runs/{self._ids[PARENT]}" if PARENT in self._ids else "")

    def _connect(self) -> None:
        client = connect(tracking_uri(self._tracking, self._runs_dir), self._runs_dir)
        name = self._tracking.experiment
        experiment = client.get_experiment_by_name(name)
        if experiment is None:
            store = None if self._tracking.uri else (self._runs_dir / "mlartifacts").absolute().as_uri()
            self._experiment = client.create_experiment(name, artifact_location=store, tags=MODEL_TRAINING)
        else:
            self._experiment = experiment.experiment_id
        token = None
        while True:
            page = client.search_runs([self._experiment], f"tags.`visiontune.run` = '{self._study}'", max_results=1000, page_token=token)
            for run in page:
                self._ids[_name(run.data.tags)] = run.info.run_id
            token = page.token
            if not token:
                break
        self._client = client

    def _send(self, fact: Fact) -> None:
        if fact["kind"] == "run":
            tags = {"visiontune.study": self._study, "mlflow.note.content": fact["note"], **fact["tags"]}
            parent = self._run_id(PARENT, tags, fact["time"])
            self._log(parent, {}, fact["params"])
            self._client.update_run(parent, status="RUNNING")
        elif fact["kind"] == "trial":
            self._send_trial(fact)
        elif fact["kind"] == "file":
            path = self._run.path / fact["path"]
            if path.is_file():
                self._client.log_artifact(self._ids[PARENT], str(path), fact["folder"] or None)
        elif fact["kind"] == "end":
            at = _milliseconds(fact["time"])
            self._log(self._ids[PARENT], {name: [(value, at, 0)] for name, value in fact["metrics"].items()}, {})
            self._client.set_terminated(self._ids[PARENT], STATUS[fact["state"]], at)

    def _send_trial(self, fact: Fact) -> None:
        name = f"{fact['space']}/{fact['number']}"
        tags = {
            "visiontune.study": f"{self._study}/{fact['space']}",
            "visiontune.trial": str(fact["number"]),
            "visiontune.state": fact["state"],
            "visiontune.node": fact["node"],
            "mlflow.parentRunId": self._ids[PARENT],
        }
        if fact["failure"]:
            tags["visiontune.failure"] = fact["failure"][:5000]
        run_id = self._run_id(name, tags, fact["started"])
        end = _milliseconds(fact["started"] + fact["seconds"])
        series: dict[str, list[tuple[float, int, int]]] = {}
        for row in fact.get("history", ()):
            for metric in row.keys() & fact["metrics"].keys():
                series.setdefault(metric, []).append((row[metric], _milliseconds(row["time"]), row["step"]))
        for metric, value in {**fact["metrics"], "seconds": fact["seconds"]}.items():
            if metric not in series or metric == "seconds":
                series[metric] = [(value, end, 0)]
        if fact["accuracy_by_k"]:
            series["accuracy_by_k"] = [(value, end, k) for k, value in enumerate(fact["accuracy_by_k"], 1)]
        self._log(run_id, series, {"space": fact["space"], **fact["config"]})
        self._client.set_terminated(run_id, STATUS[fact["state"]], end)

    def _run_id(self, name: str, tags: dict[str, str], started: float) -> str:
        """The MLflow run of that name in this study, created if it is not there yet."""
        if name not in self._ids:
            shown = self._run.name if name == PARENT else name
            every = {"visiontune.run": self._study, "visiontune.name": name, **tags}
            run = self._client.create_run(self._experiment, _milliseconds(started), every, run_name=shown)
            self._ids[name] = run.info.run_id
        return self._ids[name]

    def _log(self, run_id: str, series: dict[str, list[tuple[float, int, int]]], params: dict[str, Any]) -> None:
        from mlflow.entities import Metric, Param

        metrics = [Metric(name, value, at, step) for name, points in series.items() for value, at, step in points]
        self._client.log_batch(run_id, metrics, [Param(name, str(value)) for name, value in params.items()])


class Tracker(threading.Thread):
    """Sends the outbox in the background, and goes on trying while MLflow is away."""

    def __init__(self, sender: Sender) -> None:
        super().__init__(name="visiontune-tracking", daemon=True)
        self._sender = sender
        self._closing = threading.Event()
        self._deadline = float("inf")
        self.error = ""

    def run(self) -> None:
        pause = 1.0
        while True:
            closing = self._closing.is_set()
            try:
                self._sender.send()
                self.error, pause = "", 1.0
            except Exception as error:
                self.error = f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
                logger.warning("MLflow could not be told, trying again in %.0f s: %s", pause, self.error)
                self._sender.reset()
                pause = min(pause * 2, 60.0)
            if closing and (not self.error or time.monotonic() >= self._deadline):
                return
            if closing:
                time.sleep(0.5)
            else:
                self._closing.wait(pause)

    def close(self, patience: float) -> str:
        """Send the rest, for at most ``patience`` seconds; returns why not all was sent, or nothing."""
        self._deadline = time.monotonic() + patience
        self._closing.set()
        self.join(patience)
        return self.error if not self.is_alive() else self.error or f"still sending after {patience:.0f} s"


def connect(uri: str, runs_dir: Path) -> Any:
    """An MLflow client at ``uri``, quiet and quick to give up; a new sqlite file is made first, by one process."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import mlflow

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    runs_dir.mkdir(parents=True, exist_ok=True)
    with open(runs_dir / ".mlflow.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        client = mlflow.MlflowClient(uri)
        client.search_experiments(max_results=1)
    return client


def _name(tags: dict[str, str]) -> str:
    return tags.get("visiontune.name", "")


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)
