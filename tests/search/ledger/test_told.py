"""What a trial says reaches study, pruner, record and outbox as it was said: every expected value
is written here by hand.
"""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from assigned import given

from analysis.plan.plan import make_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DriverState
from search.ledger.ledger import Ledger
from search.ledger.outbox import Outbox
from search.ledger.trial_source import Proposal
from search.study.storage import read_trials
from search.study.study import SpaceStudy
from spaces import ToyConfig
from trainables.learners.toy import ToyRun
from trainables.worker import SearchTrial

FOLDS = [  # (mean of the folds so far, this fold's own)
    (0.9, 0.9),
    (0.7, 0.5),
    (0.75, 0.85),
]


def ledger_of(tmp_path: Path, **settings: Any) -> tuple[RunDirectory, Ledger]:
    folder = RunDirectory(tmp_path / "run")
    if not folder.path.is_dir():
        folder.write_state(DriverState(id="0123abcd"))
    return folder, Ledger(
        folder, make_plan({"spaces": "toy-folds", "trials": 9, "sampler": "random", **settings})
    )


def begun(ledger: Ledger) -> Proposal:
    proposal = ledger.propose()
    assert proposal is not None
    return proposal


def step(number: int, accuracy: float, **more: Any) -> dict[str, Any]:
    return {
        "step": number,
        "val_accuracy": accuracy,
        "val_loss": 1 - accuracy,
        "model_mb": 1.0,
        "latency_ms": 1.0,
        "seconds": 2.0,
        **more,
    }


def test_the_study_hears_each_fold_and_the_trial_is_their_mean(tmp_path: Path) -> None:
    """A pruner of folds holds fold against fold; told the running mean, it would test the same
    images again and again.
    """
    folder, ledger = ledger_of(tmp_path)
    key = begun(ledger).key
    for number, (mean, own) in enumerate(FOLDS):
        assert not ledger.report(key, step(number, mean, report=own))
    ledger.end(key, step(2, 0.75, report=0.85, done=True))
    (trial,) = read_trials(folder)["toy-folds"]
    assert trial.intermediate_values == {0: 0.9, 1: 0.5, 2: 0.85}
    assert (trial.state.name, trial.value) == ("COMPLETE", 0.75)
    rows = folder.steps("toy-folds", 0)
    assert [(row["step"], row["val_accuracy"], row["report"], row["seconds"]) for row in rows] == [
        (0, 0.9, 0.9, 2.0),
        (1, 0.7, 0.5, 2.0),
        (2, 0.75, 0.85, 2.0),
    ]
    (record,) = folder.records()
    assert (
        record.steps,
        record.seconds,
        record.metrics["seconds"],
        record.metrics["val_accuracy"],
    ) == (3, 6.0, 6.0, 0.75)
    (fact,) = [fact for fact, _ in Outbox(folder.outbox).read()]
    assert [(row["step"], row["val_accuracy"], row["report"]) for row in fact["history"]] == [
        (0, 0.9, 0.9),
        (1, 0.7, 0.5),
        (2, 0.75, 0.85),
    ]


def test_the_pruner_judges_the_fold_and_not_the_mean(tmp_path: Path) -> None:
    """0.7 on average is above a threshold of 0.6, this fold's 0.5 is below it."""
    folder, ledger = ledger_of(tmp_path, pruner="threshold", pruner_options={"lower": 0.6})
    key = begun(ledger).key
    assert [
        ledger.report(key, step(n, mean, report=own)) for n, (mean, own) in enumerate(FOLDS[:2])
    ] == [False, True]
    low = begun(ledger).key
    assert not ledger.report(low, step(0, 0.4, report=0.65)), "and the other way round"
    (record,) = folder.records()
    assert (record.state, record.pruned_by, record.steps) == (
        "PRUNED",
        "pruner threshold at step 1",
        2,
    )
    assert record.metrics["val_accuracy"] == 0.7, "the last it had come to"


