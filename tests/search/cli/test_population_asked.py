"""Populations as they are asked for: in one word, and what does not go with them in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from program import refused, typed

WANTED = ("run", "--dataset", "none", "--space", "toy", "--population", "pbt", "--dry-run")
CNN = ("run", "--dataset", "digits", "--space", "cnn", "--dry-run")
KNN = ("run", "--dataset", "digits", "--space", "tiny-image", "--dry-run", "--population", "pbt")


def test_one_word_is_enough() -> None:
    """A user need not know how many members and generations there are, nor count trials."""
    shown = json.loads(typed(*WANTED, "--json").stdout)
    assert shown["population"] == "pbt: 8 members, 8 generations of 1 epochs"
    text = typed(*WANTED, "--population", "pb2,members=4,interval=2", "--minutes", 5).stdout
    assert "pb2: 4 members, 4 generations of 2 epochs" in text
    assert "16 trials; 4 configurations" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*WANTED, "--pruner", "median"), "pruner and a population exclude each other"),
        ((*WANTED, "--sampler", "grid", "--set", "rate=0.1,0.2"), "sampler grid tries every"),
        ((*WANTED, "--trials", "9"), "8 members and 8 generations are 64 trials, but trials is 9"),
        ((*WANTED, "--objective", "val_accuracy", "--objective", "model_mb"), "2 objectives and a"),
        ((*WANTED, "--set", "rate=0.2", "--set", "momentum=0.1"), "pbt has nothing to change"),
        ((*WANTED, "--set", "steps=4,8"), "one number of steps"),
        ((*KNN,), "a trial of tiny-image has none"),
        ((*KNN[:4], "toy,toy-folds", *KNN[5:]), "a population is of one space"),
        ((*CNN, "--population", "pbt,interval=7"), "must divide the 20 epochs"),
        ((*CNN, "--population", "pbt", "--patience", "3"), "training.patience and a population"),
        ((*CNN, "--population", "pbt,change=width"), "'width' cannot change while cnn is trained"),
        ((*CNN, "--population", "evolution"), "population.method: input should be 'pbt' or 'pb2'"),
        ((*CNN, "--population", ""), "population.method: input should be 'pbt' or 'pb2'"),
        ((*CNN, "--shares", ""), "shares: must be equal, moving, or a number above 0"),
        ((*CNN, "--population", "pbt,members=1"), "population.members: input should be greater"),
        ((*CNN, "--population", "pbt,size=4"), "there are method, members, interval"),
        (("run", "--dataset", "digits", "--population", "pbt", "--minutes", "1"), "wants --space"),
    ],
)
def test_what_does_not_go_with_a_population_is_one_line(words: tuple[str, ...], said: str) -> None:
    """Before anything starts, and in words: what, and what to do."""
    assert said in refused(*words)


def test_a_plan_has_the_same_in_one_word_or_in_full(tmp_path: Path) -> None:
    """A plan is what is kept; options only write it."""
    plan = tmp_path / "plan.yaml"
    for said in ("pbt", "{method: pbt, members: 8, change: [rate]}"):
        plan.write_text(f"spaces: toy\npopulation: {said}\n")
        assert "64 trials" in typed("run", plan, "--dry-run").stdout
    plan.write_text("spaces: toy\npopulation: pbt\nretries: 2\n")
    assert "retries and a population exclude each other" in refused("run", plan, "--dry-run")
