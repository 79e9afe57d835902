"""A search that starts from earlier ones knows what they found, and is no less a search of its
own.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
from earlier_searches import NO_IMAGES, begin, go_on, plan_of, searched
from golden_runs import golden_runs
from one_ray import OneRay
from program import Driver, output, refused

from analysis.plan.replicate import Replicate
from analysis.run.changing import change_plan
from analysis.run.directory import RunDirectory
from search.cli.changing import _longer
from search.ledger.ledger import Ledger
from search.ledger.replicas import Replicas
from search.ledger.requests import pending
from search.ledger.status import read_status
from search.sampling.guided import FILE, earlier_trials
from search.study.storage import read_trials
from spaces import TOY
from spaces.errors import UserError
from spaces.samplers import SAMPLERS

TOO_FINE = {"grid", "brute-force"}
"""Samplers for which the toy's ranges have no list of values."""
LISTS = {"quality": [0.1, 0.5, 0.9], "rate": [0.5, 1.0], "momentum": [0.0], "width": [8, 16]}


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs directory with a random search of the toy."""
    runs = tmp_path_factory.mktemp("runs")
    searched(runs, "old", 20, sampler="random")
    return runs


def with_old(tmp_path: Path, before: Path) -> Path:
    shutil.copytree(before / "old", tmp_path / "old")
    return tmp_path


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_starts_from_an_earlier_search_and_goes_on_without_it(
    tmp_path: Path, before: Path, sampler: str
) -> None:
    """What an earlier search found may never be counted, ranked or numbered as this one's; and a
    resume, or a study built again, needs nothing but the run's own folder.
    """
    runs = with_old(tmp_path, before)
    best = max(record.metrics["val_accuracy"] for record in RunDirectory(runs / "old").records())
    narrow = {"set": LISTS} if sampler in TOO_FINE else {}
    if narrow:
        shutil.rmtree(runs / "old")
        searched(runs, "old", 12, sampler="grid", **narrow)
        best = max(
            record.metrics["val_accuracy"] for record in RunDirectory(runs / "old").records()
        )
    plan = plan_of("new", sampler=sampler, warm_start=["old"], **narrow)
    folder, said = begin(runs, plan)
    values = SAMPLERS[sampler].warm == "values"
    assert len(said) == 1
    assert ("are known to the sampler" in said[0]) == values, said
    shutil.rmtree(runs / "old")
    assert go_on(folder, 3)[0] == pytest.approx(best), "the best of it is tried first"
    folder.journal.unlink()
    go_on(folder, 3)
    records, status = folder.records(), read_status(folder)
    assert [record.number for record in records] == [0, 1, 2, 3, 4, 5]
    assert status["trials"]["COMPLETE"] == status["budget"] == 6
    assert [trial.number for trial in read_trials(folder)["toy"]] == [0, 1, 2, 3, 4, 5]
    known = earlier_trials(folder, plan, plan.search_spaces()["toy"])
    assert len(known) == (20 if values else 0)
    assert {trial.number for trial in known} <= {-1}


@pytest.mark.parametrize("sampler", ["tpe", "gp", "cmaes"])
def test_what_was_found_before_is_found_again_in_a_third_of_the_trials(
    tmp_path: Path, before: Path, sampler: str
) -> None:
    """A sampler that is only shown trials, and learns nothing of them, would do no better than one
    that begins anew; here nothing is tried first but what it proposes.
    """
    runs = with_old(tmp_path, before)
    best = max(record.metrics["val_accuracy"] for record in RunDirectory(runs / "old").records())
    needed = []
    for seed in range(5):
        plan = plan_of(f"new-{seed}", sampler=sampler, warm_start=["old"], seed=seed)
        folder, _ = begin(runs, plan)
        for request in pending(folder):
            (folder.requests / f"{request.name}.json").unlink()
        found = go_on(folder, 6)
        # the best of twenty is beaten by chance once in twenty trials
        needed.append(next((n for n, value in enumerate(found, 1) if value >= best), 99))
    assert median(needed) <= 6, needed


def test_what_does_not_fit_is_named_in_one_line_and_the_rest_is_taken(
    tmp_path: Path, before: Path
) -> None:
    """Trials from outside what is searched now would mislead who draws within it."""
    runs = with_old(tmp_path, before)
    folder, said = begin(runs, plan_of("new", warm_start=["old"], set={"optimiser": "adam"}))
    sgd = sum(r.config["optimiser"] == "sgd" for r in RunDirectory(runs / "old").records())
    assert said == [
        f"warm start from run old: {20 - sgd} trials are known to the sampler, and the best is "
        f"tried first; left out: toy: optimiser is not one of adam ({sgd})"
    ]
    (known,) = {tuple(t.params) for t in earlier_trials(folder, folder.plan(), TOY)} or {()}
    assert "momentum" not in known


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"warm_start": ["nobody"]}, "no run 'nobody' in "),
        (
            {"warm_start": ["old"], "spaces": "toy-folds"},
            "run old searched toy, and this search is",
        ),
        (
            {"warm_start": ["old"], "set": {"steps": 9}},
            "no trial of run old fits this search: toy: steps is not one of 9 (20)",
        ),
        ({"warm_start": ["empty"]}, "warm_start: run empty has no complete trial; leave it out"),
        ({"warm_start": ["sqlite:///no.db#a"]}, "no.db: there is no such file; name a study"),
    ],
)
def test_a_search_that_could_take_nothing_is_refused_before_it_begins(
    tmp_path: Path, before: Path, settings: dict[str, Any], said: str
) -> None:
    """Whoever asks for a warm start shall not find after a night that it was none."""
    runs = with_old(tmp_path, before)
    begin(runs, plan_of("empty"))
    with pytest.raises(UserError) as told:
        begin(runs, plan_of("new", **settings))
    assert said in str(told.value)
    assert "\n" not in str(told.value)
    assert not (runs / "new").exists()


def test_what_needs_no_images_is_known_whatever_is_searched_beside_it(
    tmp_path: Path, before: Path
) -> None:
    """A trial of a space without images was measured on none, so that those of this search make
    no difference to it.
    """
    runs = with_old(tmp_path, before)
    plan = plan_of("new", spaces=["toy", "tiny-image"], dataset="digits", warm_start=["old"])
    images = NO_IMAGES.model_copy(update={"spec": "digits", "sizes": {"train": 9}})
    folder, said = begin(runs, plan, images, np.zeros(9, np.int64))
    assert "20 trials are known to the sampler" in said[0]
    assert len(earlier_trials(folder, plan, plan.search_spaces()["toy"])) == 20


def test_a_damaged_note_of_earlier_trials_ends_no_search(tmp_path: Path, before: Path) -> None:
    """It only informs the sampler: the trials of the run are worth more than it."""
    runs = with_old(tmp_path, before)
    folder, _ = begin(runs, plan_of("new", warm_start=["old"]))
    go_on(folder, 2)
    (folder.path / FILE).write_text((folder.path / FILE).read_text().replace("quality", "qual"))
    go_on(folder, 4)
    assert len(folder.records()) == 6


def test_the_program_starts_from_a_released_version_s_run(tmp_path: Path, one_ray: OneRay) -> None:
    """As a user types it, with Ray, from a run of the first release."""
    runs = golden_runs(tmp_path / "runs", "toy")
    old = RunDirectory(runs / "toy").records()
    best = max(r.metrics["val_accuracy"] for r in old if r.state == "COMPLETE")
    common = ("--space", "toy", "--no-tracking", "--runs-dir", runs, "--concurrency", "1")
    found = one_ray.output("run", *common, "--trials", "2", "--name", "new", "--warm-start", "toy")
    assert found["trials"] == {"COMPLETE": 2, "PRUNED": 0, "FAIL": 0}
    assert found["best"]["metrics"]["val_accuracy"] >= best - 1e-9
    said = refused("run", *common, "--warm-start", "nobody")
    assert "no run 'nobody'" in said


def test_a_warm_started_run_is_killed_extended_and_run_again_as_any_other(
    tmp_path: Path, before: Path
) -> None:
    """What was taken of an earlier search must not be lost by a kill, be counted by an extension,
    or be run again with other seeds as if this search had found it.
    """
    runs = with_old(tmp_path, before)
    folder, _ = begin(runs, plan_of("new", warm_start=["old"], trials=4))
    shutil.rmtree(runs / "old")
    go_on(folder, 2)
    ledger = Ledger(folder, folder.plan())
    left = ledger.propose()  # and is killed
    assert left is not None
    again = Ledger(folder, folder.plan())
    assert (again.propose() or left).number == left.number == 2
    space = folder.plan().search_spaces()["toy"]
    assert len(earlier_trials(folder, folder.plan(), space)) == 20
    go_on(folder, 9)
    assert read_status(folder)["trials"]["COMPLETE"] == 4
    change_plan(folder, _longer(folder, 3, None))
    go_on(folder, 9)
    assert [record.number for record in folder.records()] == list(range(7))
    ended = Ledger(folder, folder.plan())
    jobs = Replicas(
        folder, Replicate(top=20, seeds=1), "val_accuracy", 0, ended.outbox, lambda line: None
    )
    assert jobs.left == 7, "its own trials alone"


@pytest.mark.slow
def test_the_program_kills_extends_and_replicates_a_warm_started_run(tmp_path: Path) -> None:
    """The same as a user types it, with Ray and SIGKILL."""
    runs = golden_runs(tmp_path / "runs", "toy")
    common = ("--runs-dir", runs)
    # without a pause the earlier trials were drawn, and with one there is time to kill
    fixed = ("--set", "pause=0,0.3", "--set", "fault=none", "--no-tracking", "--trials", 8)
    driver = Driver(
        "run", "--space", "toy", *fixed, "--name", "new", "--warm-start", "toy", *common,
        log=tmp_path / "log",
    )  # fmt: skip
    driver.wait_for_trials(runs / "new", 2)
    driver.kill_all()
    assert output("resume", "new", *common)["trials"]["COMPLETE"] == 8
    assert output("extend", "new", "--trials", 2, *common)["trials"]["COMPLETE"] == 10
    assert output("replicate", "new", "--top", 1, "--seeds", 2, *common)["state"] == "finished"
    (best, *_) = output("best", "new", "--top", 1, *common)
    assert len(best["replicas"]["seeds"]) == 2
