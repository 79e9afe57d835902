"""MLflow as a view of the run: sent from the outbox by a thread that no search ever waits for.

Exactly once: runs are looked up by their tags before they are created, params and tags may be set
twice, a metric point that carries its recorded time is stored once however often it is sent, and a
file takes the place of the one of its name. So after a crash everything since the last noted offset
is sent again.
"""

from __future__ import annotations

import logging
import time
from multiprocessing.pool import ThreadPool
from pathlib import Path

from analysis.plan.addresses import Tracking
from analysis.run.directory import RunDirectory, RunError
from search.ledger.outbox import (
    Fact,
    Outbox,
    ReplicaFact,
    ReportFact,
    RunFact,
    TrialFact,
    trial_fact,
)
from search.tracking.live_steps import LiveSteps
from search.tracking.mlflow_runs import PARENT, VIEW, MlflowRuns, Sent, Series, milliseconds
from search.tracking.moved import close_where_it_was
from search.tracking.series import end_of, points_of, series_of
from search.tracking.tracked_files import (
    TABLE_ROWS,
    best_files,
    leaderboard,
    table_rows,
    trial_files,
)
from spaces.errors import UserError
from spaces.objectives import metrics_of

logger = logging.getLogger("visiontune.tracking")

BATCH = 100
"""Facts sent between two notes of how far we came."""
THREADS = 4
"""Trials sent at a time to a server; a database that is written to directly takes one."""
STATUS = {
    "COMPLETE": "FINISHED",
    "PRUNED": "KILLED",
    "FAIL": "FAILED",
    "finished": "FINISHED",
    "stopped": "KILLED",
    "failed": "FAILED",
}


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
        self._outbox = Outbox(run.outbox)
        self._study = run.identity()
        if not self._study:
            raise RunError(
                f"{run.path / 'run.json'}: missing, and nothing else says who this run is; "
                f"visiontune resume {run.name} settles it"
            )
        self._runs: MlflowRuns | None = None
        self._failed = False
        self._live = LiveSteps(run)

    @property
    def place(self) -> str:
        """Where MLflow keeps the runs."""
        return tracking_uri(self._tracking, self._run.path.parent)

    @property
    def waiting(self) -> int:
        """How many facts MLflow has not been told for certain."""
        return self._outbox.waiting()

    @property
    def heard(self) -> float:
        """When MLflow last answered, by the monotonic clock; 0 if it never has."""
        return self._runs.heard if self._runs else 0.0

    def send(self) -> int:
        """Send what waits; returns how many facts were sent.

        Raises:
            Exception: whatever MLflow raises; everything sent before is noted.
        """
        runs = self.runs()
        sent = 0
        while facts := self._outbox.sendable(BATCH):
            together: list[TrialFact] = []
            for fact, _ in facts:
                if fact["kind"] == "trial":
                    together.append(fact)
                    continue
                self._send_trials(runs, together)
                self._send(runs, fact)
                together = []
            self._send_trials(runs, together)
            self._outbox.mark_sent(facts[-1][1], self.place)
            sent += len(facts)
        return sent

    def send_live(self) -> None:
        """Send the steps so far of trials that still run; they are sent again with the rest when a
        trial ends.

        At a URI nothing is: MLflow must not be told what the URI may not have yet.

        Raises:
            Exception: whatever MLflow raises.
        """
        if self._outbox.mirrored:
            return
        for trial in self._live.new():
            runs = self.runs()
            points = {name for row in trial.rows for name in metrics_of(row)} - {"seconds"}
            series = points_of(trial.rows, points)
            told = (trial.space, trial.number, trial.began, series if trial.first else None)
            run = self._child(runs, self._parent(runs), *told)
            runs.log(run, series, {"space": trial.space}, {"visiontune.state": "RUNNING"})

    def runs(self) -> MlflowRuns:
        """What MLflow has of this run; connects if need be.

        Raises:
            Exception: whatever MLflow raises.
        """
        if self._runs is None:
            before = self._outbox.place()
            self._runs = MlflowRuns(
                self.place, self._run.path.parent, self._tracking.experiment, self._study
            )
            close_where_it_was(self._run, before, self.place, self._tracking.experiment)
            if self._runs.get(PARENT) is None:
                self._outbox.mark_sent(0, self.place)  # another database, or an emptied one
        return self._runs

    def reset(self) -> None:
        """Connect anew, and look up what is there, before the next fact is sent."""
        self._runs, self._failed = None, True
        self._live = LiveSteps(self._run)

    def parent_url(self, base: str) -> str:
        """The page of this run in an MLflow UI at ``base``, in its view of model training: a
        browser that was never told opens MLflow for language models.
        """
        runs = self.runs()
        parent = runs.get(PARENT)
        place = f"/runs/{parent.id}" if parent else ""
        return f"{base}/#/experiments/{runs.experiment}{place}?{VIEW}"

    def _parent(self, runs: MlflowRuns) -> Sent:
        return runs.make(PARENT, self._run.name, {"visiontune.study": self._study}, time.time())

    def _send(self, runs: MlflowRuns, fact: Fact) -> None:
        if fact["kind"] == "run":
            self._send_run(runs, fact)
        elif fact["kind"] == "replica":
            trial = f"{fact['space']}/{fact['of']}"
            name, above = f"{trial} seed {fact['seed']}", runs.get(trial) or self._parent(runs)
            tags = {"visiontune.seed": str(fact["seed"]), "mlflow.parentRunId": above.id}
            runs.begin_anew(name, series_of(fact, end_of(fact)))
            self._send_ended(runs, runs.make(name, name, tags, fact["started"]), fact)
        elif fact["kind"] == "report":
            self._send_report(runs, fact)
        elif fact["kind"] == "end":
            if self._failed:
                runs.tidy()  # a server in trouble may have made a run after all
            parent, at = self._parent(runs), milliseconds(fact["time"])
            runs.log(
                parent, {name: [(value, at, 0)] for name, value in fact["metrics"].items()}, {}
            )
            runs.client.set_terminated(parent.id, STATUS[fact["state"]], at)

    def _send_run(self, runs: MlflowRuns, fact: RunFact) -> None:
        """The beginning of a session; what its plan says otherwise than the first becomes tags, as
        params are for ever.
        """
        tags = {
            "visiontune.study": self._study,
            "mlflow.note.content": fact["note"],
            **fact["tags"],
        }
        parent = runs.make(PARENT, self._run.name, tags, fact["time"])
        before = runs.params(parent)
        now = {name: str(value) for name, value in fact["params"].items()}
        changed = {
            f"visiontune.now.{name}": value
            for name, value in now.items()
            if before.get(name, value) != value
        }
        runs.log(
            parent,
            {},
            {name: value for name, value in now.items() if name not in before},
            {**tags, **changed},
        )
        if data := fact.get("data"):
            runs.note_dataset(
                parent,
                data["spec"],
                data["fingerprint"],
                data["spec"],
                {"classes": data["classes"], "images": data["sizes"]},
            )
        files = {
            path.name: path
            for path in (
                self._run.plan_file,
                self._run.path / "provenance.json",
                self._run.path / "data.json",
            )
        }
        runs.attach(parent, {name: path for name, path in files.items() if path.is_file()})
        runs.client.update_run(parent.id, status="RUNNING")

    def _send_report(self, runs: MlflowRuns, fact: ReportFact) -> None:
        """The report's files and the leaderboard on the parent; pictures, and the best's weights,
        on the best trials.
        """
        parent, plan = self._parent(runs), self._run.plan()
        paths = [self._run.path / name for name in fact["files"]]
        runs.attach(parent, {f"report/{path.name}": path for path in paths if path.is_file()})
        table = leaderboard(self._run)
        if not table:
            return
        runs.attach_table(parent, "leaderboard.json", table_rows(table[:TABLE_ROWS]))
        for key, files in best_files(self._run, plan, table):
            if trial := runs.get(key):
                runs.attach(trial, files)
        best = runs.get(table[0]["trial"])
        runs.log(
            parent,
            {},
            {},
            {
                "visiontune.best": table[0]["trial"],
                **({"visiontune.best_run_id": best.id} if best else {}),
            },
        )

    def _send_trials(self, runs: MlflowRuns, facts: list[TrialFact]) -> None:
        if not facts:
            return
        parent = self._parent(runs)
        once = list({f"{fact['space']}/{fact['number']}": fact for fact in facts}.values())
        if len(once) == 1 or not self.place.startswith("http"):
            for fact in once:
                self._send_trial(runs, parent, fact)
            return
        # its threads are daemons: an end of the driver waits for none
        with ThreadPool(min(THREADS, len(once))) as pool:
            pool.map(lambda fact: self._send_trial(runs, parent, fact), once, chunksize=1)

    def _as_recorded(self, fact: TrialFact) -> TrialFact:
        """A trial as its record and its steps say; as it was noted, where there is no record."""
        try:
            record = self._run.record(fact["space"], fact["number"])
        except UserError:
            return fact  # it is run again
        if record is None:
            return fact
        told = fact.get("history", [])
        rows = self._run.steps(record.space, record.number, record) if told or record.steps else []
        return trial_fact(record, rows or told)

    def _send_trial(self, runs: MlflowRuns, parent: Sent, fact: TrialFact) -> None:
        fact = self._as_recorded(fact)
        key, began = (fact["space"], fact["number"]), fact["started"]
        run = self._child(runs, parent, *key, began, series_of(fact, end_of(fact)))
        if files := trial_files(self._run, fact["space"], fact["number"]):
            runs.attach(run, files)
        self._send_ended(runs, run, fact)

    def _send_ended(self, runs: MlflowRuns, run: Sent, fact: TrialFact | ReplicaFact) -> None:
        parent = fact.get("parent")
        optional = {
            "parent": None if parent is None else f"{fact['space']}/{parent}",
            "failure": fact["failure"],
            "pruned_by": fact["pruned_by"],
            "violations": "; ".join(fact["violations"]),
        }
        tags = {
            "visiontune.state": fact["state"],
            "visiontune.node": fact["node"],
            **{f"visiontune.{key}": value for key, value in optional.items() if value},
        }
        end = end_of(fact)
        runs.log(run, series_of(fact, end), {"space": fact["space"], **fact["config"]}, tags)
        runs.client.set_terminated(run.id, STATUS[fact["state"]], end)

    def _child(
        self,
        runs: MlflowRuns,
        parent: Sent,
        space: str,
        number: int,
        began: float,
        series: Series | None,
    ) -> Sent:
        """The run of a trial; a new one if it holds what is not among ``series``, its points."""
        name = f"{space}/{number}"
        again = series is not None and runs.begin_anew(name, series)
        tags = {
            "visiontune.study": f"{self._study}/{space}",
            "visiontune.trial": str(number),
            "mlflow.parentRunId": parent.id,
        }
        run = runs.make(name, name, tags, began)
        if again:
            runs.adopt(run, name)
        return run
