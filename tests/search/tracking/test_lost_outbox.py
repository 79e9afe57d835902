"""What MLflow was to be told is lost: the folders of a run still say all of it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damages import DAMAGES
from program import typed
from samples import record
from tracked_run import client, new_database, stored

from analysis.run import provenance
from analysis.run.directory import RunDirectory
from analysis.run.jobs import Job, write_jobs
from analysis.run.records import DataFacts, DriverState
from search.ledger.identity import make_identity
from search.ledger.outbox import Fact, Outbox, replica_fact, trial_fact
from search.tracking.tracked_facts import run_fact

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # MLflow's own, of its own dependencies


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run, of which MLflow was told nothing: three trials, one of them run again."""
    folder = RunDirectory(tmp_path_factory.mktemp("runs") / "one")
    (folder.path / "report").mkdir(parents=True)
    folder.plan_file.write_text("spaces: [tiny-image]\n")
    folder.write_data(DataFacts(spec="none", classes=(), sizes={}, fingerprint="f"))
    folder.write_state(DriverState(state="finished", seconds=9.0))
    make_identity(folder, "one-0123abcd", folder.plan())
    provenance.note(folder, provenance.facts(folder.plan(), "f"))
    outbox = Outbox(folder.outbox)
    outbox.append(run_fact(folder, folder.plan(), "f", 2.0))
    for number in range(3):
        folder.write_record(record(number), "log\n", None, None)
        outbox.append(trial_fact(record(number), []))
    write_jobs(folder.replicas.path, [Job("tiny-image", 2, 5)])
    again = record(0, metrics=record(2).metrics | {"val_accuracy": 0.15})
    folder.replicas.write_record(again, "log\n", None, None)
    outbox.append(replica_fact(again, [], 2, 5))
    (folder.report / "report.html").write_text("<html></html>")
    outbox.append({"kind": "report", "files": ["report/report.html"]})
    best = {f"best_{name}": value for name, value in record(2).metrics.items()}
    end: Fact = {
        "kind": "end", "time": 1021.5, "state": "finished", "metrics": {**best, "seconds": 9.0}
    }  # fmt: skip
    outbox.append(end)
    return folder


def copied(whole: RunDirectory, runs: Path) -> RunDirectory:
    (runs / "mlflow.db").parent.mkdir()
    (runs / "mlflow.db").write_bytes(new_database())
    return RunDirectory(Path(shutil.copytree(whole.path, runs / "one")))


def synced(folder: RunDirectory) -> str:
    """What is said on the way, but for what a busy machine is waited for."""
    done = typed("sync", "one", "--runs-dir", folder.path.parent)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("waiting for MLflow"))


def known(folder: RunDirectory) -> dict[str, Any]:
    """What MLflow has of the run, as far as folders can say it."""
    (parent,), children = stored(folder)
    names = {run.info.run_id: run.info.run_name for run in (parent, *children)}
    assert len(set(names.values())) == len(names)
    return {
        run.info.run_name: (
            run.info.status,
            run.info.start_time if run is not parent else None,
            run.info.end_time,
            run.data.params,
            run.data.metrics,
            names.get(run.data.tags.get("mlflow.parentRunId", "")),
            sorted(name for name in run.data.tags if name != "visiontune.gpus"),
            sorted(file.path for file in client(folder).list_artifacts(run.info.run_id)),
        )
        for run in (parent, *children)
    }


LOST: dict[str, tuple[Callable[[Path], object], str]] = {
    **{damage: (DAMAGES[damage], "all") for damage in ("missing", "empty", "zeros", "a folder")},
    "a link to itself": (DAMAGES["a link to itself"], "all"),
    "cut in half": (DAMAGES["cut in half"], "some"),
    "a line of it": (lambda path: path.write_text(rewritten(path.read_text())), "a trial"),
    "its first line": (
        lambda path: path.write_text(path.read_text().partition("\n")[2]),
        "the beginning",
    ),
    "its end": (lambda path: path.write_text(path.read_text()[:-40]), "the end"),
}


def rewritten(text: str) -> str:
    """With the second trial's line spoilt."""
    lines = text.splitlines(keepends=True)
    return "".join([*lines[:2], lines[2].replace('"number"', '"numbor"'), *lines[3:]])


@pytest.mark.parametrize("was_told", [False, True])
@pytest.mark.parametrize("how", LOST)
def test_mlflow_is_told_again_what_the_outbox_lost(
    whole: RunDirectory, tmp_path: Path, how: str, was_told: bool
) -> None:
    """Whoever syncs and is told that all went well must find every trial in MLflow, once, and with
    what its record says.
    """
    untouched = copied(whole, tmp_path / "untouched")
    assert synced(untouched) == ""
    folder = copied(whole, tmp_path / "runs")
    if was_told:
        synced(folder)
    damage, lost = LOST[how]
    facts = folder.outbox / "facts.jsonl"
    damage(facts)
    said = synced(folder)
    assert known(folder) == known(untouched)
    line = next(line for line in said.splitlines() if str(facts) in line and "lacks" in line)
    wanted = {
        "all": "lacks how the run began, 3 of 3 trials, 1 of 1 trials run again, its report, how "
        "it ended;",
        "some": r"lacks \d of 3 trials, 1 of 1 trials run again, its report, how it ended;",
        "a trial": "lacks 1 of 3 trials;",
        "the beginning": "lacks how the run began;",
        "the end": "lacks how it ended;",
    }[lost]
    assert re.search(wanted, line), line
    assert synced(folder) == "", "it is told once"
    assert known(folder) == known(untouched)


def test_a_trial_that_cannot_be_believed_holds_up_no_other(
    whole: RunDirectory, tmp_path: Path
) -> None:
    """It is run again when the search goes on; what is whole is told until then."""
    folder = copied(whole, tmp_path / "runs")
    (folder.outbox / "facts.jsonl").unlink()
    damaged = [run.trial("tiny-image", 0) / "result.json" for run in (folder, folder.replicas)]
    for path in damaged:
        DAMAGES["one bit turned"](path)
    said = synced(folder)
    assert all(str(path) in said for path in damaged)
    assert sorted(known(folder)) == ["one", "tiny-image/1", "tiny-image/2"]


def test_a_mark_of_what_was_sent_does_not_hide_what_comes_after_a_lost_outbox(
    whole: RunDirectory, tmp_path: Path
) -> None:
    """The mark is a place in the file that was lost; in the one that took its place it may lie in
    the midst of a fact that MLflow was never told.
    """
    folder = copied(whole, tmp_path / "runs")
    outbox, facts = Outbox(folder.outbox), folder.outbox / "facts.jsonl"
    facts.write_bytes(b"")
    outbox.append(trial_fact(record(1), []))
    outbox.mark_sent(facts.stat().st_size, "here")
    facts.write_bytes(b"")
    outbox.repair()  # as a driver does, which then goes on
    for number in range(1, 4):
        outbox.append(trial_fact(record(number), []))
    assert outbox.waiting() == 3
    outbox.mark_sent(facts.stat().st_size // 2, "here")
    assert outbox.waiting() == 3, "no fact ends there"
    assert outbox.place() == "here"
