"""The ledger: what a killed driver leaves at any point is mended, nothing is counted twice, and
predictions are kept while there is room.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from assigned import assigned
from knn_ledger import finish_all, plan, result, run_directory, states

from analysis.run.trial_files import SHARES
from search.ledger.ledger import Ledger
from search.ledger.outbox import Outbox
from search.ledger.trial_source import Proposal
from search.study.storage import open_journal, read_trials
from trainables.learners import Assignment


def test_a_search_ends_with_exactly_the_planned_trials(tmp_path: Path) -> None:
    """The plan's number is a promise: not one trial more or less."""
    folder = run_directory(tmp_path)
    ledger = Ledger(folder, plan())
    finish_all(ledger)
    assert ledger.finished_reason == "all 5 trials are done"
    assert states(folder) == {"tiny-image": ["COMPLETE"] * 5}
    assert [record.number for record in folder.records()] == [0, 1, 2, 3, 4]


def test_no_more_trials_run_at_once_than_are_still_wanted(tmp_path: Path) -> None:
    """A trial begun beyond the plan's number would be wasted work."""
    ledger = Ledger(run_directory(tmp_path), plan(trials=2))
    first, second = ledger.propose(), ledger.propose()
    assert first is not None
    assert second is not None
    assert ledger.propose() is None
    assert ledger.finished_reason == ""
    ledger.end(first.key, {"failure": "boom"})
    assert ledger.propose() is not None, "a failed trial does not count, so another takes its place"


def test_a_continued_search_runs_begun_trials_again_under_their_own_numbers(tmp_path: Path) -> None:
    """A trial that was running when the driver died is neither lost nor doubled."""
    folder = run_directory(tmp_path)
    ledger = Ledger(folder, plan())
    done, begun = ledger.propose(), ledger.propose()
    assert done is not None
    assert begun is not None
    ledger.end(done.key, result(0.5))
    again = Ledger(folder, plan())
    assert again.tally.counts["COMPLETE"] == 1
    assert again.propose() == begun
    again.end(begun.key, result(0.6))
    finish_all(again)
    assert states(folder) == {"tiny-image": ["COMPLETE"] * 5}
    assert [trial.value for trial in read_trials(folder)["tiny-image"]][:2] == [0.5, 0.6]


def test_a_record_that_the_study_was_not_told_is_told(tmp_path: Path) -> None:
    """The driver may die between writing a record and telling the study; the work is not done
    twice.
    """
    folder = run_directory(tmp_path)
    ledger = Ledger(folder, plan())
    proposal = ledger.propose()
    assert proposal is not None
    ledger.tell = lambda record: None  # type: ignore[method-assign]  # dies here
    ledger.end(proposal.key, result(0.7))
    assert states(folder) == {"tiny-image": ["RUNNING"]}
    again = Ledger(folder, plan())
    assert again.tally.counts["COMPLETE"] == 1
    assert read_trials(folder)["tiny-image"][0].value == 0.7


def test_a_record_that_the_outbox_was_not_told_is_told_once(tmp_path: Path) -> None:
    """MLflow must hear of every trial, also of one whose driver died before it could say so."""
    folder = run_directory(tmp_path)
    finish_all(Ledger(folder, plan()))
    facts = folder.outbox / "facts.jsonl"
    lines = facts.read_bytes().splitlines(keepends=True)
    facts.write_bytes(b"".join(lines[:-1]) + lines[-1][:20])  # half a line, as a kill leaves it
    Ledger(folder, plan())
    Ledger(folder, plan())
    told = [fact["number"] for fact, _ in Outbox(folder.outbox).read() if fact["kind"] == "trial"]
    assert sorted(told) == [0, 1, 2, 3, 4]


def test_a_damaged_line_in_the_outbox_costs_no_resume(tmp_path: Path) -> None:
    """What MLflow is to be told must never stop a search: the trial that the line spoke of is told
    again.
    """
    folder = run_directory(tmp_path)
    finish_all(Ledger(folder, plan()))
    facts = folder.outbox / "facts.jsonl"
    lines = facts.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1][:20] + lines[1]
    facts.write_bytes(b"".join(lines))
    Ledger(folder, plan())
    told = [fact["number"] for fact, _ in Outbox(folder.outbox).read() if fact["kind"] == "trial"]
    assert sorted(told) == [0, 1, 2, 3, 4]


