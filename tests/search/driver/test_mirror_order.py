"""The order in which a run's files reach its URI: what lies there at any moment can be resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from file_order import FileOrder

from analysis.plan.plan import make_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DriverState
from analysis.run.working_copy import copy_of, working_copy
from search.driver import mirror as mirror_module
from search.driver.mirror import Mirror
from search.ledger.ledger import Ledger
from search.ledger.outbox import Outbox
from search.study.storage import read_trials
from trainables.io.files import write_whole
from trainables.io.remote import Remote

TOY = {"val_accuracy": 0.5, "val_loss": 0.7, "model_mb": 1.0, "latency_ms": 1.0, "seconds": 0.1}


@pytest.fixture
def begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[RunDirectory, Ledger, Mirror]:
    """A search whose runs directory is at a URI, with one trial done and nothing sent yet."""
    monkeypatch.setenv("VISIONTUNE_WORK", str(tmp_path / "here"))
    runs = working_copy(f"file://{tmp_path}/there")
    folder, plan = (
        RunDirectory(runs / "toy"),
        make_plan({"spaces": "toy", "trials": 9, "sampler": "random", "name": "toy"}),
    )
    write_whole(folder.plan_file, plan.to_yaml())
    folder.write_state(DriverState(id="0123abcd"))
    ledger = Ledger(folder, plan)
    one_more(ledger)
    copy = copy_of(runs)
    assert copy is not None
    return folder, ledger, Mirror(folder, copy, lambda line: None)


def one_more(ledger: Ledger) -> None:
    proposal = ledger.propose()
    assert proposal is not None
    ledger.end(proposal.key, {**TOY, "step": 0, "done": True})


def test_the_uri_gets_records_then_the_study_then_the_outbox_then_the_state(
    begun: tuple[RunDirectory, Ledger, Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies there at any moment is what a kill might have left on a disk."""
    folder, ledger, mirror = begun
    done: list[str] = []
    write, mark, delete = Remote.write, Outbox.mark_mirrored, Remote.delete

    def writing(self: Remote, name: str, content: bytes) -> None:
        write(self, name, content)
        done.append(name.rpartition("/")[2])

    def marking(self: Outbox, offset: int) -> None:
        done.append(f"MLflow may know {offset}")
        mark(self, offset)

    def deleting(self: Remote, name: str) -> None:
        delete(self, name)
        done.append(f"-{name}")

    monkeypatch.setattr(Remote, "write", writing)
    monkeypatch.setattr(Outbox, "mark_mirrored", marking)
    monkeypatch.setattr(Remote, "delete", deleting)
    size = (folder.outbox / "facts.jsonl").stat().st_size
    mirror.send()
    assert done[0] == "driver.json", "nobody else may begin meanwhile"
    assert set(done[1:-4]) == {
        "run.json",
        "plan.yaml",
        "trial.json",
        "log.txt",
        "steps.jsonl",
        "result.json",
    }
    assert done[-4:] == ["study.journal", "facts.jsonl", f"MLflow may know {size}", "state.json"]
    done.clear()
    one_more(ledger)
    (folder.trial("toy", 0) / "log.txt").unlink()
    mirror.send()
    size = (folder.outbox / "facts.jsonl").stat().st_size
    assert set(done[:-4]) == {"trial.json", "log.txt", "steps.jsonl", "result.json"}
    assert done[-4:] == [
        "study.journal",
        "facts.jsonl",
        f"MLflow may know {size}",
        "-trials/toy/00000/log.txt",
    ]
    done.clear()
    mirror.send()
    assert done == [], "nothing has changed"
    mirror.send(last=True)
    assert done[0] == done[-1] == "driver.json", "that it has ended is said last"


def test_the_study_at_the_uri_is_never_ahead_of_its_records(
    begun: tuple[RunDirectory, Ledger, Mirror], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial may end at any moment of a round: the study is read before it is looked which records
    there are.
    """
    folder, ledger, mirror = begun
    look = mirror_module.sendable

    def looking(path: Path) -> dict[str, tuple[int, int]]:
        found = look(path)
        one_more(ledger)
        return found

    monkeypatch.setattr(mirror_module, "sendable", looking)
    mirror.send()
    there = RunDirectory(tmp_path / "there" / "toy")
    finished = {trial.number for trial in read_trials(there)["toy"] if trial.state.is_finished()}
    assert finished == {record.number for record in there.records()} == {0}
    facts = [fact["number"] for fact, _ in Outbox(there.path / "outbox").read()]
    assert facts == [0]
    mirror.send()
    assert {record.number for record in there.records()} >= {0, 1}
    assert [record.number for record in folder.records()] == [0, 1, 2]


def test_a_file_at_a_uri_is_replaced_and_never_written_in_place(tmp_path: Path) -> None:
    """Whoever reads it at that moment, a command on another machine say, has the old one or the new
    one.
    """
    remote = Remote(f"file://{tmp_path}/there")
    remote.write("a/state.json", b"old")
    with open(tmp_path / "there" / "a" / "state.json", "rb") as reader:
        remote.write("a/state.json", b"new and longer")
        assert reader.read() == b"old"
    assert remote.read("a/state.json") == b"new and longer"
    (tmp_path / "there" / "a" / "state.json.0123abcd.part").write_bytes(b"ha")
    assert list(remote.files()) == ["a/state.json"], "half a file that a kill left is none"


def test_mlflow_is_told_what_lies_at_the_uri_and_no_more(
    begun: tuple[RunDirectory, Ledger, Mirror],
) -> None:
    """Else a search resumed elsewhere would give a number anew that MLflow knows with another
    configuration.
    """
    folder, ledger, mirror = begun
    outbox = Outbox(folder.outbox)
    assert outbox.sendable(9) == []
    mirror.send()
    one_more(ledger)
    assert [fact["number"] for fact, _ in outbox.sendable(9)] == [0]
    mirror.send()
    assert [fact["number"] for fact, _ in outbox.sendable(9)] == [0, 1]
    assert [fact["number"] for fact, _ in outbox.sendable(1)] == [0]


def test_what_was_asked_at_the_uri_is_kept_here_before_it_goes_there(
    begun: tuple[RunDirectory, Ledger, Mirror], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A head that is lost between the two must lose no request."""
    folder, _, mirror = begun
    order = FileOrder(tmp_path)
    order.start(monkeypatch)
    place = Remote(f"file://{tmp_path}/there/toy")
    place.write(
        "requests/enqueue-1.json",
        json.dumps({"kind": "enqueue", "space": "toy", "params": {}, "number": -1}).encode(),
    )
    delete, at = Remote.delete, []

    def deleting(self: Remote, name: str) -> None:
        at.append(
            (
                name,
                order.whole(f"{folder.requests.relative_to(tmp_path).as_posix()}/enqueue-1.json"),
            )
        )
        delete(self, name)

    monkeypatch.setattr(Remote, "delete", deleting)
    mirror.send()
    assert at == [("requests/enqueue-1.json", True)]
    assert place.files("requests") == {}
