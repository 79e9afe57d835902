"""Everything that may go wrong in a trial: it ends with its cause, and the search goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from program import ROOT, Driver, output, typed

from analysis.run.directory import RunDirectory

CAUSES = {
    "error": "RuntimeError: this toy was told to fail in step 2",
    "nan": "val_accuracy was nan at step 2",
    "infinite": "val_accuracy was inf at step 2",
    "missing": "val_accuracy was missing at step 2",
    "reset": "this toy was told to fail when it is set up",
    "die": "its worker died",
    "hang": "not done after 3 s (limits.trial_seconds); its worker was killed",
}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A search in which each fault stands beside trials without one."""
    runs = tmp_path_factory.mktemp("faults")
    settings = {
        "quality": "0.5",
        "optimiser": "adam",
        "rate": "0.5",
        "width": "4",
        "fault": "none," + ",".join(CAUSES),
        "pause": "0,0.01",
    }
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    limits = (
        "--limit",
        "trial_seconds=3",
        "--limit",
        "max_failed=20",
        "--limit",
        "max_failed_in_a_row=20",
    )
    done = output(
        "run",
        "--space",
        "toy",
        "--sampler",
        "grid",
        "--trials",
        100,
        "--name",
        "faulty",
        "--runs-dir",
        runs,
        *words,
        *limits,
        timeout=280,
    )
    assert done["state"] == "finished"
    return RunDirectory(runs / "faulty")


@pytest.mark.parametrize("fault", CAUSES)
def test_a_trial_that_goes_wrong_ends_with_its_cause(faulty: RunDirectory, fault: str) -> None:
    """The first question about a failed trial is why."""
    records = [record for record in faulty.records() if record.config["fault"] == fault]
    assert len(records) == 2
    for record in records:
        assert record.state == "FAIL"
        assert CAUSES[fault] in (record.failure or "")


def test_the_trials_beside_them_are_untouched(faulty: RunDirectory) -> None:
    """A fault that spreads makes every result suspect; one that leaves a trial RUNNING never
    ends.
    """
    status = output("status", "faulty", "--runs-dir", faulty.path.parent)
    assert status["trials"] == {"COMPLETE": 2, "PRUNED": 0, "FAIL": 14, "RUNNING": 0, "WAITING": 0}
    assert (
        len(
            {
                record.metrics["val_accuracy"]
                for record in faulty.records()
                if record.state == "COMPLETE"
            }
        )
        == 1
    )


def test_failed_trials_are_tried_again_and_configurations_added_while_it_runs(
    tmp_path: Path,
) -> None:
    """A search is steered while it runs: a fault is tried again, a hunch is added, more trials are
    asked for.
    """
    fixed = ("--set", "pause=0.25", "--set", "fault=none,error")
    driver = Driver(
        "run",
        "--space",
        "toy",
        "--trials",
        14,
        "--name",
        "steered",
        "--runs-dir",
        tmp_path,
        *fixed,
        log=tmp_path / "log",
    )
    folder = RunDirectory(tmp_path / "steered")
    driver.wait_for_trials(folder.path, 3)
    added = typed(
        "enqueue", "steered", "--set", "quality=0.99", "--set", "fault=none", "--runs-dir", tmp_path
    )
    assert added.returncode == 0, added.stderr
    assert output("extend", "steered", "--trials", 2, "--runs-dir", tmp_path)["budget"] == 16
    assert driver.end() == 0, driver.log
    status = output("status", "steered", "--runs-dir", tmp_path)
    assert status["trials"]["COMPLETE"] == status["budget"] == 16
    assert status["trials"]["WAITING"] == status["trials"]["RUNNING"] == 0
    assert any(record.config["quality"] == 0.99 for record in folder.records())
    failed = [record for record in folder.records() if record.state == "FAIL"]
    assert failed, "half of all that are drawn are told to fail"
    assert (
        typed("retry", "steered", "--trial", failed[0].key, "--runs-dir", tmp_path).returncode == 0
    )
    assert output("extend", "steered", "--trials", 1, "--runs-dir", tmp_path)["state"] == "finished"
    again = [record for record in folder.records() if record.config == failed[0].config]
    assert [record.state for record in again] == ["FAIL", "FAIL"]


DIE_AT_THE_END = """
import os
from search.cluster.start import local_cluster

with local_cluster(1) as ray:

    @ray.remote(max_retries=0)
    def die():
        os._exit(1)

    try:
        ray.get(die.remote())
    except ray.exceptions.WorkerCrashedError:
        pass
print("{}")
"""


def test_news_of_a_worker_that_dies_at_the_very_end_is_not_among_the_json() -> None:
    """Programs read what --json prints, and Ray tells of the dead while it shuts down already."""
    done = subprocess.run(
        [sys.executable, "-c", DIE_AT_THE_END],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout == "{}\n"
