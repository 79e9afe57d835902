"""Samplers and pruners through Ray: weak trials are stopped, good ones are not, and the study tells
all of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from one_ray import OneRay
from program import ROOT

from analysis.plan.complaints import PlanError
from analysis.plan.plan import make_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DriverState
from search.ledger.ledger import Ledger
from search.study.combinations import check_combination, markdown, table
from search.study.storage import read_trials
from spaces import ToyConfig
from spaces.samplers import PRUNERS, SAMPLERS
from trainables.learners.toy import ToyRun

OPTIONS = {
    "threshold": {"lower": 0.3, "n_warmup_steps": 1},
    "patient": {"patience": 1, "min_delta": 0.05},
    "median": {"n_startup_trials": 3},
    "percentile": {"n_startup_trials": 3},
    "successive-halving": {"min_resource": 1, "reduction_factor": 2},
    "hyperband": {"min_resource": 1, "max_resource": 8, "reduction_factor": 2},
}
FINITE = {
    "quality": [0.95, 0.7, 0.4, 0.1],
    "optimiser": ["adam"],
    "rate": [0.3, 0.6, 1.2],
    "width": [8, 16],
}
PAIRS = [(s, p) for s in SAMPLERS for p in PRUNERS]
THROUGH_RAY = [("tpe", "median"), ("brute-force", "wilcoxon")]
"""Of all pairs, in the fast tests: a learning sampler and a listing one, a pruner of steps and one
of folds.
"""


def settings(sampler: str, pruner: str) -> dict[str, Any]:
    """A plan of the toy with this pair."""
    return {
        "spaces": ["toy-folds" if pruner == "wilcoxon" else "toy"],
        "trials": 18,
        "sampler": sampler,
        "pruner": pruner,
        "pruner_options": OPTIONS.get(pruner, {}),
        "set": FINITE if SAMPLERS[sampler].needs == "finite" else {},
    }


def searched(one_ray: OneRay, tmp_path: Path, sampler: str, pruner: str) -> RunDirectory:
    """A finished search of the toy with this pair, through Ray."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(yaml.safe_dump({**settings(sampler, pruner), "name": "pair"}))
    done = one_ray.output("run", plan, "--no-tracking", "--runs-dir", tmp_path)
    assert done["state"] == "finished"
    return RunDirectory(tmp_path / "pair")


def searched_here(tmp_path: Path, sampler: str, pruner: str) -> RunDirectory:
    """The same in this process: what Ray asks of and tells the ledger, of two trials at once, a
    step of each in turn.
    """
    folder = RunDirectory(tmp_path / "run")
    folder.path.mkdir()
    folder.write_state(DriverState(id="0"))
    ledger = Ledger(folder, make_plan(settings(sampler, pruner)))
    running: dict[tuple[str, int], ToyRun] = {}
    while True:
        while len(running) < 2 and (proposal := ledger.propose()) is not None:
            running[proposal.key] = ToyRun(
                ToyConfig(**proposal.config), folds=proposal.space == "toy-folds"
            )  # type: ignore[arg-type]
        if not running:
            return folder
        for key, run in list(running.items()):
            result = run.step()
            stopped = ledger.report(key, result)
            if result["done"] and not stopped:
                ledger.end(key, result)
            if stopped or result["done"]:
                del running[key]


def check_pair(folder: RunDirectory, pruner: str) -> None:
    """Study and records tell the same; what was pruned was worse than what was best, and nothing is
    left running.
    """
    (trials,) = read_trials(folder).values()
    states = [trial.state.name for trial in trials]
    assert len(trials) == 18
    assert set(states) <= {"COMPLETE", "PRUNED"}
    records = {record.number: record for record in folder.records()}
    assert {number: record.state for number, record in records.items()} == dict(enumerate(states))
    for trial in trials:
        reported = {
            row["step"]: row["report"]
            for row in folder.steps(next(iter(read_trials(folder))), trial.number)
        }
        assert trial.intermediate_values == reported, "every report is in the study, once"
        if trial.state.name == "COMPLETE":
            assert sorted(reported) == list(range(8)), "a trial that was not stopped ran to its end"
        else:
            last = trial.last_step
            assert last is not None
            assert trial.value == reported[last]
            assert pruner in (records[trial.number].pruned_by or "")
            if pruner in ("median", "percentile", "wilcoxon"):
                others = [
                    other.intermediate_values[last]
                    for other in trials
                    if last in other.intermediate_values
                ]
                assert reported[last] < max(others), (
                    "only what is worse than another at that step is stopped"
                )
            if pruner == "threshold":
                assert reported[last] < 0.3
    if pruner == "patient":
        assert "PRUNED" not in states, "the toy never stops rising, so nothing runs out of patience"
    elif pruner != "none":
        assert "PRUNED" in states


@pytest.mark.parametrize(("sampler", "pruner"), PAIRS)
def test_every_sampler_and_every_pruner_work_together(
    tmp_path: Path, sampler: str, pruner: str
) -> None:
    """A sampler or pruner that Optuna has and a plan may name must work as it does under Optuna
    alone.
    """
    check_pair(searched_here(tmp_path, sampler, pruner), pruner)


@pytest.mark.parametrize(("sampler", "pruner"), THROUGH_RAY)
def test_a_pair_works_through_ray(
    tmp_path: Path, one_ray: OneRay, sampler: str, pruner: str
) -> None:
    """What Ray does with a trial must be what the study was told."""
    check_pair(searched(one_ray, tmp_path, sampler, pruner), pruner)


