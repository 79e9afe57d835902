"""Configurations that a plan says to try first."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from earlier_searches import begin, go_on, plan_of

from analysis.plan.complaints import PlanError
from search.ledger.status import read_status
from search.study.combinations import check_combination


def test_configurations_of_the_plan_are_tried_first_in_their_order(tmp_path: Path) -> None:
    """What somebody knows to be good is worth the first trials of a night; what the plan leaves
    open is drawn.
    """
    first = [{"quality": 0.25, "width": 3}, {"optimiser": "adam", "quality": 0.5}]
    folder, _ = begin(tmp_path, plan_of("run", try_first=first, trials=4))
    assert read_status(folder)["trials"]["WAITING"] == 2
    go_on(folder, 1)
    folder.journal.unlink()  # with what waited in it
    shutil.rmtree(folder.requests, ignore_errors=True)
    go_on(folder, 3)
    configs = [record.config for record in folder.records()]
    assert (configs[0]["quality"], configs[0]["width"]) == (0.25, 3)
    assert len(configs) == 4
    folder, _ = begin(tmp_path, plan_of("again", try_first=first, trials=4))
    go_on(folder, 4)
    assert [r.config["quality"] for r in folder.records()][:2] == [0.25, 0.5]
    assert folder.records()[1].config["optimiser"] == "adam"


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ({"quality": 2}, "toy.quality must be a number in 0.0..1.0 in this search, but got 2"),
        ({"colour": 1}, "space toy has no parameter 'colour'; it has quality, "),
        ({"space": "cnn"}, "space must be toy, but got 'cnn'"),
    ],
)
def test_a_configuration_that_cannot_be_tried_first_is_named(
    tmp_path: Path, point: dict[str, Any], said: str
) -> None:
    """The second of ten is found by its place."""
    plan = plan_of("run", try_first=[{"quality": 0.5}, point])
    with pytest.raises(PlanError, match="try_first, configuration 2: ") as told:
        check_combination(plan)
    assert said in str(told.value)
    assert "\n" not in str(told.value)
