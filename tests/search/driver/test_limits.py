"""Everything that may end a search before its number of trials, each said at the end; and retries,
fronts and changed inputs.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from one_ray import OneRay
from PIL import Image
from program import PATIENCE, output, typed

from analysis.plan.plan import make_plan
from analysis.run.directory import RunDirectory
from analysis.run.provenance import changes, facts, note, sessions
from analysis.run.records import DriverState
from search.ledger.ledger import Ledger
from search.ledger.trial_source import Proposal
from search.study.storage import read_trials


class Clock:
    """Seconds that pass when the test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def ledger_of(tmp_path: Path, clock: Clock | None = None, **settings: Any) -> Ledger:
    folder = RunDirectory(tmp_path / "run")
    folder.path.mkdir(exist_ok=True)
    folder.write_state(DriverState(id="0123abcd"))
    plan = make_plan({"spaces": "toy", "trials": 30, "sampler": "random", **settings})
    return Ledger(folder, plan, clock or Clock())


def ended_with(ledger: Ledger, values: list[float | None]) -> int:
    """End one trial after another with these values (None: it fails) until no more are proposed;
    how many were.
    """
    done = 0
    while done < len(values) and (proposal := ledger.propose()) is not None:
        finish(ledger, proposal, values[done])
        done += 1
    ledger.look()
    return done


def finish(ledger: Ledger, proposal: Proposal, value: float | None) -> None:
    if value is None:
        ledger.end(proposal.key, {"failure": "boom"})
    else:
        ledger.end(
            proposal.key,
            {
                "step": 0,
                "val_accuracy": value,
                "val_loss": 1 - value,
                "model_mb": 1.0,
                "seconds": 0.1,
                "done": True,
            },
        )


@pytest.mark.parametrize(
    ("limits", "values", "ended_after", "reason", "gave_up"),
    [
        ({"target": 0.8}, [0.5, 0.79, 0.8, 0.9], 3, "target 0.8 reached: 0.8000", False),
        (
            {"plateau": {"trials": 3}},
            [0.5, 0.6, 0.6, 0.5, 0.4, 0.9],
            5,
            "no gain of more than 0 in 3 trials",
            False,
        ),
        (
            {"plateau": {"trials": 2, "gain": 0.1}},
            [0.5, 0.55, 0.7, 0.75, 0.79, 0.95],
            5,
            "no gain of more than 0.1 in 2 trials",
            False,
        ),
        (
            {"max_failed": 1},
            [0.5, None, 0.5, None, 0.5],
            4,
            "2 trials failed (limits.max_failed: 1)",
            True,
        ),
        (
            {"max_failed_in_a_row": 3},
            [None, None, 0.5, None, None, None, 0.5],
            6,
            "3 trials failed in a row",
            True,
        ),
    ],
)
def test_a_limit_ends_the_search_and_says_so(
    tmp_path: Path,
    limits: dict[str, Any],
    values: list[float | None],
    ended_after: int,
    reason: str,
    gave_up: bool,
) -> None:
    """Each limit is counted in trials as they end: one too early or too late is another search."""
    ledger = ledger_of(tmp_path, limits=limits)
    assert ended_with(ledger, values) == ended_after
    assert reason in ledger.finished_reason
    assert ledger.ending is not None
    assert ledger.ending.gave_up == gave_up


def test_a_plateau_is_not_reached_by_failures(tmp_path: Path) -> None:
    """What failed says nothing about whether there is more to gain."""
    ledger = ledger_of(tmp_path, limits={"plateau": {"trials": 2}, "max_failed_in_a_row": 20})
    assert ended_with(ledger, [0.5, None, None, None, 0.4, 0.3, 0.9]) == 6


