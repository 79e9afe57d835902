"""Searches that are stopped and killed: nothing finished is lost, nothing is done twice."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
from program import PATIENCE, Driver, output, refusal, refused, tracked, typed, visiontune

from analysis.run.directory import RunDirectory
from search.study.storage import read_trials

TRIALS = 30
MANY = 1000
"""Trials of a search that must still run after several commands were typed beside it: they sleep, a
second each, two at a time.
"""
SLEEP = ("--set", "steps=1", "--set", "pause=1.0", "--set", "fault=none", "--concurrency", 2)
SLEEPING = ("run", "--space", "toy", *SLEEP, "--trials", MANY, "--name", "killed")


def arguments(runs: Path, trials: int) -> tuple[object, ...]:
    cheap = ("step=8", "vocabulary_size=100", "scales=1", "regions=none", "mirrored=false")
    settings = [word for setting in cheap for word in ("--set", setting)]
    return (
        "run",
        "--space",
        "bag-of-sift",
        "--space",
        "tiny-image",
        *settings,
        "--trials",
        trials,
        "--name",
        "killed",
        "--runs-dir",
        runs,
    )


def ends(folder: RunDirectory) -> dict[str, Any]:
    """Value and end of every finished trial, as the study has them."""
    trials = {
        f"{space}/{t.number}": t for space, found in read_trials(folder).items() for t in found
    }
    return {
        key: (t.value, t.datetime_complete) for key, t in trials.items() if t.state.is_finished()
    }


def listening(process: psutil.Process) -> set[str]:
    """Addresses on which a process waits for connections."""
    try:
        return {
            c.laddr.ip.removeprefix("::ffff:")
            for c in process.net_connections("inet")
            if c.status == psutil.CONN_LISTEN
        }
    except psutil.NoSuchProcess:
        return set()


def check_whole(runs: Path, before: dict[str, Any], trials: int) -> None:
    """The resumed search has exactly its trials, those finished before unchanged, and MLflow the
    same.
    """
    folder = RunDirectory(runs / "killed")
    status = output("status", "killed", "--runs-dir", runs)
    assert status["state"] == "finished"
    assert status["trials"] == {
        "COMPLETE": trials,
        "PRUNED": 0,
        "FAIL": 0,
        "RUNNING": 0,
        "WAITING": 0,
    }
    after = ends(folder)
    assert {key: after[key] for key in before} == before
    assert {record.key: record.metrics["val_accuracy"] for record in folder.records()} == {
        key: value for key, (value, _) in after.items()
    }
    found = tracked(runs)
    assert found.parents == 1, "one parent, however often the search was resumed"
    assert found.names == sorted(after)
    assert found.points == {key: [value] for key, (value, _) in after.items()}


@pytest.mark.slow
def test_a_search_killed_with_every_ray_process_is_resumed_to_the_same_end(tmp_path: Path) -> None:
    """A power cut or a kill at 3 a.m. costs the trials that were running, and nothing else."""
    driver = Driver(*arguments(tmp_path, TRIALS), log=tmp_path / "log")
    driver.wait_for_trials(tmp_path / "killed", TRIALS // 2)
    driver.kill_all()
    before = ends(RunDirectory(tmp_path / "killed"))
    assert len(before) >= TRIALS // 2 - 1
    assert output("status", "killed", "--runs-dir", tmp_path)["state"] == "interrupted"
    assert visiontune("resume", "killed", "--runs-dir", tmp_path).returncode == 0
    check_whole(tmp_path, before, TRIALS)


def test_a_second_driver_is_refused_and_stop_and_resume_work_from_another_terminal(
    tmp_path: Path,
) -> None:
    """Two drivers on one run would tell its trials twice; and a search must be stoppable without
    its terminal.

    While it runs, nothing of it listens beyond loopback.
    """
    driver = Driver(*SLEEPING, "--runs-dir", tmp_path, log=tmp_path / "log")
    driver.wait_for_trials(tmp_path / "killed", 3)
    assert output("status", "killed", "--runs-dir", tmp_path)["state"] == "running"
    assert "is running already" in refusal("resume", "killed", "--runs-dir", tmp_path)
    assert "sends by itself" in refused("sync", "killed", "--runs-dir", tmp_path)
    assert typed("report", "killed", "--runs-dir", tmp_path).returncode == 0
    scripts = {
        Path(word).name for process in driver.ray_processes() for word in process.cmdline()[:4]
    }
    assert {"gcs_server", "raylet"} <= scripts
    assert not scripts & {"monitor.py", "log_monitor.py", "dashboard.py"}, (
        "nothing that only a cluster needs is started"
    )
    assert {address for process in driver.ray_processes() for address in listening(process)} == {
        "127.0.0.1"
    }
    stopped = typed("stop", "killed", "--runs-dir", tmp_path)
    assert stopped.returncode == 0, stopped.stderr
    assert driver.end() == 1
    assert "visiontune resume killed" in driver.log
    assert output("status", "killed", "--runs-dir", tmp_path)["state"] == "stopped"
    assert "is not running" in refused("stop", "killed", "--runs-dir", tmp_path)
    folder = RunDirectory(tmp_path / "killed")
    before, plan = ends(folder), folder.plan_file.read_text()
    assert f"trials: {MANY}" in plan
    folder.plan_file.write_text(plan.replace(f"trials: {MANY}", f"trials: {len(before) + 4}"))
    assert visiontune("resume", "killed", "--runs-dir", tmp_path).returncode == 0
    check_whole(tmp_path, before, len(before) + 4)


@pytest.mark.parametrize(
    "number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM]
)
def test_a_signal_stops_cleanly_and_says_how_to_go_on(
    tmp_path: Path, number: signal.Signals
) -> None:
    """Ctrl-C is how most searches end; it must leave no process behind and nothing half-written."""
    driver = Driver(*SLEEPING, "--runs-dir", tmp_path, log=tmp_path / "log")
    driver.wait_for_trials(tmp_path / "killed", 2)
    children = driver.ray_processes()
    driver.process.send_signal(number)
    assert driver.end() == 1
    assert number.name in driver.log
    assert "visiontune resume killed" in driver.log
    assert "Traceback" not in driver.log
    _, alive = psutil.wait_procs(children, timeout=PATIENCE)
    assert alive == []
    status = output("status", "killed", "--runs-dir", tmp_path)
    assert (status["state"], status["reason"]) == ("stopped", f"asked by {number.name}")
    assert (tmp_path / "killed" / "report" / "report.html").is_file()
