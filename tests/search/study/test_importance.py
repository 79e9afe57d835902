"""Which parameters mattered, and what is said where that cannot be known."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from program import typed, visiontune
from samples import record, run_with

from analysis.plan.plan import Plan
from analysis.ranking.importance import Importance, to_csv
from analysis.run.directory import RunDirectory
from search.study.storage import open_journal
from search.study.study import SpaceStudy

Score = Callable[[dict[str, Any]], dict[str, float]]


def searched(tmp_path: Path, trials: int, score: Score, **settings: Any) -> list[dict[str, Any]]:
    """What ``importance --json`` says of a random search of the toy, each trial with these
    metrics.
    """
    plan = Plan(spaces=("toy",), sampler="random", **settings)
    folder = run_with(tmp_path, {})
    folder.plan_file.write_text(plan.to_yaml())
    # which draws
    study = SpaceStudy(open_journal(folder.journal), "toy", plan.search_spaces()["toy"], plan)
    for _ in range(trials):
        asked = study.ask()
        assert asked is not None
        number, config = asked
        ended = record(number, space="toy", config=config, metrics=score(config))
        folder.write_record(ended, "", None, None)
        study.tell(ended, {})
    done = typed("importance", "made", "--runs-dir", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def accuracy(value: float) -> dict[str, float]:
    return {"val_accuracy": value}


def test_the_parameter_that_decides_comes_first_and_shares_add_up(tmp_path: Path) -> None:
    """Whoever tunes next wants to know what to tune."""
    (found,) = searched(tmp_path, 60, lambda config: accuracy(config["quality"]))
    assert next(iter(found["shares"])) == "quality"
    assert found["shares"]["quality"] > 0.5
    assert sum(found["shares"].values()) == pytest.approx(1)
    assert (found["method"], found["trials"], found["best"], found["reason"]) == (
        "PED-ANOVA",
        60,
        6,
        "",
    )
    assert found["unjudged"]["steps"] == "has one value in this search"
    shown = typed("importance", "made", "--runs-dir", tmp_path).stdout
    assert "toy: what sets the best 6 of 60 complete trials apart (PED-ANOVA)" in shown
    assert "not judged: steps, pause, fault, fault_step: has one value in this search" in shown


def test_a_conditional_parameter_is_judged_by_the_trials_it_applies_in(tmp_path: Path) -> None:
    """Trials that have no momentum can say nothing of it, but must not hide it."""
    (found,) = searched(
        tmp_path,
        100,
        lambda c: accuracy(c["momentum"] if c["optimiser"] == "sgd" else 0.01 * c["rate"]),
    )
    assert 20 < found["applied"]["momentum"] < 80
    assert next(iter(found["shares"])) == "momentum"
    assert (
        f"(applied in {found['applied']['momentum']})"
        in typed("importance", "made", "--runs-dir", tmp_path).stdout
    )


def test_a_conditional_parameter_that_hardly_ever_applied_is_named_with_the_reason(
    tmp_path: Path,
) -> None:
    """A number made of two trials would be read as one made of all."""
    draw = random.Random(0)
    (found,) = searched(
        tmp_path, 12, lambda config: accuracy(draw.random()), set={"optimiser": "adam"}
    )
    assert (
        found["unjudged"]["momentum"]
        == "applies only where optimiser is sgd: in 0 of 12 complete trials, it takes 5"
    )
    assert found["unjudged"]["optimiser"] == "has one value in this search"


@pytest.mark.parametrize(
    ("trials", "score", "said"),
    [
        (0, 0.5, "too few complete trials to judge importance: 0, it takes 10"),
        (9, 0.5, "too few complete trials to judge importance: 9, it takes 10"),
        (10, 0.5, "all 10 complete trials are equally good, so no parameter made a difference"),
    ],
)
def test_where_nothing_can_be_said_one_line_says_why(
    tmp_path: Path, trials: int, score: float, said: str
) -> None:
    """Nine trials give numbers too; they would mean nothing."""
    (found,) = searched(tmp_path, trials, lambda _: accuracy(score))
    assert (found["reason"], found["shares"]) == (said, {})
    assert typed("importance", "made", "--runs-dir", tmp_path).stdout.splitlines() == [
        f"toy: {said}"
    ]


def test_where_nearly_all_trials_are_equally_bad_fanova_is_asked(tmp_path: Path) -> None:
    """Most of a search may diverge to chance; then no best tenth can be told from the rest."""
    (found,) = searched(
        tmp_path, 60, lambda config: accuracy(0.9 if config["quality"] > 0.95 else 0.1)
    )
    assert (found["method"], found["best"]) == ("fANOVA", 0)
    assert next(iter(found["shares"])) == "quality"
    assert found["unjudged"]["momentum"] == "applied in some trials only, which fANOVA cannot judge"


def test_with_several_objectives_it_is_what_leads_to_the_front(tmp_path: Path) -> None:
    """Optuna's evaluators differ in what they take; a Pareto search must not end in an error."""

    def score(config: dict[str, Any]) -> dict[str, float]:
        return {"val_accuracy": config["quality"], "model_mb": config["width"] ** 2 / 40}

    (found,) = searched(tmp_path, 60, score, objective=["val_accuracy", "model_mb"])
    assert set(list(found["shares"])[:2]) == {"quality", "width"}


def test_the_table_says_share_or_reason() -> None:
    """A spreadsheet has one row a parameter."""
    item = Importance(
        "toy",
        "PED-ANOVA",
        60,
        6,
        {"quality": 1.0},
        {"quality": 60, "momentum": 2},
        {"momentum": "why, then"},
    )
    assert to_csv([item]).splitlines()[1:] == [
        "toy,quality,1.000000,60,60,PED-ANOVA,",
        'toy,momentum,,2,60,PED-ANOVA,"why, then"',
    ]


def test_reading_leaves_the_study_as_it_is(tmp_path: Path) -> None:
    """It is looked at while a driver writes it."""
    searched(tmp_path, 12, lambda config: accuracy(config["quality"]))
    journal = RunDirectory(tmp_path / "made").journal
    before = journal.read_bytes()
    assert typed("importance", "made", "--runs-dir", tmp_path).returncode == 0
    assert journal.read_bytes() == before
    assert optuna.study.get_all_study_names(open_journal(journal)) == ["toy"]


def test_a_command_says_nothing_of_optuna_s_own(tmp_path: Path) -> None:
    """Optuna tells every study that it makes, and a user has asked for none."""
    searched(tmp_path, 12, lambda config: accuracy(config["quality"]))
    done = visiontune("importance", "made", "--runs-dir", tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
