"""Runs at a URI: what a driver writes is there, in an order that a kill at any moment leaves
repairable.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from s3_server import s3_here

from analysis.plan.plan import Plan, make_plan
from analysis.run.directory import RunDirectory, RunError
from analysis.run.finding import find_run
from analysis.run.records import TrialRecord
from analysis.run.working_copy import LEASE_SECONDS, copy_of, working_copy
from search.driver.mirror import Mirror
from search.ledger.ledger import Ledger
from search.ledger.outbox import Outbox
from search.ledger.requests import ask_elsewhere
from search.study.storage import read_trials
from trainables.io.checkpoint import MANIFEST, latest, manifest, read_state
from trainables.io.keeper import Keeper
from trainables.io.remote import (
    Remote,
    RemoteError,
    join_place,
    local_copies,
    read_file,
    write_file,
)


@pytest.fixture(scope="module", params=["s3", "file"])
def uri(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A folder at a URI, on each kind of file system that can be had here."""
    if request.param == "file":
        yield f"file://{tmp_path_factory.mktemp('remote')}"
        return
    with s3_here() as bucket:
        yield f"{bucket}/runs"


@pytest.fixture
def place(uri: str, request: pytest.FixtureRequest) -> str:
    """A folder at a URI of this test's own."""
    return join_place(uri, request.node.name.partition("[")[0])


