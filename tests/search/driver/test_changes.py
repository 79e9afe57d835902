"""A search is told from another terminal how far to go, and does what it was told last."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from program import output, typed, visiontune

from analysis.plan.plan import Plan, PlanError, make_plan
from analysis.run.changing import change_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts
from search.cli.changing import _longer
from search.driver.beginning import create
from search.ledger.ledger import Ledger
from search.ledger.status import read_status

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
    assert change_plan(folder, _longer(folder, 2, 5.0)).trials == 13, "11 are done"
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
    """With Ray, from the command line: resume says how it ended and how it goes on; extend does
    what it is asked, and says what it changed in one line.
    """
    runs = ("--runs-dir", tmp_path)
    fixed = ("--set", "pause=0.1", "--set", "fault=none", "--no-tracking")
    said = output("run", "--space", "toy", "--minutes", 0.05, *fixed, "--name", "timed", *runs)
    assert said["reason"] == "time limit of 3 s reached (limits.seconds)"
    done = len(RunDirectory(tmp_path / "timed").records())
    first = typed("enqueue", "timed", "--set", "quality=0.5", *runs)
    assert "with: visiontune extend timed --trials N" in first.stdout
    again = visiontune("resume", "timed", *runs)
    assert again.returncode == 0, again.stderr
    assert "finished: time limit of 3 s reached" in again.stdout
    assert "visiontune extend timed --trials N, or --minutes N" in again.stdout
    more = visiontune("extend", "timed", "--trials", 2, *runs)
    assert more.returncode == 0, more.stderr
    lines = [line for line in more.stderr.splitlines() if "as it is asked to now" in line]
    assert lines == [
        f"goes on as it is asked to now: trials {done + 2:,} (was 10,000), limits.seconds none "
        "(was 3)"
    ]
    assert f"finished: all {done + 2} trials are done" in more.stdout
    assert "since this run's last session" not in more.stderr
