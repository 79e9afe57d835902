"""What one driver makes of a run: how it ends, what it says of that, and what it takes over from
the drivers before it.
"""

from __future__ import annotations

import io
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from program import typed
from rich.console import Console

from analysis.plan.plan import Plan, make_plan
from analysis.run.changing import change_plan
from analysis.run.directory import RunDirectory
from search.cli.changing import _wait_while_ending
from search.cluster.capacity import Capacity
from search.driver.beginning import create
from search.driver.reporting import write_report
from search.driver.runner import run
from search.driver.session import Session
from search.ledger import requests
from search.ledger.outbox import Outbox
from search.ledger.status import Summary
from search.study.storage import read_trials
from trainables.io.files import write_whole

TOY = {"step": 0, "val_loss": 0.7, "model_mb": 1.0, "latency_ms": 1.0, "seconds": 2.0, "done": True}


class Here(Session):
    """A session whose trials run in this process, one after the other: only Ray's part is left out.

    Attributes:
        outcomes: what the trials come to: an accuracy, None for a failure, an exception for what
            goes wrong on our side, a word for who asked to stop.
    """

    outcomes: list[float | BaseException | str | None]
    begun = 0

    def _run_trials(self, *arguments: Any) -> str:
        ledger = self._ledger
        for outcome in self.outcomes:
            proposal = ledger.propose()
            if proposal is None:
                break
            self.begun += 1
            if isinstance(outcome, BaseException):
                raise outcome
            if isinstance(outcome, str):
                return outcome
            ledger.end(
                proposal.key,
                {"failure": "boom"} if outcome is None else {**TOY, "val_accuracy": outcome},
            )
        ledger.look()
        return ""


def begun(tmp_path: Path, **settings: Any) -> RunDirectory:
    """A new run of the toy, whose lock nobody holds."""
    from analysis.run.records import DataFacts

    plan = make_plan(
        {
            "spaces": "toy",
            "sampler": "random",
            "trials": 3,
            "name": "run",
            "tracking": {"enabled": False},
            **settings,
        }
    )
    folder = RunDirectory(tmp_path / "run")
    os.close(
        create(folder, plan, DataFacts(spec="none", classes=(), sizes={}, fingerprint=""), None)
    )
    return folder


def plan_of(folder: RunDirectory) -> Plan:
    return folder.plan()


def session(folder: RunDirectory, *outcomes: float | BaseException | str | None) -> Here:
    """A driver's life up to its report."""
    made = Here(folder, plan_of(folder), Console(file=io.StringIO(), width=200))
    made.outcomes = list(outcomes)
    with made.noted():
        made.run({}, "fingerprint", Capacity.of(plan_of(folder), 2), [])
    made._note()
    return made


def ends(folder: RunDirectory) -> list[str]:
    return [fact["state"] for fact, _ in Outbox(folder.outbox).read() if fact["kind"] == "end"]


@pytest.mark.parametrize(
    ("settings", "outcomes", "state", "reason"),
    [
        ({}, (0.5, 0.6, 0.7), "finished", "all 3 trials are done"),
        ({}, (0.5, "asked by SIGTERM"), "stopped", "asked by SIGTERM"),
        (
            {"limits": {"target": 0.6}},
            (0.5, 0.6, 0.7),
            "finished",
            "target 0.6 reached: 0.6000 (limits.target)",
        ),
        (
            {"limits": {"max_failed": 1}},
            (0.5, None, None),
            "failed",
            "2 trials failed (limits.max_failed: 1)",
        ),
        (
            {"limits": {"seconds": 1e-9}},
            (0.5,),
            "failed",
            "time limit of 1e-09 s reached (limits.seconds)",
        ),
    ],
)
def test_a_session_says_how_the_search_stands_when_it_ends(
    tmp_path: Path, settings: dict[str, Any], outcomes: Any, state: str, reason: str
) -> None:
    """Scripts go by the state: finished is enough, stopped goes on, failed is somebody's
    business.
    """
    folder = begun(tmp_path, **settings)
    session(folder, *outcomes)
    assert (folder.state().state, folder.state().reason) == (state, reason)