def test_without_a_report_of_its_own_a_step_is_judged_by_the_objective(tmp_path: Path) -> None:
    """Steps of a network, say: what is to be best is what the pruner sees."""
    folder, ledger = ledger_of(
        tmp_path,
        spaces="toy",
        objective="val_loss",
        pruner="threshold",
        pruner_options={"upper": 0.45},
    )
    key = begun(ledger).key
    assert not ledger.report(key, step(0, 0.6))
    assert ledger.report(key, step(1, 0.5))
    assert read_trials(folder)["toy"][0].intermediate_values == {0: 0.4, 1: 0.5}


def test_the_last_step_is_told_and_never_pruned(tmp_path: Path) -> None:
    """A trial that has done all its work is complete, however weak."""
    folder, ledger = ledger_of(tmp_path, pruner="threshold", pruner_options={"lower": 0.6})
    key = begun(ledger).key
    assert not ledger.report(key, step(0, 0.3, report=0.3, done=True))
    ledger.end(key, step(0, 0.3, report=0.3, done=True))
    (trial,) = read_trials(folder)["toy-folds"]
    assert (trial.state.name, trial.value, trial.intermediate_values) == ("COMPLETE", 0.3, {0: 0.3})
    assert len(folder.steps("toy-folds", 0)) == 1


def test_a_step_done_again_after_a_loss_is_neither_written_nor_judged_again(tmp_path: Path) -> None:
    """A worker that died goes on from its last checkpoint and repeats what came after that."""
    folder, ledger = ledger_of(tmp_path, pruner="threshold", pruner_options={"lower": 0.6})
    key = begun(ledger).key
    for number, (mean, own) in [
        (0, FOLDS[0]),
        (1, (0.8, 0.7)),
        (0, (0.1, 0.1)),
        (1, (0.1, 0.1)),
        (2, FOLDS[2]),
    ]:
        assert not ledger.report(key, step(number, mean, report=own))
    assert [row["report"] for row in folder.steps("toy-folds", 0)] == [0.9, 0.7, 0.85]
    assert read_trials(folder)["toy-folds"][0].intermediate_values == {0: 0.9, 1: 0.7, 2: 0.85}


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


def test_two_objectives_are_told_in_the_plan_s_order_and_judged_by_no_pruner(
    tmp_path: Path,
) -> None:
    """Optuna takes the values as they come: swapped, size would be maximised."""
    folder, ledger = ledger_of(tmp_path, spaces="toy", objective=["val_accuracy", "model_mb"])
    key = begun(ledger).key
    assert not ledger.report(key, step(0, 0.5, model_mb=0.25))
    ledger.end(key, step(1, 0.75, model_mb=0.25, done=True))
    (trial,) = read_trials(folder)["toy"]
    assert (trial.values, trial.intermediate_values) == ([0.75, 0.25], {})
    assert len(folder.steps("toy", 0)) == 2, "written down all the same"


@pytest.mark.parametrize(("gpus", "gpu_seconds"), [(0.0, 0.0), (0.5, 2.0), (2.0, 8.0)])
def test_gpu_seconds_are_seconds_times_gpus(
    tmp_path: Path, gpus: float, gpu_seconds: float
) -> None:
    """A limit on GPU-hours, and the bill, are reckoned by them."""
    folder, ledger = ledger_of(tmp_path, spaces="toy", gpus_per_trial=gpus)
    key = begun(ledger).key
    ledger.report(key, step(0, 0.5))
    ledger.end(key, step(1, 0.5, done=True))
    (record,) = folder.records()
    assert (record.seconds, record.gpu_seconds, ledger.tally.gpu_seconds) == (
        4.0,
        gpu_seconds,
        gpu_seconds,
    )


# --- the trial itself


def trainable(**changes: Any) -> SearchTrial:
    """A trial of folds as Tune makes one."""
    config = {
        "quality": 0.5,
        "optimiser": "adam",
        "rate": 1.0,
        "momentum": 0.0,
        "width": 4,
        "steps": 3,
        "pause": 0.0,
    }
    own = {"fault": "none", "fault_step": 0, **changes.pop("config", {})}
    return SearchTrial(
        config=given("toy-folds", {**config, **own}, **{"number": 7, "seed": 3, **changes})
    )


def noise(seed: int) -> list[float]:
    """A fold's accuracy less 0.5, as the toy's text says: normal, 0.02 wide, the same for every
    configuration.
    """
    return [float(value) for value in np.random.default_rng(seed).normal(0.0, 0.02, 3)]


