"""Where a value is out of bounds, and where a search ends: on the very number, and one before
it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.plan.limits import Bound, Limits, SearchTotals, ending
from analysis.plan.plan import Plan, make_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DriverState
from search.ledger.ledger import Ledger
from search.study.storage import read_trials


def plan_of(**settings: Any) -> Plan:
    return make_plan(
        {"spaces": "toy", "trials": 30, "sampler": "random", "name": "run", **settings}
    )


def run_of(folder: Path) -> RunDirectory:
    run = RunDirectory(folder / "run")
    run.write_state(DriverState(id="0123abcd"))
    return run


@pytest.mark.parametrize(
    ("bound", "value", "excess"),
    [
        ({"max": 2.0}, 2.5, 0.5),
        ({"max": 2.0}, 2.0, 0.0),
        ({"max": 2.0}, 1.5, -0.5),
        ({"max": 0.0}, 0.5, 0.5),  # a bound of 0 is one
        ({"min": 0.0}, -0.5, 0.5),
        ({"min": 2.0}, 1.5, 0.5),
        ({"min": 2.0}, 2.5, -0.5),
        ({"min": 1.0, "max": 2.0}, 2.25, 0.25),
        ({"min": 1.0, "max": 2.0}, 0.25, 0.75),
        ({"min": 1.0, "max": 2.0}, 1.5, -0.5),
    ],
)
def test_excess_is_how_far_a_value_is_out_of_bounds(
    bound: dict[str, float], value: float, excess: float
) -> None:
    """As Optuna counts it: above 0 is broken, and the worse the larger."""
    assert Bound(**bound).excess(value) == excess


@pytest.mark.parametrize(
    ("bound", "widths", "kept"),
    # 20² / 40 is 10
    [({"max": 10.0}, (20, 21), [True, False]), ({"min": 10.0}, (19, 20), [False, True])],
)
def test_a_trial_out_of_bounds_is_not_run(
    tmp_path: Path, bound: dict[str, float], widths: tuple[int, int], kept: list[bool]
) -> None:
    """What lies on the bound is within it."""
    for width, run in zip(widths, kept, strict=True):
        plan = plan_of(
            constraints={"model_mb": bound}, set={"width": width}, limits={"max_infeasible": 0}
        )
        folder = run_of(tmp_path / str(width))
        ledger = Ledger(folder, plan)
        assert (ledger.propose() is not None) == run
        if not run:
            (record_,) = folder.records()
            assert (record_.state, record_.infeasible, record_.pruned_by) == (
                "PRUNED",
                True,
                "a constraint",
            )
            assert (ledger.tally.done, ledger.tally.infeasible) == (0, 1), (
                "what was never run does not count"
            )
            (trial,) = read_trials(folder)["toy"]
            assert trial.constraints == {"model_mb": abs(width**2 / 40 - 10)}


@pytest.mark.parametrize("objective", ["val_accuracy", "val_loss"])
def test_a_trial_that_turns_out_to_break_a_constraint_counts_and_is_not_the_best(
    tmp_path: Path, objective: str
) -> None:
    """It was run, so it counts; and the sampler hears how far it was out of bounds."""
    plan = plan_of(objective=objective, constraints={"latency_ms": {"max": 2.0}})
    folder = run_of(tmp_path)
    ledger = Ledger(folder, plan)
    for goodness, latency in ((0.9, 2.5), (0.5, 2.0), (0.6, 1.5)):
        proposal = ledger.propose()
        assert proposal is not None
        metrics = {"val_accuracy": goodness, "val_loss": 1 - goodness}
        ledger.end(
            proposal.key,
            {
                "step": 0,
                **metrics,
                "model_mb": 1.0,
                "latency_ms": latency,
                "seconds": 0.1,
                "done": True,
            },
        )
    assert ledger.tally.best is not None
    assert (ledger.tally.best.number, ledger.tally.done) == (2, 3)
    assert [found.violations for found in folder.records()] == [
        ("latency_ms 2.5 is not at most 2",),
        (),
        (),
    ]
    assert [trial.constraints["latency_ms"] for trial in read_trials(folder)["toy"]] == [
        0.5,
        0.0,
        -0.5,
    ]


# --- when a search ends


def standing(**changes: Any) -> SearchTotals:
    facts: dict[str, Any] = {
        "trials": 200, "done": 5, "seconds": 10.0, "gpu_hours": 0.5, "best": 0.5, "reached": False,
        "since_gain": 1, "failed": 0,
        "failed_in_a_row": 0, "infeasible": 0,
    }  # fmt: skip
    return SearchTotals(**{**facts, **changes})


@pytest.mark.parametrize(
    ("limits", "last", "first"),
    [
        ({}, {"done": 199}, {"done": 200}),
        ({}, {"failed": 20}, {"failed": 21}),
        ({}, {"failed": 10, "trials": 20}, {"failed": 11, "trials": 20}),
        ({"max_failed": 0}, {"failed": 0}, {"failed": 1}),
        ({"max_failed": 3}, {"failed": 3}, {"failed": 4}),
        ({}, {"failed": 7, "failed_in_a_row": 7}, {"failed": 8, "failed_in_a_row": 8}),
        (
            {"max_failed_in_a_row": 1, "max_failed": 9},
            {"failed": 0},
            {"failed": 1, "failed_in_a_row": 1},
        ),
        ({}, {"infeasible": 1000}, {"infeasible": 1001}),
        ({"max_infeasible": 0}, {"infeasible": 0}, {"infeasible": 1}),
        ({"seconds": 60}, {"seconds": 59.9}, {"seconds": 60.0}),
        ({"gpu_hours": 1}, {"gpu_hours": 0.99}, {"gpu_hours": 1.0}),
        ({"plateau": {"trials": 3}}, {"since_gain": 2}, {"since_gain": 3}),
        ({"plateau": {"trials": 3}}, {"since_gain": 3, "best": None}, {"since_gain": 3}),
        ({"target": 0.5}, {"reached": False}, {"reached": True}),
        ({"target": 0.0}, {"reached": False}, {"reached": True}),
    ],
)
def test_a_search_goes_on_up_to_its_limit_and_not_beyond(
    limits: dict[str, Any], last: dict[str, Any], first: dict[str, Any]
) -> None:
    """One too early or too late is another search."""
    assert ending(Limits(**limits), standing(**last)) is None
    found = ending(Limits(**limits), standing(**first))
    assert found is not None
    assert found.at_once == bool({"seconds", "gpu_hours"} & set(limits)), (
        "a limit on time stops what runs"
    )
    assert found.gave_up == bool({"failed", "infeasible"} & set(first)), "the others have succeeded"


def test_a_network_s_size_is_bounded_unless_the_plan_says_otherwise() -> None:
    """80 MiB is the report's own limit; a constraint that names the size takes its place, and other
    spaces have none.
    """
    assert plan_of().bounds() == {}
    assert plan_of(max_model_mb=5).bounds() == {"model_mb": Bound(max=5)}
    networks = {"spaces": "cnn", "dataset": "digits"}
    assert plan_of(**networks).bounds() == {"model_mb": Bound(max=80)}
    assert plan_of(**networks, max_model_mb=90).bounds() == {"model_mb": Bound(max=90)}
    both = plan_of(
        **networks, max_model_mb=90, constraints={"model_mb": {"min": 1}, "val_loss": {"max": 2}}
    )
    assert both.bounds() == {"model_mb": Bound(min=1), "val_loss": Bound(max=2)}


def test_gpu_hours_of_trials_that_run_count(tmp_path: Path) -> None:
    """One long trial would use up any budget before it ended."""
    run = run_of(tmp_path)
    ledger = Ledger(run, plan_of(limits={"gpu_hours": 1}, gpus_per_trial=0.5))
    first, second = ledger.propose(), ledger.propose()
    assert first is not None
    assert second is not None
    ledger._running[first.key].started -= 3500
    ledger._running[second.key].started -= 3500
    assert ledger.look() is None, "twice 3,500 seconds of half a GPU"
    ledger._running[second.key].started -= 300
    assert ledger.look() is not None
    assert ledger.propose() is None


def test_what_waits_to_go_on_is_ended_with_the_search(tmp_path: Path) -> None:
    """A search whose time is up when it is resumed leaves nothing RUNNING either, and keeps what
    was reported.
    """
    run = run_of(tmp_path)
    begun = Ledger(run, plan_of())
    proposal = begun.propose()
    assert proposal is not None
    begun.report(
        proposal.key,
        {
            "step": 0,
            "val_accuracy": 0.5,
            "val_loss": 0.5,
            "model_mb": 1.0,
            "latency_ms": 1.0,
            "seconds": 2.0,
        },
    )
    resumed = Ledger(run, plan_of(limits={"seconds": 60}), lambda: 61.0)
    assert resumed.propose() is None
    resumed.settle("time is up")
    (record,) = run.records()
    assert (record.state, record.pruned_by, record.steps, record.seconds) == (
        "PRUNED",
        "time is up",
        1,
        2.0,
    )
    (trial,) = read_trials(run)["toy"]
    assert (trial.state.name, trial.intermediate_values) == ("PRUNED", {0: 0.5})
    assert resumed.states() == {"COMPLETE": 0, "PRUNED": 1, "FAIL": 0, "RUNNING": 0, "WAITING": 0}
