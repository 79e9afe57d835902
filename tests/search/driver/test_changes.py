"""A search is told from another terminal how far to go, and does what it was told last."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
from program import PATIENCE, Driver, output, refused, typed, visiontune

from analysis.plan.complaints import PlanError
from analysis.plan.limits import Limits
from analysis.plan.plan import Plan, make_plan
from analysis.run.changing import change_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts
from search.cli.changing import _longer
from search.cluster.capacity import Capacity
from search.driver.beginning import create
from search.driver.trial_loop import TrialLoop
from search.ledger import requests
from search.ledger.ledger import Ledger
from search.ledger.status import read_status
from search.sampling.samplers import distribution_of
from search.study.storage import read_trials
from spaces.samplers import SAMPLERS
from trainables.learners import Shared

TOLD = {"step": 7, "val_loss": 0.5, "model_mb": 1.0, "latency_ms": 1.0, "seconds": 10.0}


def begun(runs: Path, **settings: Any) -> RunDirectory:
    """A new run of the toy, whose lock nobody holds."""
    facts = {"spaces": "toy", "name": "run", "tracking": {"enabled": False}, "sampler": "random"}
    plan = make_plan({**facts, **settings})
    folder = RunDirectory(runs / "run")
    os.close(
        create(folder, plan, DataFacts(spec="none", classes=(), sizes={}, fingerprint=""), None)
    )
    return folder


def searched(folder: RunDirectory, trials: int, plan: Plan | None = None) -> str:
    """A driver that tries at most so many more, ten seconds each; why no more are begun."""
    seconds = folder.state().seconds
    ledger = Ledger(folder, plan or folder.plan(), lambda: seconds)
    ledger.take_requests()
    for _ in range(trials):
        proposal = ledger.propose()
        if proposal is None:
            break
        seconds += 10.0
        ledger.end(proposal.key, {**TOLD, "val_accuracy": proposal.config["quality"], "done": True})
    ended = ledger.look()
    state = {"seconds": seconds, "state": "finished" if ended else "stopped"}
    folder.write_state(folder.state().model_copy(update=state))
    return ended.reason if ended else ""


LIMITS: dict[str, dict[str, Any]] = {
    "time": {"seconds": 45},
    "target": {"target": 0.01},
    "plateau": {"plateau": {"trials": 2, "gain": 1.0}},
}


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("spaces", [("toy",), ("toy", "toy-folds")])
def test_a_search_that_a_limit_ended_goes_on_by_what_is_asked_now(
    tmp_path: Path, limit: str, spaces: tuple[str, ...]
) -> None:
    """Whoever asks for three more trials has read that the time was up; a limit that is reached for
    ever would end every extension before it begins.
    """
    folder = begun(tmp_path, spaces=spaces, trials=10_000, limits=LIMITS[limit])
    assert "(limits." in searched(folder, 99)
    done = len(folder.records())
    assert done < 10
    change_plan(folder, _longer(folder, 3, None))
    assert searched(folder, 99) == f"all {done + 3} trials are done"
    assert len(folder.records()) == done + 3


def test_more_time_is_counted_from_where_the_search_stands(tmp_path: Path) -> None:
    """A search of 45 s that is given a minute more has 105, or what it had used and a minute; one
    that its number of trials ended has no number any more.
    """
    folder = begun(tmp_path, trials=10_000, limits={"seconds": 45})
    searched(folder, 2)
    assert change_plan(folder, _longer(folder, None, 60.0)).limits.seconds == 105
    assert "time limit of 105 s" in searched(folder, 99)
    assert change_plan(folder, _longer(folder, None, 30.0)).limits.seconds == 140
    searched(folder, 99)
    assert change_plan(folder, _longer(folder, 2, 5.0)).trials == 16, "14 are done"
    searched(folder, 99)
    plan = change_plan(folder, lambda plan: {"trials": len(folder.records()), "limits": {}})
    assert searched(folder, 1, plan) == f"all {plan.trials} trials are done"
    longer = change_plan(folder, _longer(folder, None, 30.0))
    assert longer.limits.seconds == folder.state().seconds + 30
    assert "time limit" in searched(folder, 99)


def test_what_was_changed_is_kept_with_its_time(tmp_path: Path) -> None:
    """Whoever reads a run a year later must see why a search of 30 s took 300."""
    folder = begun(tmp_path, trials=10_000, limits={"seconds": 30})
    searched(folder, 99)
    change_plan(folder, _longer(folder, 3, None))
    (change,) = folder.plan().changes
    assert str(change) == "trials 6 (was 10,000), limits.seconds none (was 30)"
    assert change.time > folder.records()[-1].started
    shown = read_status(folder)["changes"]
    assert shown == [json.loads(change.model_dump_json())]
    assert str(change) in typed("status", "run", "--runs-dir", tmp_path).stdout
    change_plan(folder, lambda plan: {"trials": plan.trials})
    assert len(folder.plan().changes) == 1, "nothing was changed"
    with pytest.raises(PlanError):
        change_plan(folder, lambda plan: {"trials": 10**7})
    assert len(folder.plan().changes) == 1


def test_a_search_that_ran_out_of_time_is_extended_as_a_user_types_it(tmp_path: Path) -> None:
    """With Ray, from the command line: extend does what it is asked, and says what it changed in
    one line.
    """
    runs = ("--runs-dir", tmp_path)
    fixed = ("--set", "pause=0.1", "--set", "fault=none", "--no-tracking")
    said = output("run", "--space", "toy", "--minutes", 0.05, *fixed, "--name", "timed", *runs)
    assert said["reason"] == "time limit of 3 s reached (limits.seconds)"
    done = len(RunDirectory(tmp_path / "timed").records())
    first = typed("enqueue", "timed", "--set", "quality=0.5", *runs)
    assert "with: visiontune extend timed --trials N" in first.stdout
    more = visiontune("extend", "timed", "--trials", 2, *runs)
    assert more.returncode == 0, more.stderr
    lines = [line for line in more.stderr.splitlines() if "as it is asked to now" in line]
    assert lines == [
        f"goes on as it is asked to now: trials {done + 2:,} (was 10,000), limits.seconds none "
        "(was 3)"
    ]
    assert f"finished: all {done + 2} trials are done" in more.stdout
    assert "since this run's last session" not in more.stderr


LISTS = {"quality": [0.1, 0.5, 0.9], "rate": [0.5, 1.0], "momentum": [0.0], "width": [8, 16, 32]}
"""For samplers that want lists; the others have the toy's ranges."""


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws_within_what_was_narrowed_and_so_after_a_kill(
    tmp_path: Path, sampler: str
) -> None:
    """Half a night shows that large widths are of no use. What was found outside stays, the study
    keeps its domains, which could not be changed, and no draw lies outside any more.
    """
    lists = sampler in ("grid", "brute-force")
    narrower = {"quality": "0.5,0.9", "width": "16"} if lists else {
        "quality": "0.5..0.75", "optimiser": "adam", "width": "8..16"}  # fmt: skip
    settings = {"set": {**LISTS, "optimiser": "adam,sgd"}} if lists else {}
    folder = begun(tmp_path, trials=40, sampler=sampler, **settings)
    searched(folder, 12)
    words = [word for pair in narrower.items() for word in ("--set", "=".join(pair))]
    told = typed("change", "run", *words, "--runs-dir", tmp_path)
    assert told.returncode == 0, told.stderr
    assert "goes on so with visiontune resume run: narrowed.quality" in told.stdout
    requests.ask(folder, "enqueue", "toy", {"width": 32})
    searched(folder, 1)
    before = len(folder.records())
    assert folder.records()[-1].config["width"] == 32, "what is asked for expressly is tried"
    searched(folder, 6)
    folder.journal.unlink()  # a study built anew knows no more than the folders
    searched(folder, 6)
    plan = folder.plan()
    (within,) = plan.narrowed_spaces().values()
    configs = [record.config for record in folder.records()]
    drawn = configs[before:]
    inside = [all(c[name] in within[name].domain for name in narrower) for c in configs[:before]]
    assert len(drawn) == (8 - sum(inside) if lists else 12), "each combination once"
    for config in drawn:
        for name in narrower:
            assert config[name] in within[name].domain, (name, config)
    (space,) = plan.search_spaces().values()
    (trials,) = read_trials(folder).values()
    assert {str(t.distributions["quality"]) for t in trials} == {
        str(distribution_of(space["quality"].domain))
    }