def test_a_trial_that_runs_when_the_time_is_up_is_ended_with_the_search(tmp_path: Path) -> None:
    """Nothing is left running in a search that is over."""
    folder = begun(tmp_path, limits={"seconds": 60})
    found = Here(folder, plan_of(folder), Console(file=io.StringIO()))
    assert found._ledger.propose() is not None
    found._seconds_before = 60.0
    found.outcomes = []
    found.run({}, "fingerprint", Capacity.of(plan_of(folder), 2), [])
    assert [record.pruned_by for record in folder.records()] == [
        "time limit of 60 s reached (limits.seconds)"
    ]
    assert found._state.state == "finished"


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (OSError(28, "No space left on device"), "failed", "No space left on device"),
        (KeyboardInterrupt(), "stopped", "interrupted"),
    ],
)
def test_what_breaks_a_session_is_written_down_and_raised(
    tmp_path: Path, error: BaseException, state: str, reason: str
) -> None:
    """The morning after, the run must say what happened in the night; and what was finished is
    there.
    """
    folder = begun(tmp_path)
    with pytest.raises(type(error)):
        session(folder, 0.5, error)
    assert (folder.state().state, reason in folder.state().reason) == (state, True)
    assert ends(folder) == [state]
    assert [record.state for record in folder.records()] == ["COMPLETE"]
    again = session(folder, 0.6, 0.7)
    assert (again._state.state, again._state.session, again.begun) == ("finished", 2, 2)
    assert [trial.state.name for trial in read_trials(folder)["toy"]] == ["COMPLETE"] * 3


def test_the_seconds_of_all_sessions_are_counted_together(tmp_path: Path) -> None:
    """A limit on time that began anew with every resume would be none."""
    folder = begun(tmp_path)
    session(folder, "asked by SIGTERM")
    folder.write_state(folder.state().model_copy(update={"seconds": 1000.0}))
    found = session(folder, "asked by SIGTERM")
    assert 1000.0 <= found.seconds() < 1900.0
    assert 1000.0 <= folder.state().seconds < 1900.0
    assert folder.state().session == 2
    assert folder.state().id == found._state.id


def test_what_was_asked_while_no_driver_was_there_comes_first(tmp_path: Path) -> None:
    """More trials and a configuration of somebody's: both are in files when a driver begins, or
    come while it runs.
    """
    folder = begun(tmp_path)
    requests.ask(folder, "enqueue", "toy", {"quality": 0.125})
    session(folder, 0.5, "asked by SIGTERM")
    assert folder.records()[0].config["quality"] == 0.125
    found = Here(folder, plan_of(folder), Console(file=io.StringIO()))
    longer = plan_of(folder).model_copy(update={"trials": 5})
    time.sleep(0.01)
    write_whole(folder.plan_file, longer.to_yaml())
    assert found._ledger.plan.trials == 3
    found._take_news()
    assert found._ledger.plan.trials == 5
    requests.ask(folder, "retry", "toy", {}, 0)
    found._take_news()
    assert found._ledger.states() == {
        "COMPLETE": 1,
        "PRUNED": 0,
        "FAIL": 0,
        "RUNNING": 1,
        "WAITING": 1,
    }


class Replicating(Here):
    """Meanwhile another terminal asks for two more trials, once."""

    def _replicate(self, loop: Any) -> str:
        if self._folder.plan().trials == 3:
            change_plan(self._folder, lambda plan: {"trials": plan.trials + 2})
            self._noted = 0.0
            assert self._look_in_time(), "as is done while trials run"
        return ""


@pytest.mark.parametrize("limits", [{}, {"seconds": 60}])
def test_what_is_asked_while_the_best_are_run_again_is_done(
    tmp_path: Path, limits: dict[str, Any]
) -> None:
    """Whoever asks for more is told that the run goes on, and running the best again may take
    hours; MLflow is told what the plan says now, whatever began with another.
    """
    folder = begun(tmp_path, limits=limits)
    made = Replicating(folder, plan_of(folder), Console(file=io.StringIO(), width=200))
    made.outcomes = [0.5, 0.6, 0.7]
    with made.noted():
        made.run({}, "fingerprint", Capacity.of(plan_of(folder), 2), [])
    assert [record.state for record in folder.records()] == ["COMPLETE"] * 5
    assert (folder.state().state, folder.state().reason) == ("finished", "all 5 trials are done")
    facts = [fact for fact, _ in Outbox(folder.outbox).read() if fact["kind"] == "run"]
    assert [fact["params"]["trials"] for fact in facts] == [3, 5]
    assert write_report(folder, made._plan)
    (change,) = folder.plan().changes
    page = (folder.report / "report.html").read_text()
    assert f"Changed on {change.when}: trials 5 (was 3)." in page