@pytest.mark.parametrize(
    ("unit", "settings"),
    [("time limit of 60 s", {"seconds": 60}), ("1 GPU-hours used", {"gpu_hours": 1})],
)
def test_what_runs_when_the_time_is_up_is_stopped_with_its_reports(
    tmp_path: Path, unit: str, settings: dict[str, float]
) -> None:
    """A limit on time that waits for the longest trial is none; what it had come to is kept."""
    clock = Clock()
    ledger = ledger_of(tmp_path, clock, limits=settings, gpus_per_trial=1.0)
    first, second = ledger.propose(), ledger.propose()
    assert first is not None
    assert second is not None
    step = {
        "val_accuracy": 0.4,
        "val_loss": 0.6,
        "model_mb": 1.0,
        "seconds": 4000.0 if "gpu_hours" in settings else 1.0,
    }
    assert not ledger.report(second.key, {"step": 0, **step})
    ledger.end(first.key, {"step": 0, **step, "done": True})
    clock.now = 61.0
    assert ledger.propose() is None
    assert ledger.ending is not None
    assert ledger.ending.at_once
    ledger.settle(ledger.ending.reason)
    assert unit in ledger.finished_reason
    folder = RunDirectory(tmp_path / "run")
    assert [record.state for record in folder.records()] == ["COMPLETE", "PRUNED"]
    assert [trial.intermediate_values for trial in read_trials(folder)["toy"]] == [
        {0: 0.4},
        {0: 0.4},
    ]


def test_too_many_infeasible_trials_end_the_search(tmp_path: Path) -> None:
    """Where nothing keeps the bounds, a sampler would be asked for ever."""
    ledger = ledger_of(tmp_path, max_model_mb=0.0001, limits={"max_infeasible": 7})
    assert ledger.propose() is None
    assert "8 trials broke a constraint" in ledger.finished_reason
    assert {trial.state.name for trial in read_trials(RunDirectory(tmp_path / "run"))["toy"]} == {
        "PRUNED"
    }


def test_the_limit_on_seconds_holds_through_ray(tmp_path: Path, one_ray: OneRay) -> None:
    """What the command line promises, on real workers: it ends in time, says so, and leaves nothing
    running.
    """
    words = (
        "--space",
        "toy",
        "--trials",
        5000,
        "--set",
        "pause=0.3",
        "--set",
        "fault=none",
        "--limit",
        "seconds=4",
        "--no-tracking",
    )
    done = one_ray.output("run", *words, "--name", "timed", "--runs-dir", tmp_path)
    assert done["state"] == "finished"
    assert "time limit of 4 s" in done["reason"]
    status = output("status", "timed", "--runs-dir", tmp_path)
    assert status["trials"]["RUNNING"] == status["trials"]["WAITING"] == 0
    assert 4 <= status["seconds"] < PATIENCE / 2, "all 5,000 would take much longer"


def test_a_failed_trial_is_retried_as_often_as_the_plan_says(tmp_path: Path) -> None:
    """A worker lost to a passing fault is worth another try, one that always fails is not."""
    ledger = ledger_of(tmp_path, trials=3, retries=2)
    assert ended_with(ledger, [None, None, None, 0.5, 0.6, 0.7]) == 6
    configs = [record.config for record in RunDirectory(tmp_path / "run").records()]
    assert configs[0] == configs[1] == configs[2] != configs[3], (
        "the first and its two retries; then another"
    )
    assert ledger.finished_reason == "all 3 trials are done"


def test_a_search_for_a_tradeoff_gives_the_front(tmp_path: Path, one_ray: OneRay) -> None:
    """With two objectives there is no best trial but a front: no trial on it is beaten in both by
    another.
    """
    words = ("--objective", "val_accuracy", "--objective", "model_mb", "--set", "fault=none")
    done = one_ray.output(
        "run",
        "--space",
        "toy",
        "--trials",
        20,
        *words,
        "--name",
        "front",
        "--runs-dir",
        tmp_path,
        "--no-tracking",
    )
    assert done["state"] == "finished"
    front = output("best", "front", "--top", 100, "--runs-dir", tmp_path)
    folder = RunDirectory(tmp_path / "front")
    points = {
        record.number: (record.metrics["val_accuracy"], record.metrics["model_mb"])
        for record in folder.records()
    }
    assert len(points) == 20
    unbeaten = {
        number
        for number, (accuracy, size) in points.items()
        if not any(
            a >= accuracy and s <= size and (a, s) != (accuracy, size) for a, s in points.values()
        )
    }
    assert {row["number"] for row in front} == unbeaten
    (trials,) = read_trials(folder).values()
    assert all(trial.values == list(points[trial.number]) for trial in trials), (
        "accuracy and size, in the plan's order"
    )
    assert "front" in (folder.report / "report.html").read_text().lower()
    assert typed("best", "front", "--runs-dir", tmp_path).returncode == 0
    study = optuna.load_study(
        study_name="toy", storage=optuna.storages.JournalStorage(journal_backend(folder))
    )
    assert {trial.number for trial in study.best_trials} == unbeaten, "Optuna finds the same front"


