"""What a trial says reaches study, pruner, record and outbox as it was said: every expected value
is written here by hand.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from folds_ledger import FOLDS, begun, ledger_of, step

from search.ledger.outbox import Outbox
from search.study.storage import read_trials


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
