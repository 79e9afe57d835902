"""What Tune is told of the search and the search of Tune's trials: no trial too many, none lost,
none told twice.
"""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray
from assigned import assigned
from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from analysis.plan.plan import make_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DriverState
from search.cluster.tune_adapters import (
    Bridge,
    StopRequest,
    StudyCallback,
    StudyScheduler,
    StudySearcher,
)
from search.ledger.ledger import Ledger
from search.ledger.trial_source import Proposal
from search.study.storage import read_trials
from trainables.learners import Assignment

TOY = {
    "step": 0,
    "val_accuracy": 0.5,
    "val_loss": 0.7,
    "model_mb": 1.0,
    "latency_ms": 1.0,
    "seconds": 2.0,
}


def ledger_of(tmp_path: Path, **settings: Any) -> tuple[RunDirectory, Ledger]:
    folder = RunDirectory(tmp_path / "run")
    if not folder.path.is_dir():
        folder.write_state(DriverState(id="0123abcd"))
    plan = make_plan(
        {"spaces": "toy", "trials": 9, "sampler": "random", "set": {"width": 4}, **settings}
    )
    return folder, Ledger(folder, plan)


def given(trial: Proposal) -> Assignment:
    return assigned(trial.space, trial.config, trial.number)


def bridge_of(ledger: Any, **settings: Any) -> Bridge:
    facts: dict[str, Any] = {"stop_asked": lambda: False, **settings}
    return Bridge(ledger, given, **facts)


def tune_trial(
    name: str, suggestion: Any, tmp_path: Path, status: str = Trial.RUNNING, max_failures: int = 1
) -> Trial:
    """Tune's own trial of a suggestion."""
    trial = Trial("none", stub=True, config=suggestion, trial_id=name, max_failures=max_failures)
    trial.storage = SimpleNamespace(trial_driver_staging_path=str(tmp_path))  # type: ignore[assignment]
    trial.status = status
    return trial


def test_no_more_trials_are_begun_than_there_is_room_for(tmp_path: Path) -> None:
    """A proposal that waits for room was drawn without what the others come to meanwhile."""
    _, ledger = ledger_of(tmp_path)
    room = 2
    bridge = bridge_of(ledger, room=lambda: room)
    assert isinstance(bridge.suggest("a"), dict)
    assert isinstance(bridge.suggest("b"), dict)
    assert bridge.suggest("c") is None, "not now"
    assert ledger.running == 2
    bridge.end("a", {**TOY, "done": True})
    assert isinstance(bridge.suggest("c"), dict)
    room = 3
    assert isinstance(bridge.suggest("d"), dict)


def test_the_search_is_over_when_the_last_trial_has_ended(tmp_path: Path) -> None:
    """Told so too early, Tune would leave the last trials; never told, it would wait for ever."""
    _, ledger = ledger_of(tmp_path, trials=2)
    bridge = bridge_of(ledger)
    searcher = StudySearcher(bridge)
    assert isinstance(searcher.suggest("a"), dict)
    assert isinstance(searcher.suggest("b"), dict)
    assert searcher.suggest("c") is None
    bridge.end("a", {**TOY, "done": True})
    assert searcher.suggest("c") is None, "one still runs"
    bridge.end("b", {**TOY, "done": True})
    assert searcher.suggest("c") == Searcher.FINISHED
    assert ledger.finished_reason == "all 2 trials are done"


def test_who_asks_the_search_to_stop_stops_what_runs(tmp_path: Path) -> None:
    """And what failed meanwhile is left for resume: its worker may have been killed before we were
    told.
    """
    folder, ledger = ledger_of(tmp_path)
    asked = False
    bridge = bridge_of(ledger, stop_asked=lambda: asked)
    stop = StopRequest(bridge)
    assert isinstance(bridge.suggest("a"), dict)
    assert not stop.stop_all()
    asked = True
    assert stop.stop_all()
    assert bridge.suggest("b") == Searcher.FINISHED
    assert [trial.state.name for trial in read_trials(folder)["toy"]] == ["RUNNING"]


@pytest.mark.parametrize(
    ("limits", "stops"), [({"gpu_hours": 0.0001}, True), ({"target": 0.4}, False)]
)
def test_a_limit_on_time_stops_what_runs_and_no_other_does(
    tmp_path: Path, limits: dict[str, float], stops: bool
) -> None:
    """A target that was reached lets the others end; a budget that is spent does not."""
    _, ledger = ledger_of(tmp_path, limits=limits, gpus_per_trial=1.0)
    bridge = bridge_of(ledger)
    for name in "ab":
        assert isinstance(bridge.suggest(name), dict)
    bridge.end("a", {**TOY, "done": True})
    bridge.suggest("c")
    assert ledger.ending is not None
    assert bridge.stopping() == stops
    assert (bridge.suggest("d") == Searcher.FINISHED) == stops


def test_what_goes_wrong_on_our_side_ends_the_search_and_is_kept(tmp_path: Path) -> None:
    """Tune would end over an exception too, with all its trials and a traceback of its own."""
    _, ledger = ledger_of(tmp_path)
    bridge = bridge_of(ledger)
    full = OSError(28, "No space left on device")

    def fail(*arguments: Any) -> Any:
        raise full

    ledger.propose = fail  # type: ignore[method-assign]
    assert StudySearcher(bridge).suggest("a") == Searcher.FINISHED
    assert bridge.error is full
    assert bridge.stopping()
    bridge.guarded(lambda: 1 / 0)
    assert bridge.error is full, "the first is the cause"