def picture(seed: int) -> Image.Image:
    """Noise, the same for a seed."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (24, 24), np.uint8))


def journal_backend(folder: RunDirectory) -> optuna.storages.journal.JournalFileBackend:
    return optuna.storages.journal.JournalFileBackend(str(folder.journal))


def test_resuming_on_changed_images_warns_and_names_what_changed(
    tmp_path: Path, one_ray: OneRay
) -> None:
    """Trials before and after stand in one leaderboard: whoever reads it must know that they saw
    different pixels.
    """
    images = tmp_path / "images"
    for split in ("train", "test"):
        for label, level in (("dark", 40), ("light", 200)):
            (images / split / label).mkdir(parents=True)
            for i in range(4):
                picture(level + 5 * i).save(images / split / label / f"{i}.png")
    words = (
        "--space",
        "tiny-image",
        "--dataset",
        f"folder:{images}",
        "--trials",
        2,
        "--set",
        "size=8",
        "--no-tracking",
    )
    assert one_ray.typed("run", *words, "--name", "changed", "--runs-dir", tmp_path).returncode == 0
    same = one_ray.typed("extend", "changed", "--trials", 1, "--runs-dir", tmp_path)
    assert same.returncode == 0, same.stderr
    assert "changed:" not in same.stderr
    assert "images have changed" not in same.stderr
    picture(90).save(images / "train" / "dark" / "0.png")
    other = one_ray.typed("extend", "changed", "--trials", 1, "--runs-dir", tmp_path)
    assert other.returncode == 0, other.stderr
    assert "the images have changed" in other.stderr
    assert [
        session["plan"]["trials"] for session in sessions(RunDirectory(tmp_path / "changed"))
    ] == [2, 3, 4]
    for split in ("train", "test"):
        shutil.copytree(images / split / "light", images / split / "lighter")
    line = one_ray.refusal("extend", "changed", "--trials", 1, "--runs-dir", tmp_path)
    assert "class" in line, "other classes cannot stand beside the old ones"


def test_changed_code_packages_and_plan_are_named(tmp_path: Path) -> None:
    """The warning says which file, package or setting is not what it was."""
    now: dict[str, Any] = {
        "python": "3.11.2",
        "packages": {"torch": "2.14.1", "ray": "2.60.0"},
        "code": {"analysis/plan/plan.py": "aa", "spaces/ours/toy.py": "bb"},
        "plan": {"trials": 5, "seed": 0},
        "data": "f",
    }
    assert changes(now, now) == []
    then = {
        **now,
        "python": "3.11.1",
        "packages": {"torch": "2.13.0", "ray": "2.60.0"},
        "code": {"analysis/plan/plan.py": "aa"},
    }
    then["plan"] = {"trials": 3, "seed": 1}
    lines = changes(then, now)
    assert lines == [
        "Python is 3.11.2, was 3.11.1",
        "package torch is 2.14.1, was 2.13.0",
        "the code has changed: spaces/ours/toy.py",
        "the plan's seed is 0, was 1",
    ]


def test_a_session_is_held_against_the_one_before_it(tmp_path: Path) -> None:
    """What changed once is said once: a warning at every resume is read by nobody."""
    folder = RunDirectory(tmp_path)
    plan = make_plan({"spaces": "toy", "name": "made"})
    now = facts(plan, "f")
    assert {
        "analysis/run/provenance.py",
        "trainables/knn/run.py",
        "analysis/run/records.py",
        "spaces/ours/toy.py",
    } <= set(now["code"])
    changed = {**now, "data": "g"}
    said = [note(folder, session) for session in (now, now, changed, changed)]
    assert [len(lines) for lines in said] == [0, 0, 1, 0]
    assert [session["data"] for session in sessions(folder)] == ["f", "f", "g", "g"]


def test_figures_of_a_metric_to_be_minimised_reach_their_target_from_above(tmp_path: Path) -> None:
    """A loss is better the smaller it is, for the target too."""
    ledger = ledger_of(tmp_path, objective="val_loss", limits={"target": 0.3})
    assert ended_with(ledger, list(np.array([0.5, 0.6, 0.75, 0.9]))) == 3
    assert "target 0.3 reached: 0.25" in ledger.finished_reason