def machine(place: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working copy of ``place`` on the machine whose files are below ``home``."""
    monkeypatch.setenv("VISIONTUNE_WORK", str(home))
    return working_copy(place)


def begun(runs: Path, trials: int = 3) -> tuple[RunDirectory, Ledger]:
    """A toy search with so many trials done, as its driver leaves it on disk."""
    folder, plan = RunDirectory(runs / "toy"), toy_plan()
    folder.path.mkdir(parents=True)
    folder.plan_file.write_text(plan.to_yaml())
    folder.write_state(folder.state())
    ledger = Ledger(folder, plan)
    for _ in range(trials):
        one_more(ledger)
    return folder, ledger


def toy_plan() -> Plan:
    return make_plan(
        {"spaces": ["toy"], "trials": 20, "name": "toy", "tracking": {"enabled": False}}
    )


def one_more(ledger: Ledger) -> TrialRecord:
    """Another trial from its proposal to its end."""
    proposal = ledger.propose()
    assert proposal is not None
    scores = {"val_accuracy": 0.5, "val_loss": 0.7, "model_mb": 1.0, "latency_ms": 1.0}
    record = ledger.end(proposal.key, {"step": 0, **scores, "seconds": 0.1, "done": True})
    assert record is not None
    return record


def mirror_of(folder: RunDirectory, said: list[str] | None = None) -> Mirror:
    copy = copy_of(folder.path.parent)
    assert copy is not None
    return Mirror(folder, copy, (said if said is not None else []).append)


def test_files_at_a_uri_are_read_as_they_were_written(place: str) -> None:
    """All else rests on this, on S3 as on a file system."""
    folder = Remote(place)
    assert folder.read("none") is None
    assert folder.files() == {}
    folder.write("a/b/one", b"1")
    folder.write("a/b/one", b"two")
    write_file(join_place(place, "a", "three"), b"three")
    assert read_file(join_place(place, "a", "b", "one")) == b"two"
    assert {name: entry.size for name, entry in folder.files().items()} == {
        "a/b/one": 3,
        "a/three": 5,
    }
    assert {
        name: entry.size for name, entry in folder.child("a").files(recursive=False).items()
    } == {"three": 5}
    assert folder.folders("a") == ["b"]
    with local_copies([join_place(place, "a")]) as (copied,):
        assert [path.name for path in copied.iterdir()] == ["three"]
    folder.delete("a/three")
    folder.delete("a/three")
    folder.delete_folder("a/b")
    assert folder.files() == {}
    with pytest.raises(FileNotFoundError):
        read_file(join_place(place, "a", "three"))


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("ftp://host/runs", "is not among what can be read"),
        ("s3://key:secret@bucket/runs", "no key belongs in it"),
    ],
)
def test_a_uri_that_cannot_be_used_is_refused_in_one_line(uri: str, said: str) -> None:
    """A key in a URI would stand in every message and in the working copy's note."""
    with pytest.raises(RemoteError, match=said) as caught:
        Remote(uri)
    assert "secret" not in str(caught.value).replace(uri, "")


def test_checkpoints_are_written_at_a_uri_and_gone_on_from(place: str) -> None:
    """Where they lie nothing is renamed into place: what is whole, its last file says."""
    keeper = Keeper(join_place(place, "tune", "toy-00000.session-1"))
    for step in (1, 2, 3):
        files = {"state.json": json.dumps({"reports": [0.1] * step}).encode()}
        whole = {**files, MANIFEST: manifest(step, files)}
        keeper._last = -math.inf  # due, however quick this is
        keeper.offer(lambda whole=whole: lambda: whole, 1.0)  # type: ignore[misc]
        keeper.close()
    assert not keeper.trouble
    left = Keeper(join_place(place, "tune", "toy-00000.session-1")).places()
    assert len(left) == 2
    with local_copies(left) as folders:
        found = latest(folders)
        assert found is not None
        assert read_state(found) == (3, {"reports": [0.1] * 3})


def test_a_query_stays_at_the_end_of_what_lies_below(monkeypatch: pytest.MonkeyPatch) -> None:
    """pyarrow takes the endpoint from there."""
    assert (
        join_place("s3://b/runs?scheme=http&endpoint_override=h:1", "x", "y")
        == "s3://b/runs/x/y?scheme=http&endpoint_override=h:1"
    )


def test_a_run_is_fetched_on_another_machine_and_goes_on_there(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head may be gone with its disk; the search must not be."""
    folder, ledger = begun(machine(place, tmp_path / "one", monkeypatch))
    mirror = mirror_of(folder)
    mirror.send()
    one_more(ledger)
    mirror.send(last=True)
    runs = machine(place, tmp_path / "two", monkeypatch)
    there = find_run("toy", runs)
    assert [record.key for record in there.records()] == ["toy/0", "toy/1", "toy/2", "toy/3"]
    assert there.journal.read_bytes() == folder.journal.read_bytes()
    continued = Ledger(there, toy_plan())
    assert one_more(continued).number == 4
    mirror_of(there).send(last=True)
    monkeypatch.setenv("VISIONTUNE_WORK", str(tmp_path / "one"))
    assert len(find_run("toy", folder.path.parent).records()) == 5, (
        "the first machine sees what the second added"
    )
    assert len(find_run(join_place(place, "toy"), Path("elsewhere")).records()) == 5, (
        "and by the run's own URI"
    )
    with pytest.raises(RunError, match=r"no run 'other' in .*; there are toy"):
        find_run("other", runs)


def test_whatever_moment_the_mirror_dies_in_what_is_there_can_be_resumed(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trial must neither be lost nor run twice, wherever between two writes the head is lost."""
    folder, ledger = begun(machine(place, tmp_path / "one", monkeypatch), trials=1)
    mirror_of(folder).send()
    one_more(ledger)
    one_more(ledger)
    write, allowed = Remote.write, 0

    def dying(self: Remote, name: str, content: bytes) -> None:
        nonlocal left
        if self.uri == mirrored:
            left -= 1
            if left < 0:
                raise RemoteError("the head is gone")
        write(self, name, content)

    mirrored = Remote(place).child("toy").uri
    monkeypatch.setattr(Remote, "write", dying)
    seen, whole = set(), False
    while not whole:
        left = allowed
        monkeypatch.setenv("VISIONTUNE_WORK", str(tmp_path / "one"))
        try:
            mirror_of(folder).send()
            whole = True
        except RemoteError:
            pass
        left = 10**6
        there = find_run("toy", machine(place, tmp_path / f"other-{allowed}", monkeypatch))
        finished = {
            trial.number for trial in read_trials(there)["toy"] if trial.state.is_finished()
        }
        assert finished <= {record.number for record in there.records()}
        continued = Ledger(there, toy_plan())
        assert continued.tally.counts["COMPLETE"] >= 1
        assert one_more(continued).number == continued.tally.counts["COMPLETE"] - 1, (
            "numbers follow each other, and none is given twice"
        )
        seen.add(len(finished))
        allowed += 1
    assert allowed > 5
    assert seen == {1, 3}
    assert [fact["number"] for fact, _ in Outbox(folder.outbox).read()] == [0, 1, 2]


def test_mlflow_is_told_no_more_than_lies_at_the_uri(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a search resumed elsewhere would give a number anew that MLflow knows with another
    configuration.
    """
    folder, ledger = begun(machine(place, tmp_path, monkeypatch), trials=1)
    mirror = mirror_of(folder)
    assert Outbox(folder.outbox).sendable(100) == []
    mirror.send()
    one_more(ledger)
    assert [fact["number"] for fact, _ in Outbox(folder.outbox).sendable(100)] == [0]
    mirror.send()
    assert [fact["number"] for fact, _ in Outbox(folder.outbox).sendable(100)] == [0, 1]


def test_a_driver_on_another_machine_is_known_asked_and_not_joined(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two drivers on one run would tell its trials twice; a dead one must not hold it for ever."""
    folder, _ = begun(machine(place, tmp_path / "one", monkeypatch), trials=1)
    mirror = mirror_of(folder)
    mirror.send()
    there = find_run("toy", machine(place, tmp_path / "two", monkeypatch))
    assert there.alive()
    assert there.lock() is None
    assert ask_elsewhere(there, "requests/enqueue-1.json", {"kind": "enqueue"})
    assert ask_elsewhere(there, "stop", {})
    mirror.send()
    assert folder.stop_file.exists()
    assert json.loads((folder.requests / "enqueue-1.json").read_text()) == {"kind": "enqueue"}
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + LEASE_SECONDS + 1)
    assert not there.alive()
    assert not ask_elsewhere(there, "stop", {})


def test_a_uri_that_is_away_for_a_while_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Storage has bad minutes; a search of many hours must not end by one, and must say so once."""
    place = tmp_path / "share"
    folder, ledger = begun(machine(f"file://{place}/runs", tmp_path / "one", monkeypatch), trials=1)
    said: list[str] = []
    mirror = mirror_of(folder, said)
    place.write_text("in the way")
    assert not mirror._try_round()
    one_more(ledger)
    assert not mirror._try_round()
    place.unlink()
    assert mirror._try_round()
    assert ["warning" in line for line in said] == [True, False], said
    assert len(Remote(f"file://{place}/runs/toy").files("trials")) >= 4
    assert not list(place.rglob("*.part"))


def test_weights_of_trials_are_fetched_and_those_of_losers_deleted(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials write them at the URI wherever they run; an export on the head must find those of the
    best.
    """
    from search.ledger.kept_checkpoints import KEPT_CHECKPOINTS, checkpoints, clear_checkpoints

    folder, _ = begun(machine(place, tmp_path, monkeypatch), trials=KEPT_CHECKPOINTS + 1)
    remote = Remote(place).child("toy")
    mirror_of(folder).send()
    for number in range(KEPT_CHECKPOINTS + 1):
        remote.write(f"trials/toy/{number:05d}/weights/last.safetensors", b"weights")
        for step in (0, 1):
            remote.write(
                f"tune/toy-{number:05d}.session-1/checkpoint_{step:06d}/manifest.json", b"{}"
            )
    found = find_run("toy", folder.path.parent)
    assert (found.weights("toy", 0) / "last.safetensors").read_bytes() == b"weights"
    clear_checkpoints(found, ["val_accuracy"])
    kept = {name.split("/")[2] for name in remote.files("trials") if "/weights/" in name}
    assert len(kept) == KEPT_CHECKPOINTS
    left: list[Any] = [checkpoints(found, "toy", number) for number in range(KEPT_CHECKPOINTS + 1)]
    assert sorted(map(len, left)) == [0, *[1] * KEPT_CHECKPOINTS]
    assert all(
        one.partition("?")[0].endswith("checkpoint_000001")
        for found_there in left
        for one in found_there
    )
