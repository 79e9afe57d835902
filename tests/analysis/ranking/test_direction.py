"""Which way is better: whatever ranks, with an accuracy and with a loss, on the same trials turned
upside down.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from analysis.plan.plan import Plan, make_plan
from analysis.plan.replicate import Replicate
from analysis.run.directory import RunDirectory
from analysis.run.records import DriverState, TrialRecord
from search.driver.networks import training_settings
from search.ledger.kept_checkpoints import KEPT_CHECKPOINTS, checkpoints, clear_checkpoints
from search.ledger.ledger import Ledger
from search.ledger.replicas import Replicas
from search.ledger.status import best_of, read_status
from search.ledger.tally import KEPT_PREDICTIONS, Tally
from search.study.importance import judge
from spaces import get_space
from trainables.io.checkpoint import write_state
from trainables.io.files import write_whole

GOODNESS = [0.5, 0.75, 0.625, 0.875, 0.25]
"""Of trials in the order they end; the fourth is the best, then the second, the third, the first
and the fifth.
"""
ORDER = [3, 1, 2, 0, 4]

both_ways = pytest.mark.parametrize("objective", ["val_accuracy", "val_loss"])


def value_of(objective: str, goodness: float) -> float:
    """The accuracy of a trial that is so good, or its loss."""
    return goodness if objective == "val_accuracy" else 1 - goodness


def plan_of(objective: str, **settings: Any) -> Plan:
    return make_plan(
        {
            "spaces": "toy",
            "trials": 30,
            "sampler": "random",
            "objective": objective,
            "name": "run",
            **settings,
        }
    )


def record(number: int, objective: str, goodness: float, **changes: Any) -> TrialRecord:
    """A record in which the other metric says the opposite, so that whoever looks at the wrong one
    is found out.
    """
    other = "val_loss" if objective == "val_accuracy" else "val_accuracy"
    metrics = {objective: value_of(objective, goodness), other: value_of(other, 1 - goodness)}
    facts = {
        "space": "toy",
        "number": number,
        "state": "COMPLETE",
        "config": {"k": 1},
        "started": 10.0 * number,
        "seconds": 1.0,
    }
    return TrialRecord(**{**facts, "metrics": metrics, **changes})


def run_of(tmp_path: Path, plan: Plan) -> RunDirectory:
    folder = RunDirectory(tmp_path / "run")
    folder.write_state(DriverState(id="0123abcd"))
    write_whole(folder.plan_file, plan.to_yaml())
    return folder


def finished(ledger: Ledger, objective: str, goodness: list[float]) -> int:
    """End one trial after another until no more are wanted; how many were."""
    done = 0
    while done < len(goodness) and (proposal := ledger.propose()) is not None:
        metrics = record(done, objective, goodness[done]).metrics
        ledger.end(
            proposal.key,
            {
                "step": 0,
                **metrics,
                "model_mb": 1.0,
                "latency_ms": 1.0,
                "seconds": 0.1,
                "done": True,
            },
        )
        done += 1
    ledger.look()
    return done


@both_ways
def test_the_count_knows_the_best(objective: str) -> None:
    """What the progress line, the status and MLflow call the best so far."""
    tally, best = Tally(plan_of(objective)), []
    for number, goodness in enumerate(GOODNESS):
        tally.count(record(number, objective, goodness))
        assert tally.best is not None
        best.append(tally.best.number)
    assert best == [0, 1, 1, 3, 3]


@both_ways
def test_what_breaks_a_constraint_failed_or_was_pruned_is_never_the_best(objective: str) -> None:
    """The best must be one that can be taken."""
    tally = Tally(plan_of(objective))
    tally.count(record(0, objective, 0.9, violations=("model_mb 90 is not at most 80",)))
    tally.count(record(1, objective, 0.95, state="PRUNED"))
    tally.count(record(2, objective, 0.99, state="FAIL", metrics={}))
    assert tally.best is None
    tally.count(record(3, objective, 0.1))
    assert tally.best is not None
    assert tally.best.number == 3
    assert (tally.done, tally.counts) == (3, {"COMPLETE": 2, "PRUNED": 1, "FAIL": 1})


@both_ways
def test_predictions_are_kept_of_those_among_the_best_when_they_ended(objective: str) -> None:
    """The confusion matrix of the best is drawn from them; those of the worst would only fill the
    disk.
    """
    tally = Tally(plan_of(objective))
    first = [0.5 + 0.01 * n for n in range(KEPT_PREDICTIONS)]  # the worst of them is 0.5
    assert all(tally.among_best(value_of(objective, goodness)) for goodness in first)
    assert not tally.among_best(value_of(objective, 0.4))
    assert tally.among_best(value_of(objective, 0.9)), "which pushes out 0.5"
    assert not tally.among_best(value_of(objective, 0.505))
    assert tally.among_best(value_of(objective, 0.515)), "which pushes out 0.51"


@both_ways
def test_a_plateau_is_a_stretch_without_enough_gain(tmp_path: Path, objective: str) -> None:
    """A gain of 0.0625 is none where 0.125 is asked for, and small ones add up from the last that
    counted.
    """
    plan = plan_of(objective, limits={"plateau": {"trials": 3, "gain": 0.125}})
    goodness = [0.25, 0.3125, 0.4375, 0.5, 0.5, 0.53125, 0.9]
    ledger = Ledger(run_of(tmp_path, plan), plan)
    assert finished(ledger, objective, goodness) == 6
    assert "no gain of more than 0.125 in 3 trials" in ledger.finished_reason


@both_ways
def test_a_target_is_reached_by_what_is_as_good_and_not_by_what_is_worse(
    tmp_path: Path, objective: str
) -> None:
    """A search that stops too early has found nothing, one that does not stop costs money."""
    plan = plan_of(objective, limits={"target": value_of(objective, 0.875)})
    ledger = Ledger(run_of(tmp_path, plan), plan)
    assert finished(ledger, objective, [0.25, 0.75, 0.5, 0.875, 0.9]) == 4
    assert f"target {value_of(objective, 0.875):g} reached" in ledger.finished_reason


@pytest.mark.parametrize(
    ("objective", "reached"), [("val_loss", [0.5, 0.25, 0.0]), ("val_accuracy", [0.0])]
)
def test_a_target_of_nothing_is_one(tmp_path: Path, objective: str, reached: list[float]) -> None:
    """Who wants a loss of 0 does not want to go on for ever."""
    plan = plan_of(objective, limits={"target": 0.0})
    ledger = Ledger(run_of(tmp_path, plan), plan)
    goodness = [1 - value if objective == "val_loss" else value for value in (*reached, 0.125)]
    assert finished(ledger, objective, goodness) == len(reached)


@both_ways
def test_the_study_follows_the_objective_its_own_way(tmp_path: Path, objective: str) -> None:
    """A sampler and a pruner read the direction from the study."""
    plan = plan_of(objective)
    folder = run_of(tmp_path, plan)
    finished(Ledger(folder, plan), objective, GOODNESS)
    backend = optuna.storages.journal.JournalFileBackend(str(folder.journal))
    study = optuna.load_study(study_name="toy", storage=optuna.storages.JournalStorage(backend))
    assert study.direction.name == ("MAXIMIZE" if objective == "val_accuracy" else "MINIMIZE")
    assert study.best_trial.number == 3
    assert [trial.value for trial in study.trials] == [
        value_of(objective, goodness) for goodness in GOODNESS
    ]


@both_ways
def test_two_objectives_have_two_directions(tmp_path: Path, objective: str) -> None:
    """Accuracy up and size down, in the plan's order."""
    plan = plan_of(objective, tradeoff=["model_mb"])
    folder = run_of(tmp_path, plan)
    Ledger(folder, plan)
    backend = optuna.storages.journal.JournalFileBackend(str(folder.journal))
    study = optuna.load_study(study_name="toy", storage=optuna.storages.JournalStorage(backend))
    first = "MAXIMIZE" if objective == "val_accuracy" else "MINIMIZE"
    assert [direction.name for direction in study.directions] == [first, "MINIMIZE"]
    assert study.metric_names == [objective, "model_mb"]


