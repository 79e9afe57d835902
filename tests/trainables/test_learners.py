"""One object per kind of learner: what a search gives a trial is what its learner asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from program import ROOT

from analysis.bundle.classifier import CLASSIFIERS, ENSEMBLE
from analysis.plan.complaints import PlanError
from analysis.plan.plan import Plan, make_plan
from search.cluster.capacity import NETWORK_CORES, Capacity
from search.study.combinations import check_combination
from spaces import SPACES, Space
from spaces.domain import Float, Parameter
from spaces.errors import UserError
from spaces.registry import add
from trainables.learners import LEARNERS, OURS, Learner, Trial


class Third(Trial):
    """A learner that is done in one step."""

    def step(self) -> dict[str, Any]:
        return {"val_accuracy": 1.0, "done": True}


def third(name: str = "third", **asks: Any) -> Learner:
    space = Space(name, "one result", (Parameter("share", Float(0.0, 1.0), "a share"),))
    return Learner(space, lambda assignment: Third(), **asks)


@pytest.fixture
def added() -> Iterator[Learner]:
    yield add(third())
    LEARNERS.remove("third")


def plan(**settings: Any) -> Plan:
    return make_plan({"spaces": "third", "dataset": "digits", **settings})


def test_each_kind_of_ours_is_registered_once_and_its_space_with_it() -> None:
    """Whoever lists learners and whoever lists spaces must list the same."""
    assert list(LEARNERS) == [learner.name for learner in OURS]
    assert sorted(LEARNERS) == sorted(SPACES)
    assert all(learner.space is SPACES[learner.name] for learner in OURS)
    assert {"tiny-image", "bag-of-sift", "cnn", "toy", "toy-folds"} <= set(LEARNERS)
    kinds = {learner.classifier for learner in LEARNERS.values()} - {""}
    assert kinds | {ENSEMBLE} == set(CLASSIFIERS)


def test_a_further_learner_is_a_file_and_a_line() -> None:
    """Where its name had to stand in five dictionaries, one was forgotten."""
    there = Path(ROOT, "trainables", "learners", "__init__.py").read_text(encoding="utf-8")
    listed = there.split("OURS = (")[1].split(")")[0]
    assert len(re.findall(r"^    \w+,$", listed, re.M)) == len(OURS)
    for path in (*ROOT.glob("search/*/*.py"), *ROOT.glob("analysis/plan/*.py")):
        if path.parent.name != "reproduce":  # which is of the report, and of its two spaces
            found = re.findall(r'"(?:tiny-image|bag-of-sift|toy-folds)"', path.read_text("utf-8"))
            assert found == [], path


@pytest.mark.parametrize("name", ["other", "x" * 10_000, "tiny-image\n"])
def test_an_unknown_learner_is_told_which_there_are(name: str) -> None:
    """A mistyped name must end in one line."""
    for lookup in (LEARNERS.__getitem__, lambda name: make_plan({"spaces": name})):
        with pytest.raises(UserError, match=r"unknown space .*the spaces are tiny-image, ") as said:
            lookup(name)
        assert "\n" not in str(said.value)
    with pytest.raises(UserError, match="there is a space 'cnn' already"):
        add(third("cnn"))
    assert LEARNERS["cnn"].space is SPACES["cnn"]


def test_a_third_image_space_with_one_result_gets_what_it_asks_for(added: Learner) -> None:
    """Nothing may ask whether it is one of those that were known once."""
    asked = Capacity.of(plan(training={"cpus_per_trial": 2}), 4).asks("third")
    assert asked == {"CPU": 2.0, NETWORK_CORES: 2.0}
    assert plan().read_options().hold_out > 0
    assert plan().read_options().color == "grey"
    assert plan().bounds() == {}
    check_combination(plan())
    with pytest.raises(PlanError, match="third cannot be judged by validation leave-one-out"):
        check_combination(plan(validation="leave-one-out"))
    with pytest.raises(PlanError, match="gives one result at its end"):
        check_combination(plan(pruner="median"))


def test_a_learner_that_is_refused_leaves_nothing(added: Learner) -> None:
    """Half of it would be found by one name and not by the other."""
    with pytest.raises(UserError, match="there is a space 'third' already"):
        add(third())
    assert LEARNERS["third"] is added
    assert SPACES["third"] is added.space


def test_a_learner_with_other_needs_is_given_them() -> None:
    """Colour, a GPU, a limit of size, and trials that wait for stages."""
    add(third("fourth", holds_cores=False, gpu="any", color="rgb", most_mb=3.0, squares=True))
    try:
        found = plan(spaces="fourth", gpus_per_trial=0.5)
        assert "GPU" in Capacity.of(found, 4).asks("fourth")
        assert NETWORK_CORES not in Capacity.of(found, 4).asks("fourth")
        assert found.read_options().color == "rgb"
        assert found.bounds()["model_mb"].max == 3.0
        assert found.uses_gpus
        assert not plan(spaces="fourth", gpus_per_trial=0).uses_gpus  # nor is any node's GPU tried
    finally:
        LEARNERS.remove("fourth")
