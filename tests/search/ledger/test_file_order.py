"""The order of writes: whatever a power cut or a kill leaves is the beginning of it, and must be
mendable.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from file_order import Deed, FileOrder

from analysis.plan.plan import make_plan
from analysis.plan.replicate import Replicate
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts, DriverState
from search.driver.beginning import create
from search.ledger import requests
from search.ledger.ledger import Ledger
from search.ledger.replicas import Replicas
from search.study.storage import read_trials
from trainables.io.checkpoint import latest, read_state, steps_done, write_state
from trainables.io.files import append_lines, write_whole

TOY = {"val_accuracy": 0.5, "val_loss": 0.7, "model_mb": 1.0, "latency_ms": 1.0, "seconds": 0.1}


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileOrder:
    """What happens to files below ``tmp_path`` from now on."""
    watched = FileOrder(tmp_path)
    watched.start(monkeypatch)
    return watched


def ledger_of(tmp_path: Path, **settings: Any) -> tuple[RunDirectory, Ledger]:
    folder = RunDirectory(tmp_path / "run")
    folder.write_state(DriverState(id="0123abcd"))
    return folder, Ledger(
        folder, make_plan({"spaces": "toy", "trials": 9, "sampler": "random", **settings})
    )


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_name_before_the_next_file(
    tmp_path: Path, order: FileOrder
) -> None:
    """A name without its content is a damaged run; and a file that others point to must not come
    after them.
    """
    write_whole(tmp_path / "new" / "note.json", "12345")
    assert order.deeds == [
        Deed("force", "./"),  # that there is a folder "new"
        Deed("write", "new/note.json~"),
        Deed("force", "new/note.json~", 5),
        Deed("name", "new/note.json", 5),
        Deed("force", "new/"),
    ]
    assert order.whole("new/note.json")


def test_what_can_be_made_again_is_not_waited_for_and_is_whole_all_the_same(
    tmp_path: Path, order: FileOrder
) -> None:
    """Waiting for the disk is most of the time of a small file."""
    write_whole(tmp_path / "note.json", b"12345", forced=False)
    assert order.deeds == [Deed("write", "note.json~"), Deed("name", "note.json", 5)]


def test_a_file_that_cannot_be_written_leaves_the_one_before_and_nothing_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is found out when the file is forced to it."""

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    write_whole(tmp_path / "note.json", "before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "note.json", "after")
    assert [path.name for path in tmp_path.iterdir()] == ["note.json"]
    assert (tmp_path / "note.json").read_text() == "before"


def test_lines_are_added_and_forced_and_nothing_before_them_is_touched(
    tmp_path: Path, order: FileOrder
) -> None:
    """An append-only file is never written anew: what was said stays said."""
    path = tmp_path / "lines"
    append_lines(path, "a\n")
    append_lines(path, "bb\n", forced=False)
    append_lines(path, "c\n")
    assert order.deeds == [
        Deed("append", "lines"),
        Deed("force", "lines", 2),
        Deed("force", "./"),  # that there is such a file
        Deed("append", "lines", 2),
        Deed("append", "lines", 5),
        Deed("force", "lines", 7),
    ]
    assert path.read_text() == "a\nbb\nc\n"


def test_a_trial_s_end_is_its_record_then_the_study_then_the_outbox(
    tmp_path: Path, order: FileOrder
) -> None:
    """The study must not call finished what has no record, and MLflow must not know what the study
    does not: resume trusts that.
    """
    folder, ledger = ledger_of(tmp_path)
    proposal = ledger.propose()
    assert proposal is not None
    order.deeds.clear()
    assert not ledger.report(proposal.key, {**TOY, "step": 0})
    assert order.files() == ["run/trials/toy/00000/steps.jsonl", "run/study.journal"], (
        "written down, and then told"
    )
    order.deeds.clear()
    ledger.end(proposal.key, {**TOY, "step": 1, "done": True, "log": "it went well\n"})
    trial = "run/trials/toy/00000"
    said = [f"{trial}/steps.jsonl", "run/study.journal"]
    assert order.files() == [
        *said,
        f"{trial}/log.txt",
        f"{trial}/result.json",
        "run/study.journal",
        "run/outbox/facts.jsonl",
    ]
    assert order.whole(f"{trial}/log.txt")
    assert order.whole(f"{trial}/result.json")
    assert order.kept("run/study.journal")
    assert order.kept("run/outbox/facts.jsonl")
    last_of_study = max(
        at for at, deed in enumerate(order.deeds) if deed.file == "run/study.journal"
    )
    assert order.deeds[last_of_study].what == "force"
    assert (folder.path / "outbox" / "facts.jsonl").read_bytes().endswith(b"}\n")


@pytest.mark.parametrize(
    ("result", "files"),
    [
        ({"failure": "boom", "traceback": "Traceback …"}, ["log.txt", "traceback.txt"]),
        (
            {"val_accuracy": 0.5, "predictions": [1, 2], "seconds": 1.0},
            ["log.txt", "predictions.npy"],
        ),
    ],
    ids=["failed", "complete"],
)
def test_a_record_comes_after_all_that_it_stands_for(
    tmp_path: Path, order: FileOrder, result: dict[str, Any], files: list[str]
) -> None:
    """Where there is a record resume runs nothing again, so what is not there by then is never
    there.
    """
    folder, ledger = ledger_of(tmp_path, spaces="tiny-image")
    proposal = ledger.propose()
    assert proposal is not None
    order.deeds.clear()
    ledger.end(proposal.key, result)
    trial = "run/trials/tiny-image/00000"
    assert order.files() == [f"{trial}/{name}" for name in (*files, "result.json")] + [
        "run/study.journal",
        "run/outbox/facts.jsonl",
    ]
    assert all(order.whole(f"{trial}/{name}") for name in (*files, "result.json"))
    assert {path.name for path in folder.trial("tiny-image", 0).iterdir()} == {
        *files,
        "result.json",
        "trial.json",
    }


def test_a_trial_is_in_the_study_before_anybody_may_run_it(
    tmp_path: Path, order: FileOrder
) -> None:
    """A trial that the study does not know when the power fails would get its number anew, with
    another configuration.
    """
    _, ledger = ledger_of(tmp_path)
    order.deeds.clear()
    assert ledger.propose() is not None
    assert order.files() == ["run/study.journal", "run/trials/toy/00000/trial.json"]
    of_study = [deed.what for deed in order.deeds if deed.file == "run/study.journal"]
    assert set(of_study) == {"append", "force"}


def test_the_plan_of_a_new_run_comes_last(tmp_path: Path, order: FileOrder) -> None:
    """A folder with a plan is a run: whoever finds one must find all of it."""
    start = tmp_path / "bundle"
    start.mkdir()
    for name in ("bundle.json", "model.safetensors"):
        (start / name).write_bytes(b"{}")
    plan = make_plan(
        {
            "spaces": "cnn",
            "dataset": "digits",
            "name": "new",
            "training": {"start_from": str(start)},
        }
    )
    facts = DataFacts(spec="digits", classes=("a", "b"), sizes={"train": 2}, fingerprint="f")
    order.deeds.clear()
    lock = create(RunDirectory(tmp_path / "new"), plan, facts, np.array([0, 1]))
    os.close(lock)
    first, last = (
        {
            "run.json",
            "data.json",
            "val_labels.npy",
            "state.json",
            "start/bundle.json",
            "start/model.safetensors",
        },
        "plan.yaml",
    )
    named = order.deeds.index(Deed("name", "new/"))
    made = [deed.file for deed in order.deeds[:named] if deed.what == "name"]
    files = [file.partition("/")[2] for file in made]
    assert (set(files[:-1]), files[-1]) == (first, last)
    assert {file.partition("/")[0] for file in made} == {made[0].partition("/")[0]} != {"new"}
    assert {deed.what for deed in order.deeds[named + 1 :]} <= {"force"}, (
        "nothing is added to it under its name"
    )
    assert Deed("force", "./") in order.deeds[named:]


def test_a_request_goes_when_the_study_has_it(tmp_path: Path, order: FileOrder) -> None:
    """Killed between the two, the next driver must find the request, or a configuration that
    somebody wanted is never tried.
    """
    folder, ledger = ledger_of(tmp_path)
    order.deeds.clear()
    requests.ask(folder, "enqueue", "toy", {"quality": 0.25})
    (name,) = order.files()
    assert order.whole(name)
    order.deeds.clear()
    ledger.take_requests()
    assert order.files() == ["run/study.journal", f"-{name}"]


def test_a_request_that_was_taken_up_and_is_there_again_is_done_once(tmp_path: Path) -> None:
    """A driver killed between the two finds the request again, and the study remembers its name."""
    folder, ledger = ledger_of(tmp_path)
    requests.ask(folder, "enqueue", "toy", {"quality": 0.25})
    (file,) = folder.requests.iterdir()
    content = file.read_bytes()
    ledger.take_requests()
    file.write_bytes(content)
    ledger.take_requests()
    file.write_bytes(content)
    _, again = ledger_of(tmp_path)
    again.take_requests()
    assert [trial.state.name for trial in read_trials(folder)["toy"]] == ["WAITING"]
    assert not list(folder.requests.iterdir())
    proposal = again.propose()
    assert proposal is not None
    assert proposal.config["quality"] == 0.25


@pytest.mark.parametrize(
    ("kind", "params", "number", "why"),
    [
        ("enqueue", {"quality": 7.0}, -1, "toy.quality must be"),
        ("enqueue", {"speed": 1.0}, -1, "toy.speed must be one of the parameters quality"),
        ("retry", {}, 0, "there is no finished trial toy/0"),  # it runs
        ("retry", {}, 1, "there is no finished trial toy/1"),
    ],
)
def test_a_request_that_its_space_does_not_allow_is_refused(
    tmp_path: Path,
    kind: Any,
    params: dict[str, Any],
    number: int,
    why: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was written by another version, or by hand; drawn from it, a trial would be none of this
    search.
    """
    folder, ledger = ledger_of(tmp_path)
    assert ledger.propose() is not None
    said: list[str] = []
    monkeypatch.setattr(requests, "note", said.append)
    requests.ask(folder, kind, "toy", params, number)
    ledger.take_requests()
    assert [trial.state.name for trial in read_trials(folder)["toy"]] == ["RUNNING"]
    assert len(said) == 1
    assert why in said[0]


def test_requests_are_taken_up_in_the_order_in_which_they_were_made(tmp_path: Path) -> None:
    """Somebody who enqueues two things wants the first first."""
    folder, ledger = ledger_of(tmp_path)
    for nth, quality in enumerate((0.9, 0.1, 0.5)):
        requests.ask(folder, "enqueue", "toy", {"quality": quality})
        newest = max(folder.requests.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, ns=(nth * 10**9, nth * 10**9) if nth < 2 else (10**10, 10**10))
    ledger.take_requests()
    proposals = [ledger.propose() for _ in range(3)]
    assert [proposal and proposal.config["quality"] for proposal in proposals] == [0.9, 0.1, 0.5]


def test_what_is_to_run_again_is_written_down_first_and_told_last(
    tmp_path: Path, order: FileOrder
) -> None:
    """A replica's number is its place in jobs.json: without that its record means nothing."""
    folder, ledger = ledger_of(tmp_path)
    proposal = ledger.propose()
    assert proposal is not None
    ledger.end(proposal.key, {**TOY, "step": 0, "done": True})
    order.deeds.clear()
    jobs = Replicas(
        folder, Replicate(top=1, seeds=1), "val_accuracy", 0, ledger.outbox, lambda line: None
    )
    assert order.files() == ["run/replicas/jobs.json"]
    assert order.whole("run/replicas/jobs.json")
    order.deeds.clear()
    again = jobs.propose()
    assert again is not None
    jobs.end(again.key, {**TOY, "step": 0, "done": True})
    trial = "run/replicas/trials/toy/00000"
    assert order.files() == [
        f"{trial}/steps.jsonl",
        f"{trial}/log.txt",
        f"{trial}/result.json",
        "run/outbox/facts.jsonl",
    ]
    assert order.whole(f"{trial}/result.json")
    assert order.kept("run/outbox/facts.jsonl")


def test_a_checkpoint_is_one_when_its_manifest_is_there(tmp_path: Path, order: FileOrder) -> None:
    """Trials are killed while they save: half a checkpoint must not look like one."""
    folder = tmp_path / "checkpoint_000002"
    folder.mkdir()
    (folder / "weights").write_bytes(b"0123456789")
    order.deeds.clear()
    write_state(folder, 3, {"reports": [0.5]})
    assert order.files() == ["checkpoint_000002/state.json", "checkpoint_000002/manifest.json"]
    assert read_state(folder) == (3, {"reports": [0.5]})
    older = tmp_path / "checkpoint_000001"
    write_state(older, 2, {})
    assert latest([older, folder, tmp_path / "none"]) == folder
    for name, damaged in (
        ("weights", b"0123456780"),
        ("state.json", b"{}"),
        ("weights", None),
        ("manifest.json", b""),
    ):
        path = folder / name
        whole = path.read_bytes()
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        assert steps_done(folder) is None, f"{name} is not what it was"
        assert latest([older, folder]) == older
        path.write_bytes(whole)
    assert steps_done(folder) == 3