@both_ways
def test_a_weak_trial_is_pruned_and_a_strong_one_is_not(tmp_path: Path, objective: str) -> None:
    """Stopping the best is the one mistake a search cannot mend."""
    plan = plan_of(objective, pruner="median", pruner_options={"n_startup_trials": 3})
    folder = run_of(tmp_path, plan)
    ledger = Ledger(folder, plan)
    stopped = []
    for goodness in (0.5, 0.6, 0.4, 0.9, 0.1):
        proposal = ledger.propose()
        assert proposal is not None
        said = {
            "step": 0,
            **record(0, objective, goodness).metrics,
            "model_mb": 1.0,
            "latency_ms": 1.0,
            "seconds": 0.1,
        }
        stopped.append(ledger.report(proposal.key, said))
        ledger.end(proposal.key, {**said, "step": 1, "done": True})
    assert stopped == [False, False, False, False, True]
    assert [found.state for found in folder.records()] == ["COMPLETE"] * 4 + ["PRUNED"]


@both_ways
@pytest.mark.parametrize("sampler", ["tpe", "cmaes"])
def test_a_sampler_that_learns_goes_where_it_is_better(
    tmp_path: Path, objective: str, sampler: str
) -> None:
    """Told the wrong way round, it would crowd where every trial is bad."""
    plan = plan_of(
        objective,
        sampler=sampler,
        trials=60,
        sampler_options={"n_startup_trials": 10},
        set={"optimiser": "adam"},
    )
    folder = run_of(tmp_path, plan)
    ledger = Ledger(folder, plan)
    qualities = []
    while (proposal := ledger.propose()) is not None:
        qualities.append(float(proposal.config["quality"]))
        metrics = record(0, objective, qualities[-1]).metrics
        ledger.end(
            proposal.key,
            {
                "step": 0,
                **metrics,
                "model_mb": 1.0,
                "latency_ms": 1.0,
                "seconds": 0.1,
                "done": True,
            },
        )
    assert len(qualities) == 60
    assert sorted(qualities[-20:])[10] > 0.75, (
        "half of the last twenty are among the best quarter of all that could be drawn"
    )


