"""A study that is gone, behind or says otherwise is told or built again from the trials' files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest
from folds_ledger import FOLDS, begun, ledger_of, step

from search.study.storage import read_trials
from search.study.study import SpaceStudy


def test_what_was_written_and_not_told_is_told_when_the_run_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver killed between its own file and the study; the fold's own value again, and what it
    goes on from.
    """
    folder, ledger = ledger_of(tmp_path)
    key = begun(ledger).key
    ledger.report(key, step(0, 0.9, report=0.9))
    with monkeypatch.context() as dying:
        dying.setattr(SpaceStudy, "report", lambda *arguments: False)
        ledger.report(key, step(1, 0.7, report=0.5))
    assert read_trials(folder)["toy-folds"][0].intermediate_values == {0: 0.9}
    _, again = ledger_of(tmp_path)
    assert read_trials(folder)["toy-folds"][0].intermediate_values == {0: 0.9, 1: 0.5}
    assert begun(again).key == key
    assert not again.report(key, step(1, 0.2, report=0.2)), "done before"
    again.end(key, step(2, 0.75, report=0.85, done=True))
    (record,) = folder.records()
    assert (record.steps, record.seconds) == (3, 6.0), "the seconds of both drivers"
    assert record.started == pytest.approx(folder.steps("toy-folds", 0)[0]["time"] - 2.0)
    assert read_trials(folder)["toy-folds"][0].intermediate_values == {0: 0.9, 1: 0.5, 2: 0.85}


def test_half_a_step_that_a_killed_driver_left_does_not_spoil_the_next(tmp_path: Path) -> None:
    """What was not written whole was not said, and the step is done again: on a line of its own."""
    folder, ledger = ledger_of(tmp_path)
    key = begun(ledger).key
    ledger.report(key, step(0, 0.9, report=0.9))
    with open(folder.trial("toy-folds", 0) / "steps.jsonl", "ab") as file:
        file.write(b'{"step": 1, "time": 12')
    _, again = ledger_of(tmp_path)
    assert begun(again).key == key
    assert not again.report(key, step(1, 0.7, report=0.5))
    assert [(row["step"], row["report"]) for row in folder.steps("toy-folds", 0)] == [
        (0, 0.9),
        (1, 0.5),
    ]


def test_a_record_that_was_written_and_not_told_is_told_with_its_own_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The value, the metrics and how far it is out of bounds: what it would have been told."""
    folder, ledger = ledger_of(tmp_path, constraints={"latency_ms": {"max": 0.75}})
    key = begun(ledger).key
    with monkeypatch.context() as dying:
        dying.setattr(SpaceStudy, "tell", lambda *arguments: None)
        ledger.end(key, step(0, 0.625, report=0.875, done=True))
    assert read_trials(folder)["toy-folds"][0].state.name == "RUNNING"
    _, again = ledger_of(tmp_path, constraints={"latency_ms": {"max": 0.75}})
    (trial,) = read_trials(folder)["toy-folds"]
    assert (trial.state.name, trial.value, trial.user_attrs["val_loss"], trial.constraints) == (
        "COMPLETE",
        0.625,
        0.375,
        {"latency_ms": 0.25},
    )
    assert (again.tally.done, again.tally.best) == (1, None), (
        "a trial that breaks a constraint is no candidate"
    )


def test_a_study_that_is_built_again_says_what_was_said(tmp_path: Path) -> None:
    """Each fold's own accuracy, the mean as the trial's value, the last report as that of one that
    was pruned, and the constraints.
    """
    settings: dict[str, Any] = {
        "pruner": "threshold",
        "pruner_options": {"lower": 0.6, "n_warmup_steps": 1},
    }
    settings["constraints"] = {"latency_ms": {"max": 0.75}}
    folder, ledger = ledger_of(tmp_path, **settings)
    keys = [begun(ledger).key for _ in range(3)]
    for number, (mean, own) in enumerate([FOLDS[0], (0.85, 0.8), FOLDS[2]]):
        ledger.report(keys[0], step(number, mean, report=own))
    ledger.end(keys[0], step(2, 0.75, report=0.85, done=True))
    assert [
        ledger.report(keys[1], step(n, mean, report=own)) for n, (mean, own) in enumerate(FOLDS[:2])
    ] == [False, True]
    ledger.report(keys[2], step(0, 0.25, report=0.125))
    folder.journal.unlink()
    ledger_of(tmp_path, **settings)
    trials = read_trials(folder)["toy-folds"]
    assert [
        (trial.state.name, trial.value, trial.intermediate_values, trial.constraints)
        for trial in trials
    ] == [
        ("COMPLETE", 0.75, {0: 0.9, 1: 0.8, 2: 0.85}, {"latency_ms": 0.25}),
        ("PRUNED", 0.5, {0: 0.9, 1: 0.5}, {"latency_ms": 0.25}),
        ("RUNNING", None, {0: 0.125}, {}),
    ]


@pytest.mark.parametrize(
    ("said", "instead"),
    [
        ('"values":[0.75]', '"values":[0.125]'),
        ('"values":[0.75]', '"values":[0.75000001]'),
        ('"state":1', '"state":2'),
    ],
)
def test_a_study_that_says_otherwise_than_the_record_is_built_again(
    tmp_path: Path, said: str, instead: str
) -> None:
    """A study that was changed, or put back from another copy: the sampler would learn from what
    never was.
    """
    folder, ledger = ledger_of(tmp_path)
    ledger.end(begun(ledger).key, step(0, 0.75, report=0.75, done=True))
    text = folder.journal.read_text()
    assert text.count(said) == 1
    folder.journal.write_text(text.replace(said, instead))
    ledger_of(tmp_path)
    (trial,) = read_trials(folder)["toy-folds"]
    assert (trial.state.name, trial.value) == ("COMPLETE", 0.75)


@pytest.mark.parametrize("objectives", [["val_loss", "val_accuracy"], ["val_accuracy", "model_mb"]])
def test_a_study_of_two_objectives_is_built_again_in_their_order(
    tmp_path: Path, objectives: list[str]
) -> None:
    """And each still goes its own way."""
    folder, ledger = ledger_of(tmp_path, spaces="toy", objective=objectives)
    ledger.end(begun(ledger).key, step(0, 0.75, model_mb=0.5, done=True))
    folder.journal.unlink()
    ledger_of(tmp_path, spaces="toy", objective=objectives)
    (trial,) = read_trials(folder)["toy"]
    assert (trial.values, trial.intermediate_values) == (
        [0.25, 0.75] if objectives[0] == "val_loss" else [0.75, 0.5],
        {},
    )
    backend = optuna.storages.journal.JournalFileBackend(str(folder.journal))
    study = optuna.load_study(study_name="toy", storage=optuna.storages.JournalStorage(backend))
    wanted = ["MINIMIZE", "MAXIMIZE"] if objectives[0] == "val_loss" else ["MAXIMIZE", "MINIMIZE"]
    assert [direction.name for direction in study.directions] == wanted
