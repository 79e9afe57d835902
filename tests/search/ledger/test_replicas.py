"""Trials run again with other seeds: each seed once, each told once, and the trial stands by their
mean.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ray.tune.search import Searcher

from analysis.plan.plan import make_plan
from analysis.plan.replicate import Replicate
from analysis.ranking.leaderboard import ranked, rows
from analysis.run.directory import RunDirectory
from analysis.run.notes import taken
from analysis.run.records import DriverState
from analysis.run.sealed import unsealed
from search.cluster.tune_adapters import Bridge
from search.ledger.ledger import Ledger
from search.ledger.outbox import Outbox
from search.ledger.replicas import Replicas

TOY = {
    "step": 0,
    "val_accuracy": 0.5,
    "val_loss": 0.7,
    "model_mb": 1.0,
    "latency_ms": 1.0,
    "seconds": 2.0,
}


def again(
    folder: RunDirectory, ledger: Ledger, said: list[str] | None = None, **wish: int
) -> Replicas:
    lines = said if said is not None else []
    return Replicas(
        folder,
        Replicate(**{"top": 1, "seeds": 2, **wish}),
        "val_accuracy",
        40,
        ledger.outbox,
        lines.append,
    )


def searched(tmp_path: Path, accuracies: tuple[float, ...]) -> tuple[RunDirectory, Ledger]:
    folder = RunDirectory(tmp_path / "run")
    folder.write_state(DriverState(id="0123abcd"))
    ledger = Ledger(
        folder, make_plan({"spaces": "toy", "trials": 9, "sampler": "random", "set": {"width": 4}})
    )
    for accuracy in accuracies:
        proposal = ledger.propose()
        assert proposal is not None
        ledger.end(proposal.key, {**TOY, "val_accuracy": accuracy, "done": True})
    return folder, ledger


def test_a_trial_run_again_stands_by_the_mean_of_its_seeds(tmp_path: Path) -> None:
    """0.5 and 0.75 are 0.625: the better of the two is what luck makes of it, and its own seed's
    0.9 does not count.
    """
    folder, ledger = searched(tmp_path, (0.9, 0.7, 0.8))
    said: list[str] = []
    jobs = again(folder, ledger, said, top=2)
    for name, accuracy in (("a", 0.5), ("b", 0.75), ("c", 0.875), ("d", 0.625)):
        bridge = Bridge(jobs, lambda trial: {"number": trial.number}, lambda: False)
        suggestion = bridge.suggest(name)
        assert isinstance(suggestion, dict)
        assert not bridge.report(name, {**TOY, "val_accuracy": 0.1})
        bridge.end(name, {**TOY, "step": 1, "val_accuracy": accuracy, "done": True})
    assert bridge.suggest("e") == Searcher.FINISHED
    by_key = {record.key: record for record in folder.records()}
    assert by_key["toy/0"].replicas == {
        41: by_key["toy/0"].replicas[41],
        42: by_key["toy/0"].replicas[42],
    }
    assert [found["val_accuracy"] for found in by_key["toy/0"].replicas.values()] == [0.5, 0.75]
    assert {key: record.value("val_accuracy") for key, record in by_key.items()} == {
        "toy/0": 0.625,
        "toy/1": 0.7,
        "toy/2": 0.75,
    }
    assert said == [
        "1/4 again with other seeds: toy/0, seed 41: val_accuracy 0.5000",
        "2/4 again with other seeds: toy/0, seed 42: val_accuracy 0.7500",
        "3/4 again with other seeds: toy/2, seed 41: val_accuracy 0.8750",
        "4/4 again with other seeds: toy/2, seed 42: val_accuracy 0.6250",
    ]
    facts = [fact for fact, _ in Outbox(folder.outbox).read() if fact["kind"] == "replica"]
    assert [
        (fact["of"], fact["seed"], fact["number"], fact["metrics"]["val_accuracy"], fact["seconds"])
        for fact in facts
    ] == [
        (0, 41, 0, 0.5, 4.0),
        (0, 42, 1, 0.75, 4.0),
        (2, 41, 2, 0.875, 4.0),
        (2, 42, 3, 0.625, 4.0),
    ]
    assert [len(fact["history"]) for fact in facts] == [2] * 4


def test_the_mean_of_a_loss_is_its_mean_too(tmp_path: Path) -> None:
    """And the smaller one comes first."""
    folder, ledger = searched(tmp_path, (0.9, 0.8))
    jobs = again(folder, ledger, top=2)
    for loss in (0.25, 0.75, 0.375, 0.5):
        job = jobs.propose()
        assert job is not None
        jobs.end(job.key, {**TOY, "val_loss": loss, "done": True})
    records = folder.records()
    assert [record.value("val_loss") for record in records] == [0.5, 0.4375]
    assert [record.number for record in ranked(records, "val_loss")] == [1, 0]
    first = rows(records, "val_loss", {})[0]["replicas"]
    assert (first["mean"], first["seeds"]) == (0.4375, [41, 42])
    assert first["spread"] == pytest.approx(0.08838834764831845)  # of 0.375 and 0.5: 0.125 / √2


def test_a_second_wish_runs_what_the_first_has_not(tmp_path: Path) -> None:
    """What was done is not done again, what failed is, and each keeps its number; a step that is
    there is not written again.
    """
    folder, ledger = searched(tmp_path, (0.9,))
    jobs = again(folder, ledger)
    first, second = jobs.propose(), jobs.propose()
    assert first is not None
    assert second is not None
    jobs.end(first.key, {**TOY, "done": True})
    jobs.report(second.key, TOY)
    jobs.end(second.key, {"failure": "boom"})
    jobs.end(second.key, {**TOY, "done": True})  # Tune may tell an end twice
    assert folder.replicas.record("toy", 1).state == "FAIL"  # type: ignore[union-attr]
    more = again(folder, ledger, seeds=3)
    seen = []
    while (job := more.propose()) is not None:
        seen.append(job.number)
        assert not more.report(job.key, TOY)
        more.end(job.key, {**TOY, "step": 1, "done": True})
    assert seen == [1, 2]
    assert [
        [row["step"] for row in folder.replicas.steps("toy", number)] for number in range(3)
    ] == [[0], [0, 1], [0, 1]]
    assert sorted(folder.records()[0].replicas) == [41, 42, 43]
    told = [fact["number"] for fact, _ in Outbox(folder.outbox).read() if fact["kind"] == "replica"]
    assert told == [0, 1, 1, 2]


def test_an_end_that_was_written_and_not_told_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow must hear of every replica, also of one whose driver died before it could say so."""
    folder, ledger = searched(tmp_path, (0.9,))
    jobs = again(folder, ledger)
    job = jobs.propose()
    assert job is not None
    with monkeypatch.context() as dying:
        dying.setattr(Replicas, "_tell", lambda *arguments: None)
        jobs.end(job.key, {**TOY, "done": True})
    for _ in range(2):
        again(folder, ledger)
        told = [
            (fact["number"], fact["seed"])
            for fact, _ in Outbox(folder.outbox).read()
            if fact["kind"] == "replica"
        ]
        assert told == [(0, 41)]


def test_a_replica_that_lacks_what_it_was_to_say_is_named_and_does_not_count(
    tmp_path: Path,
) -> None:
    """Nothing can be ranked by what is not there; and records of old have no digest to tell."""
    folder, ledger = searched(tmp_path, (0.25, 0.75))
    replicas = again(folder, ledger)
    while (proposal := replicas.propose()) is not None:
        replicas.end(proposal.key, {**TOY, "val_accuracy": 0.5, "done": True})
    path = next(folder.replicas.path.glob("trials/*/*/result.json"))
    facts = unsealed(path.read_bytes(), path)
    del facts["metrics"]["val_accuracy"]
    path.write_text(json.dumps(facts))
    taken()
    best = ranked(folder.records())[0]
    assert (best.number, best.value("val_accuracy")) == (1, 0.75)
    (said,) = taken()
    assert "says nothing of val_accuracy" in said