def test_patience_runs_out_on_what_only_falls(tmp_path: Path) -> None:
    """The patient pruner stops a trial that has not come near its own best for a while."""
    folder = RunDirectory(tmp_path / "run")
    folder.path.mkdir()
    folder.write_state(DriverState(id="0"))
    ledger = Ledger(
        folder,
        make_plan(
            {"spaces": "toy", "trials": 1, "pruner": "patient", "pruner_options": {"patience": 1}}
        ),
    )
    proposal = ledger.propose()
    assert proposal is not None
    values = (0.5, 0.9, 0.4, 0.3, 0.2)
    stopped = [
        ledger.report(proposal.key, {"step": step, "val_accuracy": value})
        for step, value in enumerate(values)
    ]
    assert stopped == [False, False, False, True, True]
    assert [record.state for record in folder.records()] == ["PRUNED"]


@pytest.mark.slow
@pytest.mark.parametrize(("sampler", "pruner"), [pair for pair in PAIRS if pair not in THROUGH_RAY])
def test_every_pair_works_through_ray(
    tmp_path: Path, one_ray: OneRay, sampler: str, pruner: str
) -> None:
    """Whatever the table allows must run."""
    check_pair(searched(one_ray, tmp_path, sampler, pruner), pruner)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"spaces": "tiny-image", "pruner": "median"}, "gives one result at its end"),
        ({"spaces": "toy", "pruner": "wilcoxon"}, "judges results fold by fold"),
        ({"spaces": "toy", "pruner": "patient"}, "needs the option patience"),
        ({"spaces": "toy", "pruner": "threshold"}, "lower"),
        ({"spaces": "toy", "sampler": "grid"}, "a grid needs a list of values"),
        ({"spaces": "tiny-image", "sampler": "cmaes"}, "two parameters that are ranges of numbers"),
        (
            {"spaces": "toy", "objective": ["val_accuracy", "model_mb"], "sampler": "cmaes"},
            "follows one objective",
        ),
        (
            {"spaces": "toy", "objective": ["val_accuracy", "model_mb"], "pruner": "median"},
            "judges one objective",
        ),
        ({"spaces": "toy", "objective": "macro_f1"}, "macro_f1 is no metric of space toy"),
        (
            {"spaces": "tiny-image", "max_model_mb": 10, "constraints": {"latency_ms": {"max": 1}}},
            "latency_ms is no metric",
        ),
        ({"spaces": "toy", "limits": {"gpu_hours": 1}}, "gpus_per_trial is 0"),
        ({"spaces": "toy", "sampler_options": {"startup": 3}}, "reuse has no option 'startup'"),
        ({"spaces": "toy", "sampler_options": {"n_startup_trials": "many"}}, "n_startup_trials"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(
    settings: dict[str, Any], why: str
) -> None:
    """A search that fails after an hour for a reason known at its start has wasted the hour."""
    with pytest.raises(PlanError) as error:
        check_combination(make_plan(settings))
    assert why in str(error.value)
    assert "\n" not in str(error.value)


def test_the_documents_print_the_table_that_plans_are_checked_by() -> None:
    """A table kept by hand would soon say something else than the program."""
    assert markdown() in (ROOT / "docs" / "search.md").read_text()
    assert [row["sampler"] for row in table()["samplers"]] == list(SAMPLERS)


def test_plain_optuna_reads_everything_back(tmp_path: Path, one_ray: OneRay) -> None:
    """The study is the user's: states, values, reports, parameters, distributions, constraints and
    attributes, with Optuna alone.
    """
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "spaces: [toy]\ntrials: 12\npruner: median\npruner_options: {n_startup_trials: "
        "2}\nmax_model_mb: 40\nname: read\n"
    )
    one_ray.output("run", plan, "--no-tracking", "--runs-dir", tmp_path)
    code = """
import json, sys, optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
study = optuna.load_study(study_name="toy", storage=JournalStorage(JournalFileBackend(sys.argv[1])))
print(json.dumps([[t.state.name, t.values, t.intermediate_values, t.params,
                   sorted(t.distributions), t.constraints, t.user_attrs]
                  for t in study.trials]))
assert not any(name.startswith(("search", "ray")) for name in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, tmp_path / "read" / "study.journal"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    trials = json.loads(done.stdout)
    folder = RunDirectory(tmp_path / "read")
    states = [trial[0] for trial in trials]
    assert states.count("COMPLETE") + states.count("PRUNED") == len(trials)
    refused = [record for record in folder.records() if record.infeasible]
    assert refused, "a third of all widths is over 40 MiB"
    for record in folder.records():
        state, values, reports, params, names, constraints, attributes = trials[record.number]
        assert state == record.state
        assert {int(step): value for step, value in reports.items()} == {
            r["step"]: r["report"] for r in folder.steps("toy", record.number)
        }
        assert params.items() <= record.config.items()
        assert set(params) == set(names) == {name for name in record.config if name in params}
        assert attributes["visiontune:config"] == record.config
        assert constraints == {"model_mb": pytest.approx(record.config["width"] ** 2 / 40 - 40)}, (
            "how far the width is out of bounds"
        )
        assert (constraints["model_mb"] > 0) == record.infeasible, (
            "what was run, to its end or not, was within"
        )
        if state == "COMPLETE":
            assert values == [record.metrics["val_accuracy"]]
    assert states.count("COMPLETE") + states.count("PRUNED") - len(refused) == 12, (
        "what was never run does not count"
    )