def test_the_pruner_s_word_reaches_tune(tmp_path: Path) -> None:
    """True is stop; a trial that nobody knows any more is stopped as well."""
    folder, ledger = ledger_of(tmp_path, pruner="threshold", pruner_options={"lower": 0.6})
    bridge = bridge_of(ledger)
    scheduler = StudyScheduler(bridge, 0)
    strong, weak = (tune_trial(name, bridge.suggest(name), tmp_path) for name in ("strong", "weak"))
    said = {"strong": {**TOY, "val_accuracy": 0.7}, "weak": {**TOY, "val_accuracy": 0.5}}
    assert scheduler.on_trial_result(None, strong, said["strong"]) == TrialScheduler.CONTINUE  # type: ignore[arg-type]
    assert scheduler.on_trial_result(None, weak, said["weak"]) == TrialScheduler.STOP  # type: ignore[arg-type]
    assert (
        scheduler.on_trial_result(None, tune_trial("unknown", {}, tmp_path), said["strong"])
        == TrialScheduler.STOP
    )  # type: ignore[arg-type]
    assert [record.number for record in folder.records()] == [1]


def test_the_end_of_a_trial_is_told_with_all_that_it_left_and_then_let_go(tmp_path: Path) -> None:
    """Tune keeps every result for as long as the search lasts."""
    folder, ledger = ledger_of(tmp_path)
    bridge = bridge_of(ledger)
    trial = tune_trial("a", bridge.suggest("a"), tmp_path)
    callback = StudyCallback(bridge, lambda: None)
    result = {**TOY, "log": "it went well\n", "node": "here"}
    callback.on_trial_result(1, [trial], trial, result)
    assert folder.records() == [], "it has not ended"
    callback.on_trial_result(
        1, [trial], trial, last := {**result, "step": 1, "done": True, "predictions": [1]}
    )
    (record,) = folder.records()
    assert (record.state, record.node, record.steps) == ("COMPLETE", "here", 2)
    assert folder.text("toy", 0, "log.txt") == "it went well\n"
    assert not {"log", "predictions"} & set(last)


@pytest.mark.parametrize(
    ("limit", "waited", "killed"), [(10.0, 9.0, False), (10.0, 11.0, True), (None, 1e6, False)]
)
def test_a_trial_that_takes_too_long_is_killed_and_says_so(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    limit: float | None,
    waited: float,
    killed: bool,
) -> None:
    """Its own time counts from when it runs: a worker that still starts has not begun."""
    folder, ledger = ledger_of(tmp_path)
    bridge = bridge_of(ledger, trial_seconds=lambda: limit)
    trial = tune_trial("a", bridge.suggest("a"), tmp_path, Trial.PENDING)
    now, dead = 1000.0, list[Any]()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(ray, "kill", dead.append)
    trial.temporary_state.ray_actor = "the worker"  # type: ignore[assignment]
    bridge.kill_overdue([trial])
    now += 1e6
    trial.status = Trial.RUNNING
    bridge.kill_overdue([trial])
    assert dead == []
    now += waited
    for _ in range(2):
        bridge.kill_overdue([trial])
    assert dead == (["the worker"] if killed else [])
    if killed:
        assert trial.max_failures == 0, "Tune does not start it again"
        bridge.fail(trial)
        assert [record.failure for record in folder.records()] == [
            "not done after 10 s (limits.trial_seconds); its worker was killed"
        ]


def test_a_lost_worker_is_said_with_ray_s_own_cause(tmp_path: Path) -> None:
    """The last failure is the one that ended it."""
    folder, ledger = ledger_of(tmp_path)
    bridge = bridge_of(ledger)
    trial = tune_trial("a", bridge.suggest("a"), tmp_path)
    causes = tmp_path / "error.txt"
    causes.write_text(
        "Failure # 1 (at 12:00)\nthe first cause\nFailure # 2 (at 12:01)\nthe second\n cause\n"
    )
    trial.run_metadata.error_filename = "error.txt"
    assert Path(str(trial.error_file)) == causes
    bridge.fail(trial)
    (record,) = folder.records()
    assert record.state == "FAIL"
    assert (record.failure or "").startswith("its worker died: the second")


def test_what_goes_into_tune_s_snapshots_is_empty(tmp_path: Path) -> None:
    """Tune pickles its searcher and scheduler again and again; the study holds open files and
    thousands of trials.
    """
    _, ledger = ledger_of(tmp_path)
    bridge = bridge_of(ledger)
    again = pickle.loads(pickle.dumps(StudySearcher(bridge)))
    assert vars(again._bridge) == {}


def test_a_failed_trial_is_tried_again_as_often_as_the_plan_says_also_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One retry too few loses a configuration to a passing fault, one too many runs what always
    fails.
    """
    from search.study.study import SpaceStudy

    folder, ledger = ledger_of(tmp_path, trials=1, retries=1, limits={"max_failed_in_a_row": 20})
    bridge = bridge_of(ledger)
    first = bridge.suggest("a")
    assert isinstance(first, dict)
    with monkeypatch.context() as dying:
        dying.setattr(SpaceStudy, "retry_failed", lambda *arguments: None)
        bridge.end("a", {"failure": "boom"})
    _, again = ledger_of(tmp_path, trials=1, retries=1, limits={"max_failed_in_a_row": 20})
    assert again.states()["WAITING"] == 1
    _, again = ledger_of(tmp_path, trials=1, retries=1, limits={"max_failed_in_a_row": 20})
    assert again.states()["WAITING"] == 1, "and not once more"
    bridge = bridge_of(again)
    second = bridge.suggest("a")
    assert isinstance(second, dict)
    retried, before = second["assignment"], first["assignment"]
    assert (retried.config, retried.number) == (before.config, 1)
    bridge.end("a", {"failure": "boom"})
    third = bridge.suggest("b")
    assert isinstance(third, dict)
    assert third["assignment"].config != before.config
    assert [record.state for record in folder.records()] == ["FAIL", "FAIL"]