@both_ways
def test_status_tells_the_best_also_of_a_driver_that_died(tmp_path: Path, objective: str) -> None:
    """From a note and what ended after it, and from records alone."""
    plan = plan_of(objective)
    folder = run_of(tmp_path, plan)
    ledger = Ledger(folder, plan)
    finished(ledger, objective, GOODNESS[:2])
    noted = DriverState(id="0123abcd", trials=ledger.states(), best=best_of(ledger.tally.best))
    finished(ledger, objective, GOODNESS[2:])
    for state in (DriverState(id="0123abcd"), noted):
        folder.write_state(state)
        found = read_status(folder)
        assert (found["state"], found["best"]["trial"], found["best"][objective]) == (
            "interrupted",
            "toy/3",
            value_of(objective, 0.875),
        )


@both_ways
def test_the_best_are_those_that_are_run_again(tmp_path: Path, objective: str) -> None:
    """The two best, each with the seeds after the search's own."""
    plan = plan_of(objective)
    folder = run_of(tmp_path, plan)
    ledger = Ledger(folder, plan)
    finished(ledger, objective, GOODNESS)
    jobs = Replicas(
        folder, Replicate(top=2, seeds=2), objective, 5, ledger.outbox, lambda line: None
    )
    seen = []
    while (job := jobs.propose()) is not None:
        seen.append((job.config, job.seed))
    best, second = (folder.records()[number].config for number in ORDER[:2])
    assert seen == [(best, 6), (best, 7), (second, 6), (second, 7)]


@both_ways
def test_checkpoints_are_kept_of_the_best(tmp_path: Path, objective: str) -> None:
    """Networks are exported from them."""
    folder = RunDirectory(tmp_path / "run")
    folder.path.mkdir()
    for number, goodness in enumerate(GOODNESS):
        folder.write_record(record(number, objective, goodness), "", None, None)
        write_state(
            folder.path / "tune" / f"toy-{number:05d}.session-1" / "checkpoint_000000", 1, {}
        )
        weights = folder.weights("toy", number)
        weights.mkdir()
        (weights / "best.safetensors").write_bytes(b"0")
    clear_checkpoints(folder, [objective])
    assert KEPT_CHECKPOINTS == 3
    assert [number for number in range(5) if checkpoints(folder, "toy", number)] == sorted(
        ORDER[:3]
    )
    assert [number for number in range(5) if folder.weights("toy", number).is_dir()] == sorted(
        ORDER[:3]
    )


@both_ways
def test_networks_keep_the_epoch_that_is_better(tmp_path: Path, objective: str) -> None:
    """The trainer is told which way its objective goes."""
    told = training_settings(
        plan_of(objective, spaces="cnn", dataset="digits"), RunDirectory(tmp_path / "run")
    )
    assert (told.objective, told.maximize) == (objective, objective == "val_accuracy")


@both_ways
def test_importance_asks_what_sets_the_best_apart(objective: str) -> None:
    """Only the best differ in ``optimiser``; the worst differ in ``width``: asked the wrong way
    round, width is named.
    """
    space = get_space("toy")
    distributions = {p.name: p.domain for p in space.parameters if p.name in ("width", "rate")}
    assert set(distributions) == {"width", "rate"}
    study = optuna.create_study()
    for nth in range(60):
        rate, width = 0.1 + (nth * 37 % 60) / 60, 1 + (nth * 17 % 60)
        goodness = (
            0.9 + rate / 100 if rate > 0.9 else 0.5 - (0.4 if width > 54 else 0.0) + nth / 10000
        )
        study.add_trial(
            optuna.create_trial(
                params={"rate": rate, "width": width},
                distributions={
                    "rate": optuna.distributions.FloatDistribution(0.1, 2.0, log=True),
                    "width": optuna.distributions.IntDistribution(1, 64),
                },
                value=value_of(objective, goodness),
            )
        )
    found = judge(space, study.trials, [objective])
    assert found.method == "PED-ANOVA"
    assert found.shares["rate"] > found.shares["width"]
