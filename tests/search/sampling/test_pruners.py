"""Cases that every pruner a plan can name must pass, in the manner of Optuna's for samplers and
storages.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from ray.tune.schedulers import ASHAScheduler, MedianStoppingRule

from search.sampling.pruners import make_pruner
from search.sampling.tune_pruners import Numbered
from search.study.storage import open_journal
from spaces.samplers import PRUNERS

OPTIONS: dict[str, dict[str, Any]] = {
    "asha": {"reduction_factor": 2.0},
    "median": {"n_startup_trials": 3},
    "percentile": {"n_startup_trials": 3, "percentile": 50.0},
    "successive-halving": {"min_resource": 1, "reduction_factor": 2},
    "hyperband": {"min_resource": 1, "max_resource": 8, "reduction_factor": 2},
    "threshold": {"lower": 0.25},
    "patient": {"patience": 2, "around": "median"},
    "wilcoxon": {"p_threshold": 0.2},
}
COMPARING = (
    "median", "percentile", "median-stopping", "asha", "successive-halving", "hyperband", "wilcoxon"
)  # fmt: skip
"""Those that hold a trial against the others."""
STEPS = 8
LEVELS = (0.5, 0.7, 0.3, 0.6, 0.4, 0.65, 0.35, 0.55)

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def study_of(name: str, direction: str = "maximize", journal: Path | None = None) -> optuna.Study:
    """A study with one finished trial for each of ``LEVELS``, none of them pruned."""
    storage = open_journal(journal) if journal else None
    sampler = optuna.samplers.RandomSampler(seed=0)
    pruner = make_pruner(name, OPTIONS.get(name, {}))
    study = optuna.create_study(
        study_name="cases", storage=storage, direction=direction, sampler=sampler, pruner=pruner
    )
    for level in LEVELS:
        trial = study.ask()
        for step in range(STEPS):
            trial.report(value_at(level, step, direction), step)
            trial.should_prune()  # as a search asks; halving notes the rung at which it is asked
        study.tell(trial, value_at(level, STEPS - 1, direction))
    return study


def value_at(level: float, step: int, direction: str = "maximize") -> float:
    """A little better at each step; with ``minimize`` the same, upside down."""
    value = level + 0.01 * step
    return value if direction == "maximize" else -value


def verdicts(
    study: optuna.Study, level: float, direction: str = "maximize", steps: range = range(STEPS)
) -> list[bool]:
    """Whether the pruner would stop a trial of this level after each step."""
    trial = study.ask()
    found = []
    for step in steps:
        trial.report(value_at(level, step, direction), step)
        found.append(trial.should_prune())
    study.tell(trial, state=TrialState.FAIL)  # the next is judged by the same others
    return found


@pytest.fixture(params=PRUNERS)
def name(request: pytest.FixtureRequest) -> str:
    value: str = request.param
    return value


def test_a_trial_that_has_reported_nothing_goes_on(name: str) -> None:
    """There is nothing to judge it by."""
    assert not study_of(name).ask().should_prune()


def test_a_trial_better_than_all_others_is_never_stopped(name: str) -> None:
    """Stopping the best is the one mistake a search cannot mend."""
    assert verdicts(study_of(name), 0.9) == [False] * STEPS


@pytest.mark.parametrize("pruner", [*COMPARING, "threshold", "patient"])
def test_a_trial_worse_than_all_others_is_stopped_before_its_end(pruner: str) -> None:
    """That is what a pruner is for."""
    study = study_of(pruner)
    if pruner == "patient":  # it must fall, too
        trial = study.ask()
        stopped = []
        for step in range(STEPS):
            trial.report(0.1 - 0.01 * step, step)
            stopped.append(trial.should_prune())
        assert not stopped[0]
        assert any(stopped)
    else:
        # Hyperband hands trials to its brackets by number: one of a few is in the bracket that
        # stops early.
        assert any(
            any(verdicts(study, 0.05)[:-1]) for _ in range(8 if pruner == "hyperband" else 1)
        )


@pytest.mark.parametrize("pruner", [pruner for pruner in PRUNERS if pruner != "threshold"])
@pytest.mark.parametrize("level", [0.05, 0.45, 0.9])
def test_what_is_minimised_is_judged_as_its_negative_is_maximised(
    pruner: str, level: float
) -> None:
    """A loss and an accuracy are pruned alike."""
    assert verdicts(study_of(pruner), level) == verdicts(
        study_of(pruner, "minimize"), level, "minimize"
    )


@pytest.mark.parametrize(
    "pruner", [pruner for pruner in PRUNERS if pruner not in ("successive-halving", "hyperband")]
)
def test_asking_twice_gives_the_same_answer(pruner: str) -> None:
    """A judgement is no event; but halving notes each rung it is asked at, so it alone may not be
    asked twice.
    """
    study = study_of(pruner)
    trial = study.ask()
    for step in range(STEPS):
        trial.report(value_at(0.05, step), step)
        assert trial.should_prune() == trial.should_prune()


def test_a_study_opened_again_is_judged_as_before(name: str, tmp_path: Path) -> None:
    """All that a pruner knows is in the study, so a resumed search stops what the first would have
    stopped.
    """
    before = study_of(name, journal=tmp_path / "before" / "study.journal")
    shutil.copytree(tmp_path / "before", tmp_path / "after")
    storage = open_journal(tmp_path / "after" / "study.journal")
    after = optuna.load_study(
        study_name="cases", storage=storage, pruner=make_pruner(name, OPTIONS.get(name, {}))
    )
    # the same numbers in both: Hyperband chooses the bracket by them
    for level in (0.05, 0.45, 0.9):
        assert verdicts(after, level) == verdicts(before, level)


def test_reports_may_skip_steps(name: str) -> None:
    """A trainable that validates every second epoch reports every second step."""
    assert not any(verdicts(study_of(name), 0.9, steps=range(0, STEPS, 2)))


@pytest.mark.parametrize("pruner", COMPARING)
def test_the_first_trial_is_not_stopped(pruner: str) -> None:
    """With nothing to compare it to, a trial cannot be weak."""
    study = optuna.create_study(
        direction="maximize", pruner=make_pruner(pruner, OPTIONS.get(pruner, {}))
    )
    assert not any(verdicts(study, 0.05))


@pytest.mark.parametrize(
    ("pruner", "options", "kept"),
    [
        ("median", {"n_startup_trials": 2, "n_warmup_steps": 3, "interval_steps": 4},
         {"_n_startup_trials": 2, "_n_warmup_steps": 3}),
        ("percentile", {"percentile": 10.0, "n_startup_trials": 2, "n_warmup_steps": 3,
         "interval_steps": 4},
         {"_percentile": 10.0, "_n_startup_trials": 2, "_n_warmup_steps": 3, "_interval_steps": 4}),
        ("threshold", {"lower": 0.25, "upper": 0.75}, {"_lower": 0.25, "_upper": 0.75}),
        ("patient", {"patience": 2, "min_delta": 0.5}, {"_patience": 2, "_min_delta": 0.5,
         "_wrapped_pruner": None}),
        ("successive-halving", {"min_resource": 2, "reduction_factor": 3}, {"_min_resource": 2,
         "_reduction_factor": 3}),
    ],
)  # fmt: skip
def test_a_plan_s_options_are_the_pruner_s(
    pruner: str, options: dict[str, Any], kept: dict[str, Any]
) -> None:
    """Start-up trials taken for warm-up steps are another search, and nothing says so."""
    made = make_pruner(pruner, options)
    assert {name: getattr(made, name) for name in kept} == kept


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
@pytest.mark.parametrize("name", ["asha", "median-stopping"])
def test_a_scheduler_of_tune_s_stops_what_it_stops_in_tune(name: str, direction: str) -> None:
    """Whoever names a scheduler of Tune's means its rule, told of the same reports in the same
    order, as steps counted from 1.
    """
    generator = np.random.default_rng(0)
    rates, levels = generator.uniform(0.1, 1.0, 12), generator.uniform(0.2, 0.9, 12)
    study = optuna.create_study(
        direction=direction, pruner=make_pruner(name, OPTIONS.get(name, {}))
    )
    own = (
        ASHAScheduler(reduction_factor=2, max_t=100, metric="v", mode="max")
        if name == "asha"
        else MedianStoppingRule("training_iteration", "v", "max", 1, min_time_slice=float("inf"))
    )
    trials = [study.ask() for _ in levels]
    handles = [Numbered(str(trial.number)) for trial in trials]
    for handle in handles:
        own.on_trial_add(None, handle)
    stopped = set[int]()
    for step in range(STEPS):
        for trial in trials:
            if trial.number in stopped:
                continue
            value = levels[trial.number] * (1 - np.exp(-rates[trial.number] * (step + 1)))
            trial.report(value if direction == "maximize" else -value, step)
            result = {"training_iteration": step + 1, "v": value}
            said = own.on_trial_result(None, handles[trial.number], result) == "STOP"
            assert trial.should_prune() == said, (trial.number, step)
            if said:
                stopped.add(trial.number)
                study.tell(trial, state=TrialState.PRUNED)
    assert 3 < len(stopped) < 12


def test_what_a_trial_reported_after_it_would_have_been_stopped_counts() -> None:
    """A resumed search is told of its trials in another order; medians of half of their reports
    would stop others than before.
    """
    pruner = make_pruner("median-stopping", {"min_samples_required": 1})
    study = optuna.create_study(direction="maximize", pruner=pruner)
    for reports in ([1.0] * 4, [0.0, 0.0, 0.0, 40.0], [2.0] * 4):
        trial = study.ask()
        for step, value in enumerate(reports):
            trial.report(value, step)
        if reports[0] < 2:  # the second would be stopped at once by the first, and was not
            study.tell(trial, reports[-1])
    # the means of the others are 1 and 10; without the second's later reports there is the 1 alone
    assert trial.should_prune()