def test_who_is_asked_while_a_driver_writes_its_report_promises_nothing_for_it(
    tmp_path: Path,
) -> None:
    """A driver that has searched looks at no request any more: what it will not do is for the next
    one, and who wants more waits for it to end.
    """
    folder = begun(tmp_path)
    session(folder, 0.5, 0.6, 0.7)
    lock = folder.lock()
    assert lock is not None
    runs = ("--runs-dir", tmp_path)
    try:
        asked = typed("change", "run", "--trials", 4, *runs)
        assert "goes on so with visiontune resume run: trials 4 (was 3)" in asked.stdout
        asked = typed("enqueue", "run", "--set", "quality=0.5", *runs)
        assert "will try toy with quality=0.5 first, with: visiontune " in asked.stdout
        timer = threading.Timer(0.5, os.close, (lock,))
        timer.start()
        _wait_while_ending(folder)
        assert not folder.alive()
    finally:
        timer.join()
    lock = folder.lock()
    assert lock is not None
    state = folder.state()
    for trials, other in ((5, {"state": "running"}), (6, {"pid": 0})):  # it searches; it begins
        folder.write_state(state.model_copy(update=other))
        assert "takes it up" in typed("change", "run", "--trials", trials, *runs).stdout
    os.close(lock)


def test_a_plan_that_cannot_be_read_any_more_ends_no_search(tmp_path: Path) -> None:
    """Somebody writes in plan.yaml while trials run: half a line, or spaces that this search has
    not; what is right in it by the next look is taken up then.
    """
    folder = begun(tmp_path)
    out = io.StringIO()
    made = Here(folder, plan_of(folder), Console(file=out, width=500))
    good = folder.plan_file.read_text()
    for wrong, said in (
        ("trials: [", "plan.yaml"),
        (good.replace("trials: 3", "trials: 0"), "greater than or equal to 1"),
        (good.replace("- toy", "- toy-folds").replace("narrowed: {}", "narrowed: {width: 70}"),
         "width must be"),
    ):  # fmt: skip
        time.sleep(0.01)
        folder.plan_file.write_text(wrong)
        made._take_news()
        assert said in out.getvalue(), wrong
        assert out.getvalue().count("the search goes on as it was asked to before") == 1
        out.truncate(out.seek(0))
    time.sleep(0.01)
    folder.plan_file.write_text(good.replace("trials: 3", "trials: 4"))
    made._take_news()
    assert made._ledger.plan.trials == 4


def test_a_finished_session_leaves_report_state_and_facts(tmp_path: Path) -> None:
    """In this order: the report is written, MLflow's facts name its files, everything is kept, and
    only then is waited for MLflow.
    """
    folder, kept = begun(tmp_path, trials=2), list[list[str]]()

    def keep() -> None:
        kept.append([fact["kind"] for fact, _ in Outbox(folder.outbox).read()])

    made = Here(folder, plan_of(folder), Console(file=io.StringIO()), keep)
    made.outcomes = [0.5, 0.75]
    made.run({}, "fingerprint", Capacity.of(plan_of(folder), 2), [])
    summary = made.finish()
    assert isinstance(summary, Summary)
    assert (summary.state, summary.counts, summary.best and summary.best.number) == (
        "finished",
        {"COMPLETE": 2, "PRUNED": 0, "FAIL": 0},
        1,
    )
    assert kept == [["run", "trial", "trial", "report", "end"]]
    facts = [fact for fact, _ in Outbox(folder.outbox).read()]
    assert facts[3]["files"]
    assert all((folder.path / name).is_file() for name in facts[3]["files"])
    assert (facts[4]["state"], facts[4]["metrics"]["best_val_accuracy"]) == ("finished", 0.75)
    state = json.loads((folder.path / "state.json").read_text())
    assert (state["state"], state["trials"]) == (
        "finished",
        {"COMPLETE": 2, "PRUNED": 0, "FAIL": 0, "RUNNING": 0, "WAITING": 0},
    )
    assert state["best"]["trial"] == "toy/1"


def test_a_name_that_is_taken_gets_no_second_run(tmp_path: Path) -> None:
    """Two searches in one folder would number their trials alike."""
    from analysis.plan.plan import PlanError

    folder = begun(tmp_path)
    before = {path.name: path.read_bytes() for path in folder.path.iterdir() if path.is_file()}
    with pytest.raises(PlanError, match="there is a run 'run'"):
        run(plan_of(folder), tmp_path)
    assert {
        path.name: path.read_bytes() for path in folder.path.iterdir() if path.is_file()
    } == before