def test_fewer_trials_than_are_done_end_a_search_in_true_words(tmp_path: Path) -> None:
    """A change of one that has ended is of use once more is asked for; the command that does so is
    named, and "all 3 trials are done" would be wrong of five.
    """
    folder = begun(tmp_path, trials=30)
    searched(folder, 5)
    assert (
        "with visiontune extend run --trials N: trials 3 (was 30)"
        in typed("change", "run", "--trials", 3, "--runs-dir", tmp_path).stdout
    )
    assert searched(folder, 9) == "5 trials are done, and 3 were asked for"
    assert len(folder.records()) == 5


@pytest.mark.parametrize(
    "now", [{"trials": 3}, {"limits": {"target": 0.001}}, {"trials": 4}], ids=str
)
def test_what_a_killed_driver_left_ends_though_less_is_asked_for_now(
    tmp_path: Path, now: dict[str, Any]
) -> None:
    """Trials that run when fewer are asked for end by themselves; so do those whose driver died
    before, or study and MLflow would show them running for ever in a search that is over.
    """
    folder = begun(tmp_path, trials=30)
    searched(folder, 3)
    ledger = Ledger(folder, folder.plan())
    left = [proposal.key for _ in range(2) if (proposal := ledger.propose())]
    assert len(left) == 2
    change_plan(folder, lambda plan: now)  # and the driver dies
    again = Ledger(folder, folder.plan())
    again.look()
    assert again.finished_reason == ""
    for _ in left:
        proposal = again.propose()
        assert proposal is not None
        assert proposal.goes_on
        again.end(proposal.key, {**TOLD, "val_accuracy": 0.5, "done": True})
    assert again.propose() is None
    assert again.finished_reason
    assert [record.state for record in folder.records()] == ["COMPLETE"] * 5
    (trials,) = read_trials(folder).values()
    assert {trial.state.name for trial in trials} == {"COMPLETE"}