@pytest.mark.parametrize("seed", [3, 4])
def test_a_trial_reports_its_own_fold_with_the_seed_it_was_given(seed: int) -> None:
    """Trials run again with other seeds must be other trials, and a fold's report the fold's."""
    trial, folds = trainable(seed=seed), [0.5 + value for value in noise(seed)]
    results = [trial.step() for _ in range(3)]
    assert [result["report"] for result in results] == pytest.approx(folds)
    assert [result["val_accuracy"] for result in results] == pytest.approx(
        [folds[0], (folds[0] + folds[1]) / 2, sum(folds) / 3]
    )
    assert [result["step"] for result in results] == [0, 1, 2]
    assert [result["done"] for result in results] == [False, False, True]
    assert ["trial toy-folds/7" in result["log"] for result in results] == [True, False, False], (
        "what was said is not said again"
    )


def test_a_trial_goes_on_from_the_latest_whole_checkpoint(tmp_path: Path) -> None:
    """Earlier drivers left several, and the last of them may be half a one."""
    trial, folders = trainable(), [tmp_path / name for name in ("b", "a", "c")]
    for folder in folders[:2]:
        trial.step()
        assert trial._run is not None
        trial._run.save(folder)
    shutil.copytree(folders[1], folders[2])
    (folders[2] / "state.json").write_text("{")
    again = trainable(restore=[str(folder) for folder in folders])
    result = again.step()
    assert (result["step"], result["done"]) == (2, True)
    assert result["report"] == pytest.approx(0.5 + noise(3)[2])
    assert result["val_accuracy"] == pytest.approx(0.5 + sum(noise(3)) / 3), (
        "the folds before it count too"
    )
    assert "goes on from" in result["log"]


def test_a_failure_ends_a_trial_with_its_cause_and_the_next_one_is_another(tmp_path: Path) -> None:
    """A worker is used again: nothing of a failed trial may be left in it."""
    trial = trainable(config={"fault": "error", "fault_step": 1})
    assert "failure" not in trial.step()
    result = trial.step()
    assert (result["failure"], result["done"]) == (
        "RuntimeError: this toy was told to fail in step 1",
        True,
    )
    assert "RuntimeError" in result["traceback"]
    assert "failed: this toy was told to fail" in result["log"]
    assert trial.reset_config(trainable(number=8, seed=4).config)
    result = trial.step()
    assert result["report"] == pytest.approx(0.5 + noise(4)[0])
    assert "failure" not in result
    assert "trial toy-folds/8" in result["log"]
    assert "failed" not in result["log"]


def test_toys_report_the_fold_whatever_came_before() -> None:
    """The fold's own accuracy, not the mean so far: they differ from the second on."""
    config = ToyConfig(
        quality=0.5,
        optimiser="adam",
        rate=1.0,
        momentum=0.0,
        width=4,
        steps=3,
        pause=0.0,
        fault="none",
        fault_step=0,
    )
    run = ToyRun(config, folds=True, seed=3)
    results = [run.step() for _ in range(3)]
    assert results[2]["report"] == pytest.approx(0.5 + noise(3)[2])
    assert not math.isclose(results[2]["report"], results[2]["val_accuracy"])


def test_the_outbox_tells_every_trial_s_steps_as_lines_of_json(tmp_path: Path) -> None:
    """Whoever reads the file alone must find what MLflow is told."""
    folder, ledger = ledger_of(tmp_path, spaces="toy")
    ledger.end(begun(ledger).key, step(0, 0.25, done=True))
    ledger.end(begun(ledger).key, {"failure": "boom", "traceback": "…"})
    lines = [json.loads(line) for line in (folder.outbox / "facts.jsonl").read_text().splitlines()]
    assert [
        (line["kind"], line["number"], line["state"], line["metrics"].get("val_accuracy"))
        for line in lines
    ] == [
        ("trial", 0, "COMPLETE", 0.25),
        ("trial", 1, "FAIL", None),
    ]
    assert [len(line["history"]) for line in lines] == [1, 0]
    assert lines[1]["failure"] == "boom"
