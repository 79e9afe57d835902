"""A worker whose trial goes on from another's end with other values, and one that does all of it
again: the same comes out.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from assigned import given
from cnn_run import small_run

from trainables.cnn.checkpoint import CheckpointError
from trainables.io.checkpoint import steps_done
from trainables.worker import SearchTrial

TOY: dict[str, Any] = {
    "quality": 0.8, "optimiser": "sgd", "rate": 0.2, "momentum": 0.1, "width": 4, "steps": 6,
    "pause": 0.0, "fault": "none", "fault_step": 0,
}  # fmt: skip
FASTER = {**TOY, "rate": 0.5, "momentum": 0.3}
SLOWER = {**FASTER, "rate": 0.1}


def toy(config: dict[str, Any], number: int = 0, **own: Any) -> dict[str, Any]:
    return given("toy", config, number, **own)


def rows_of(config: dict[str, Any]) -> list[tuple[int, float]]:
    trial = SearchTrial(config)
    rows = [trial.step()]
    while not rows[-1]["done"]:
        rows.append(trial.step())
    assert "failure" not in rows[-1], rows[-1]
    return [(row["step"], row["val_accuracy"]) for row in rows]


@pytest.fixture
def chain(tmp_path: Path) -> tuple[list[tuple[int, float]], dict[str, Any]]:
    """What three generations came to, and the assignment of the last."""
    first, second = str(tmp_path / "0" / "end"), str(tmp_path / "1" / "end")
    rows = rows_of(toy(TOY, until=2, leaves=first))
    rows += rows_of(toy(FASTER, 1, before=((2, TOY),), goes_from=first, until=4, leaves=second))
    last: dict[str, Any] = {"before": ((2, TOY), (4, FASTER)), "until": 6, "goes_from": second}
    return rows + rows_of(toy(SLOWER, 2, **last)), last


def test_a_trial_goes_on_where_its_parent_ended_and_ends_when_it_is_told(
    chain: tuple[list[tuple[int, float]], dict[str, Any]], tmp_path: Path
) -> None:
    """A child that began anew, or went past its generation, would be compared with nobody."""
    rows, _ = chain
    assert [step for step, _ in rows] == list(range(6))
    assert steps_done(tmp_path / "0" / "end") == 2
    assert steps_done(tmp_path / "1" / "end") == 4
    slow = dict(rows_of(toy(TOY)))
    assert dict(rows)[1] == slow[1]
    assert dict(rows)[3] > slow[3], "from step 2 on it learns faster"


def test_a_schedule_that_is_trained_from_scratch_comes_to_the_same(
    chain: tuple[list[tuple[int, float]], dict[str, Any]],
) -> None:
    """So are winners run again, and refitted: by all of their values, each in its time."""
    rows, last = chain
    assert rows_of(toy(SLOWER, 3, **{**last, "goes_from": ""})) == rows


def test_a_child_whose_parent_s_end_is_gone_or_damaged_does_its_steps_again(
    chain: tuple[list[tuple[int, float]], dict[str, Any]], tmp_path: Path
) -> None:
    """A state on a disk may be lost, a trial must not be; it reports its own steps alone."""
    rows, last = chain
    (tmp_path / "1" / "end" / "state.json").write_text("{}")
    assert rows_of(toy(SLOWER, 4, **last)) == rows[4:]
    shutil.rmtree(tmp_path / "1")
    trial = SearchTrial(toy(SLOWER, 5, **last))
    assert "is not there: its steps are done again" in trial.step()["log"]


def test_a_trial_that_is_gone_on_with_has_the_values_of_where_it_stands(
    chain: tuple[list[tuple[int, float]], dict[str, Any]], tmp_path: Path
) -> None:
    """A worker may die anywhere in a schedule that is done from scratch."""
    rows, last = chain
    again = toy(SLOWER, 6, **{**last, "goes_from": ""})
    for done in range(1, 6):
        trial = SearchTrial(again)
        for _ in range(done):
            trial.step()
        assert trial._run is not None
        trial._run.save(tmp_path / str(done))
        restored = toy(SLOWER, 6, **{**last, "goes_from": ""}, restore=(str(tmp_path / str(done)),))
        assert rows_of(restored) == rows[done:]


def test_a_network_goes_on_with_other_rates_and_no_other_network(tmp_path: Path) -> None:
    """What is read anew in each epoch may change; what the state depends on may not, and a search
    without a population changes nothing at all.
    """
    run = small_run(3)
    run.step()
    run.save(tmp_path)
    other = small_run(3, learning_rate=0.05, momentum=0.5, rotation=3.0, weight_decay=0.001)
    other.load(tmp_path, changing=True)
    assert other.optimizer.param_groups[0]["momentum"] == 0.5
    assert other.optimizer.param_groups[0]["weight_decay"] == 0.001
    (state, *_) = other.optimizer.state.values()
    assert state["momentum_buffer"].abs().sum() > 0
    assert other.step()["epoch"] == 2
    with pytest.raises(CheckpointError, match="checkpoint of another run: config"):
        small_run(3, learning_rate=0.05).load(tmp_path)
    for change in ({"batch_size": 32}, {"ema": 0.5}, {"width": 0.25}, {"schedule": "cosine"}):
        with pytest.raises(CheckpointError, match="checkpoint of another run: config"):
            small_run(3, **change).load(tmp_path, changing=True)