def test_a_driver_that_runs_takes_up_what_another_terminal_changes(tmp_path: Path) -> None:
    """Number, time and domains change under a driver that has proposed trials already."""
    folder = begun(tmp_path, trials=30)
    ledger = Ledger(folder, folder.plan())
    assert ledger.propose()
    words = ("--trials", 4, "--limit", "target=0.99", "--set", "quality=0.25..0.5")
    typed("change", "run", *words, "--runs-dir", tmp_path)
    ledger.go_by(folder.plan())
    assert (ledger.plan.trials, ledger.plan.limits.target) == (4, 0.99)
    found = [proposal.config["quality"] for _ in range(3) if (proposal := ledger.propose())]
    assert len(found) == 3
    assert all(0.25 <= value <= 0.5 for value in found)
    assert ledger.propose() is None, "four run, and no more are wanted"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "width=1..64"), "may only become narrower, but got '1..64'"),
        (("--set", "width=6..12"), "may only become narrower"),
        (("--set", "width=8,10"), "may become narrower, but not another kind of domain"),
        (("--set", "optimiser=1..2"), "toy.optimiser must be one of "),
        (("--set", "width=0..9"), "toy.width must be a whole number in 1..64, but got '0..9'"),
        (("--set", "colour=1"), "space toy has no parameter 'colour'"),
        (("--limit", "seconds=-3"), "limits.seconds: input should be greater than 0, but got -3"),
        (("--limit", "hours=3"), "limits.hours: no such setting; there are seconds, "),
        (("--concurrency", 0), "concurrency: input should be greater than or equal to 1"),
        ((), "give --concurrency, --trials, --limit or --set"),
    ],
)
def test_what_is_wider_or_of_another_kind_is_refused_in_one_line(
    tmp_path: Path, words: tuple[object, ...], said: str
) -> None:
    """A study cannot take up other choices, and what was narrowed stays so: a change that is
    refused leaves the plan as it was, to the byte.
    """
    folder = begun(tmp_path, trials=30)
    assert typed("change", "run", "--set", "width=8..16", "--runs-dir", tmp_path).returncode == 0
    was = folder.plan_file.read_bytes()
    assert said in refused("change", "run", *words, "--runs-dir", tmp_path)
    assert folder.plan_file.read_bytes() == was


def test_room_for_trials_is_what_the_plan_says_now() -> None:
    """Tune is told the most that there may be once, when it begins; how many there are is asked
    each time.
    """
    plan = make_plan({"spaces": "tiny-image", "concurrency": 1})
    loop = TrialLoop(RunDirectory(Path("none")), plan, Shared(seed=0), Capacity(plan, 2), [], 1)
    assert (loop.capacity.now(), loop.capacity.most) == (1, 8)
    more = plan.model_copy(update={"concurrency": 5, "limits": Limits(trial_seconds=9)})
    loop.go_by(more)
    assert (loop.capacity.now(), loop.plan.limits.trial_seconds) == (5, 9)
    loop.go_by(plan.model_copy(update={"concurrency": None}))
    assert loop.capacity.now() == 3


@pytest.mark.slow
def test_concurrency_changes_while_trials_run(tmp_path: Path) -> None:
    """With Ray, from another terminal: whoever needs the cores for an hour takes them back, and
    gives them back later.
    """
    fixed = ("--set", "pause=0.5", "--set", "steps=2", "--set", "fault=none", "--no-tracking")
    runs = ("--runs-dir", tmp_path)
    driver = Driver(
        "run", "--space", "toy", "--trials", 500, "--concurrency", 1, *fixed, "--name", "wide",
        *runs, log=tmp_path / "log",
    )  # fmt: skip
    folder = RunDirectory(tmp_path / "wide")
    driver.wait_for_trials(folder.path, 2)
    assert typed("change", "wide", "--concurrency", 2, *runs).returncode == 0
    end = time.monotonic() + PATIENCE
    while folder.state().trials.get("RUNNING", 0) < 2:
        assert time.monotonic() < end, driver.log
        time.sleep(0.1)
    done = sum(folder.state().trials[name] for name in ("COMPLETE", "PRUNED"))
    assert typed("change", "wide", "--trials", done + 2, *runs).returncode == 0
    assert driver.end() == 0, driver.log
    assert "asked from another terminal: concurrency 2 (was 1)" in driver.log
    assert [sorted(change.now) for change in folder.plan().changes] == [["concurrency"], ["trials"]]
    ended = sum(folder.state().trials[name] for name in ("COMPLETE", "PRUNED"))
    assert ended >= done + 2  # those that began in the meantime end too
    all_done = f"finished: all {ended} trials are done"
    more = f"finished: {ended} trials are done, and {done + 2} were asked for"
    assert driver.log.count(more if ended > done + 2 else all_done) == 1