def test_half_a_line_in_the_journal_does_not_stop_a_continued_search(tmp_path: Path) -> None:
    """A kill in the middle of a write leaves half a line; Optuna alone would refuse what is
    appended after it.
    """
    folder = run_directory(tmp_path)
    ledger = Ledger(folder, plan())
    proposal = ledger.propose()
    assert proposal is not None
    ledger.end(proposal.key, result(0.5))
    with open(folder.journal, "ab") as file:
        file.write(b'{"op_code":4,"worker')
    (folder.path / "study.journal.lock").symlink_to(folder.journal)
    finish_all(Ledger(folder, plan()))
    assert states(folder) == {"tiny-image": ["COMPLETE"] * 5}


@pytest.mark.parametrize("value", [math.nan, math.inf, None, "0.5"])
def test_a_result_without_a_finite_objective_is_a_failure_with_its_cause(
    tmp_path: Path, value: Any
) -> None:
    """Optuna would keep such a trial RUNNING for ever."""
    folder = run_directory(tmp_path)
    ledger = Ledger(folder, plan())
    proposal = ledger.propose()
    assert proposal is not None
    record = ledger.end(proposal.key, {**result(0.5), "val_accuracy": value})
    assert record is not None
    assert record.state == "FAIL"
    assert "val_accuracy was" in (record.failure or "")
    assert states(folder) == {"tiny-image": ["FAIL"]}


def test_too_many_failures_end_the_search(tmp_path: Path) -> None:
    """A search in which everything fails must not go on for ever."""
    ledger = Ledger(run_directory(tmp_path), plan(limits={"max_failed": 2}))
    while (proposal := ledger.propose()) is not None:
        ledger.end(proposal.key, {"failure": "boom", "traceback": "…"})
    assert ledger.tally.counts["FAIL"] == 3
    assert "3 trials failed" in ledger.finished_reason


def test_an_end_told_twice_counts_once(tmp_path: Path) -> None:
    """Tune may tell of an error after a result; a trial has one end."""
    ledger = Ledger(run_directory(tmp_path), plan())
    proposal = ledger.propose()
    assert proposal is not None
    assert ledger.end(proposal.key, result(0.5)) is not None
    assert ledger.end(proposal.key, {"failure": "late"}) is None
    assert ledger.tally.counts == {"COMPLETE": 1, "PRUNED": 0, "FAIL": 0}


def test_plain_optuna_reads_the_study_back(tmp_path: Path) -> None:
    """The study belongs to the user: any Optuna tool must be able to open it."""
    folder = run_directory(tmp_path)
    finish_all(Ledger(folder, plan()))
    storage = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(folder.journal))
    )
    study = optuna.load_study(study_name="tiny-image", storage=storage)
    assert study.best_value == 0.4
    assert study.best_trial.user_attrs["balanced_accuracy"] == 0.4
    assert study.best_trial.user_attrs["visiontune:config"] == folder.record("tiny-image", 4).config  # type: ignore[union-attr]


@pytest.mark.parametrize("room", [20 * 6, 2**20])
def test_predictions_are_kept_while_there_is_room_and_always_of_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """What the best is worth needs those of all trials; many of many images must not fill a disk,
    but the best one's confusion matrix must be there.
    """
    monkeypatch.setattr("search.ledger.tally.KEPT_BYTES", room)
    folder = run_directory(tmp_path)
    ledger = Ledger(folder, plan(trials=40))
    values = [((7 * i) % 40) / 40 for i in range(40)]
    for value in values:
        proposal = ledger.propose()
        assert proposal is not None
        ledger.end(proposal.key, {**result(value), "predictions": [1, 2, 3]})
    kept = [record for record in folder.records() if folder.predictions(record) is not None]
    assert len(kept) == 40 if room > 40 * 6 else 20 <= len(kept) < 40
    assert max(record.metrics["val_accuracy"] for record in kept) == max(values)
    assert ledger.tally.best is not None
    assert folder.predictions(ledger.tally.best).tolist() == [1, 2, 3]  # type: ignore[union-attr]


