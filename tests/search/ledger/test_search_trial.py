"""What a trial itself reports: its own folds, from its own seed, and its failure with the cause."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from assigned import given

from spaces import ToyConfig
from trainables.learners.toy import ToyRun
from trainables.worker import SearchTrial


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
