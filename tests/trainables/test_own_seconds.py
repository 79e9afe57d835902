"""A step may say what it cost, where that is not the time that it took here."""

from __future__ import annotations

import math
from typing import Any

import pytest
from assigned import given

from trainables.contract.assignment import Assignment
from trainables.contract.learner import Trial
from trainables.worker import SearchTrial


class Told(Trial):
    """A trial that says what is in its configuration."""

    def __init__(self, assignment: Assignment) -> None:
        self._said = dict(assignment.config)

    def step(self) -> dict[str, Any]:
        return {"val_accuracy": 0.5, "step": 0, "done": True, **self._said}


def last(**said: Any) -> dict[str, Any]:
    return SearchTrial(given("toy", said, make=Told)).step()


def test_seconds_that_a_step_says_are_those_of_its_record() -> None:
    """Samplers go by what trials cost: of work that others did, this process knows nothing."""
    assert last(seconds=120)["seconds"] == 120.0
    assert last()["seconds"] < 60.0, "that it took"


@pytest.mark.parametrize("said", [-1.0, math.nan, math.inf, "2", None, True])
def test_seconds_that_are_none_fail_the_trial_alone(said: Any) -> None:
    """The driver adds them up: what is no number there would end the search."""
    result = last(seconds=said)
    assert "seconds of a step must be a number of at least 0" in result["failure"]
    assert 0 <= result["seconds"] < 60.0