def test_what_classes_are_given_is_kept_of_the_best_of_each_space(tmp_path: Path) -> None:
    """Ensembles need it, of good trials alone: of thousands of trials it would fill a disk."""
    folder = run_directory(tmp_path)
    ledger = Ledger(folder, plan(trials=60))
    values = [((7 * i) % 60) / 60 for i in range(60)]
    shares = np.full((3, 4), 0.25, np.float16)
    for value in values:
        proposal = ledger.propose()
        assert proposal is not None
        ledger.end(proposal.key, {**result(value), "predictions": [1, 2, 3], "shares": shares})
    kept = [record for record in folder.records() if SHARES in record.digests]
    assert 20 <= len(kept) < 60
    best = sorted(values)[-20:]
    assert set(best) <= {record.metrics["val_accuracy"] for record in kept}


@pytest.mark.parametrize("stopping", [True, False])
def test_a_failure_while_the_search_stops_is_left_for_resume(
    tmp_path: Path, stopping: bool
) -> None:
    """A service manager kills the workers and the driver together; those trials did not fail of
    their own.
    """
    from search.cluster.tune_adapters import Bridge

    folder = run_directory(tmp_path)
    ledger = Ledger(folder, plan())
    bridge = Bridge(ledger, lambda trial: assigned(trial.space, trial.config), lambda: False)
    bridge.suggest("a")
    bridge._stop_asked = lambda: stopping
    bridge.end("a", {"failure": "its worker died"})
    assert states(folder) == {"tiny-image": ["RUNNING" if stopping else "FAIL"]}


def test_a_trial_that_fails_while_it_waits_to_go_on_goes_on(tmp_path: Path) -> None:
    """Tune gives it up, though one lost worker fails each task that it had; it is bounded as other
    losses are.
    """
    from types import SimpleNamespace

    from ray.tune.experiment import Trial

    from search.cluster.tune_adapters import Bridge, StudyCallback, StudyScheduler

    folder = run_directory(tmp_path)

    def given(trial: Proposal) -> Assignment:
        return assigned(trial.space, trial.config, trial.number, gate=("", 2))

    bridge = Bridge(
        Ledger(folder, plan(trials=1)),
        given,
        lambda: False,
        checkpoints=lambda *trial: ("there",),
    )
    seen = []
    for name in ("first", "second"):
        suggestion = bridge.suggest(name)
        if not isinstance(suggestion, dict):
            break
        now = suggestion["assignment"]
        seen.append((now.number, list(now.restore), now.gate))
        trial = Trial("none", stub=True, config=suggestion, trial_id=name, max_failures=1)
        trial.storage = SimpleNamespace(trial_driver_staging_path=str(tmp_path))  # type: ignore[assignment]
        assert trial.status == Trial.PENDING
        StudyScheduler(bridge, 0).on_trial_error(None, trial)  # type: ignore[arg-type]
        StudyCallback(bridge, lambda: None).on_trial_error(1, [trial], trial)
    assert seen == [(0, [], ("", 2)), (0, ["there"], None)]
    assert states(folder) == {"tiny-image": ["FAIL"]}


def test_a_search_that_gave_up_may_be_tried_again(tmp_path: Path) -> None:
    """Once the cause of the failures is mended, resume must run trials, not count old failures."""
    folder = run_directory(tmp_path)
    ledger = Ledger(folder, plan(limits={"max_failed": 1}))
    while (proposal := ledger.propose()) is not None:
        ledger.end(proposal.key, {"failure": "boom"})
    assert ledger.ending is not None
    assert ledger.ending.gave_up
    again = Ledger(folder, plan(limits={"max_failed": 1}))
    finish_all(again)
    assert again.tally.counts == {"COMPLETE": 5, "PRUNED": 0, "FAIL": 2}
    assert again.ending is not None
    assert not again.ending.gave_up


def test_the_journal_is_forced_to_disk_twice_a_trial_and_read_by_plain_optuna(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for the disk at every parameter was a third of a search of cheap trials."""
    forced: list[int] = []
    study = optuna.create_study(study_name="s", storage=open_journal(tmp_path / "study.journal"))
    monkeypatch.setattr(os, "fsync", forced.append)
    trial = study.ask()
    trial.suggest_int("k", 1, 9)
    trial.suggest_float("x", 0, 1)
    trial.set_user_attr("note", "é")
    study.tell(trial, 0.5)
    assert len(forced) == 2
    plain = optuna.storages.JournalStorage(
        optuna.storages.journal.JournalFileBackend(str(tmp_path / "study.journal"))
    )
    (read,) = optuna.load_study(study_name="s", storage=plain).trials
    assert (read.params, read.value, read.user_attrs) == (trial.params, 0.5, {"note": "é"})
