"""Who stops weak trials where nobody says it."""

from __future__ import annotations

from typing import Any

import pytest

from analysis.plan.plan import Plan, make_plan
from spaces.samplers import MANY_TRIALS


@pytest.mark.parametrize(
    ("settings", "pruner"),
    [
        ({"spaces": "cnn"}, "asha"),
        ({"spaces": "cnn", "objective": "val_loss"}, "asha"),
        ({"spaces": "cnn", "pruner": "none"}, "none"),
        ({"spaces": "cnn", "pruner": "median"}, "median"),
        ({"spaces": "cnn", "trials": MANY_TRIALS - 1}, "none"),
        ({"spaces": "cnn", "objective": "model_mb"}, "none"),
        ({"spaces": "cnn", "objective": ["val_accuracy", "model_mb"]}, "none"),
        ({"spaces": "cnn", "population": "pbt", "set": {"optimizer": "sgd"}}, "none"),
        ({"spaces": ["cnn", "embedding"]}, "none"),
        ({"spaces": "bag-of-sift"}, "none"),
        ({"spaces": "toy"}, "none"),
    ],
)
def test_weak_networks_of_many_are_stopped_unless_it_is_said_otherwise(
    settings: dict[str, Any], pruner: str
) -> None:
    """A search whose parts do not go together would be refused, and few trials need their ends."""
    plan = make_plan({"name": "x", **settings})
    assert plan.pruner == pruner
    again = Plan(**plan.model_dump(mode="json"))
    assert again.pruner == pruner, "a run keeps what it began with"
    kept = Plan(**{**plan.model_dump(mode="json"), "pruner": "none"})
    assert kept.pruner == "none", "as runs of older versions say"


@pytest.mark.parametrize(("epochs", "first"), [(1, 1), (4, 1), (12, 3), (20, 5), (70, 17)])
def test_the_first_look_is_after_a_quarter_of_the_epochs(epochs: int, first: int) -> None:
    """While its learning rate rises, the network that is best then is none that ends well."""
    plan = make_plan({"name": "x", "spaces": "cnn", "training": {"epochs": epochs}})
    assert plan.pruner_options["grace_period"] == first
    assert make_plan({"name": "x", "spaces": "cnn", "pruner": "asha"}).pruner_options == {}
