"""The folders of the trials are the truth: the study is built again from them, and nothing that has
ended is written again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial
from program import output, typed
from samples import record, run_with
from toy_search import begin, plan, run_some

from analysis.run.directory import RunDirectory, RunError
from analysis.run.notes import taken
from analysis.run.sealed import unsealed
from search.ledger.ledger import Ledger
from search.study.storage import read_trials
from search.study.study import GRID_INDEX

GRID = {
    "metric": "euclidean,cosine", "size": 16, "resampling": "nearest", "centring": "false",
    "norm": "l1,l2", "k": "1,3",
    "vote": "uniform", "mirrored": "false",
}  # fmt: skip


def seen(trials: list[FrozenTrial]) -> list[tuple[Any, ...]]:
    """Everything of a study that a sampler, a pruner or a reader may look at."""
    return [
        (
            t.number,
            t.state,
            t.values,
            t.params,
            t.distributions,
            t.intermediate_values,
            t.user_attrs,
            t.constraints,
        )
        for t in trials
    ]


def results(folder: RunDirectory) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder.path)): path.read_bytes()
        for path in folder.path.glob("trials/*/*/result.json")
    }


DAMAGES: dict[str, Callable[[Path], None]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "other": lambda path: path.write_text('{"op_code": 99}\n{"op_code": "x"}\n[]\n'),
    "folder": lambda path: (path.unlink(), path.mkdir()),  # type: ignore[dict-item, return-value]
    "loop": lambda path: (path.unlink(), path.symlink_to(path.name)),
    # type: ignore[dict-item, return-value]
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_study_that_is_lost_is_built_again_from_the_trials(tmp_path: Path, damage: str) -> None:
    """Finished work must outlive its index: same numbers, values, parameters and reports, and
    nothing that has ended is touched.
    """
    folder = begin(tmp_path, plan(constraints={"model_mb": {"max": 50}}))
    run_some(Ledger(folder, plan()), most=9)
    before, bytes_before = seen(read_trials(folder)["toy"]), results(folder)
    assert {state for _, state, *_ in before} == set(optuna.trial.TrialState) - {
        optuna.trial.TrialState(0),
        optuna.trial.TrialState(4),
    }
    DAMAGES[damage](folder.journal)
    taken()
    again = Ledger(folder, plan())
    assert seen(read_trials(folder)["toy"]) == before
    assert [
        line
        for line in taken()
        if "is built again from the folders of the trials: 9 finished trials" in line
    ]
    run_some(again)
    assert results(folder).items() >= bytes_before.items()
    assert again.tally.done == 12
    assert {record.number: record.state for record in folder.records()} == {
        t.number: t.state.name for t in read_trials(folder)["toy"]
    }


def test_a_study_in_a_database_is_built_again_too(tmp_path: Path) -> None:
    """A database of studies is deleted, or put back from an old copy, more easily than a folder."""
    wanted = plan(storage=f"sqlite:///{tmp_path / 'studies.db'}")
    folder = begin(tmp_path, wanted)
    run_some(Ledger(folder, wanted), most=4)
    old = (tmp_path / "studies.db").read_bytes()
    run_some(Ledger(folder, wanted), most=5)
    before, bytes_before = seen(read_trials(folder, wanted.storage)["toy"]), results(folder)
    for content in (None, old):
        (tmp_path / "studies.db").unlink()
        if content:
            (tmp_path / "studies.db").write_bytes(content)
        Ledger(folder, wanted)
        assert seen(read_trials(folder, wanted.storage)["toy"]) == before
    run_some(Ledger(folder, wanted))
    assert results(folder).items() >= bytes_before.items()


def test_a_grid_whose_study_is_lost_gives_each_combination_once(tmp_path: Path) -> None:
    """The place of a trial that was running and left nothing is tried too, under its number."""
    wanted = plan(
        spaces=["tiny-image"],
        sampler="grid",
        pruner="none",
        pruner_options={},
        set=GRID,
        trials=100,
    )
    folder = begin(tmp_path, wanted)
    ledger = Ledger(folder, wanted)
    begun = [ledger.propose() for _ in range(3)]
    ledger.end(begun[2].key, {"val_accuracy": 0.5, "balanced_accuracy": 0.5, "macro_f1": 0.5})  # type: ignore[union-attr]
    folder.journal.unlink()
    shutil.rmtree(folder.trial("tiny-image", 0))
    again = Ledger(folder, wanted)
    run_some(again)
    places = [trial.user_attrs[GRID_INDEX] for trial in read_trials(folder)["tiny-image"]]
    configs = [
        json.dumps(found.config, sort_keys=True)
        for found in folder.records()
        if found.state == "COMPLETE"
    ]
    assert sorted(places) == list(range(6))
    assert places[1:3] == [1, 2], "what is there keeps its number"
    assert len(set(configs)) == len(configs)


@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "folder", "loop", "turned", "list"])
def test_a_trial_whose_record_is_lost_is_no_finished_trial_for_anybody_and_runs_again(
    tmp_path: Path, damage: str
) -> None:
    """If one command counts it and another does not, nobody knows which is right; and it must not
    be gone for ever.
    """
    folder = begin(tmp_path, plan())
    run_some(Ledger(folder, plan()))
    folder.write_state(folder.state().model_copy(update={"state": "finished"}))
    best = output("best", "run", "--runs-dir", tmp_path)[0]
    path = folder.path / "trials" / best["trial"].replace("/", "/000") / "result.json"
    path = folder.trial(best["space"], best["number"]) / "result.json"
    was, others = (
        path.read_text(),
        {name: content for name, content in results(folder).items() if folder.path / name != path},
    )
    if damage == "turned":
        path.write_text(was.replace('"val_accuracy": 0.', '"val_accuracy": 0.0'))
    elif damage == "list":
        path.write_text("[1]")
    else:
        DAMAGES[damage](path)
    second, status = (
        typed("best", "run", "--runs-dir", tmp_path, "--json"),
        typed("status", "run", "--runs-dir", tmp_path, "--json"),
    )
    assert (
        json.loads(second.stdout)[0]["trial"]
        == json.loads(status.stdout)["best"]["trial"]
        != best["trial"]
    )
    assert json.loads(status.stdout)["trials"]["COMPLETE"] == sum(
        '"COMPLETE"' in content.decode() for content in others.values()
    )
    for done in (second, status):
        assert str(path) in done.stderr
    taken()
    again = Ledger(folder, plan())
    assert [
        line for line in taken() if f"trial {best['trial']} is run again under its number" in line
    ]
    proposal = again.propose()
    assert proposal is not None
    assert (f"{proposal.space}/{proposal.number}", proposal.config) == (
        best["trial"],
        best["config"],
    )
    again.end(
        proposal.key,
        {
            "val_accuracy": 0.99,
            "val_loss": 0.1,
            "model_mb": 1.0,
            "step": 7,
            "seconds": 1.0,
            "done": True,
        },
    )
    run_some(again)
    assert results(folder).items() >= others.items()
    assert folder.record("toy", best["number"]).metrics["val_accuracy"] == 0.99  # type: ignore[union-attr]
    assert again.tally.done == 12


def test_steps_and_checkpoints_of_nobody_knows_what_are_not_gone_on_from(tmp_path: Path) -> None:
    """A trial whose parameters are lost is drawn anew: it must not go on from where another
    configuration was.
    """
    folder = begin(tmp_path, plan())
    ledger = Ledger(folder, plan())
    proposal = ledger.propose()
    assert proposal is not None
    ledger.report(proposal.key, {"step": 0, "val_accuracy": 0.5, "val_loss": 0.1, "seconds": 1.0})
    checkpoint = folder.path / "tune" / "toy-00000.session-1" / "checkpoint_000000"
    checkpoint.mkdir(parents=True)
    folder.journal.unlink()
    (folder.trial("toy", 0) / "trial.json").unlink()  # as a version before 0.2 left it
    again = Ledger(folder, plan()).propose()
    assert again is not None
    assert (again.number, folder.steps("toy", 0), checkpoint.exists()) == (0, [], False)
    assert (folder.path / "set-aside" / "toy-00000" / "steps.jsonl").is_file()


def test_a_finished_record_is_never_written_again(tmp_path: Path) -> None:
    """Whoever believes that a trial has not ended is wrong, if its record is there."""
    folder = run_with(tmp_path, {1: [0] * 10})
    before = results(folder)
    with pytest.raises(RunError, match="is finished, and is never written again"):
        folder.write_record(record(1), "", None, None)
    assert results(folder) == before


def test_a_record_that_contradicts_the_kept_predictions_does_not_rank(tmp_path: Path) -> None:
    """Records of old carry no digest; the predictions beside them tell a figure that cannot be."""
    folder = run_with(tmp_path, {n: [0] * 4 + [1] * 4 + [n % 3] * 2 for n in range(4)})
    for number in range(4):  # as version 0.1.0 wrote them
        path = folder.trial("tiny-image", number) / "result.json"
        facts = unsealed(path.read_bytes(), path)
        del facts["digests"]
        if number == 0:
            facts["metrics"]["val_accuracy"] = 0.99
        if number == 1:
            facts["metrics"]["val_accuracy"] = 7.0
        path.write_text(json.dumps(facts))
    done = typed("best", "made", "--top", 5, "--runs-dir", tmp_path, "--json")
    assert [row["trial"] for row in json.loads(done.stdout)] == ["tiny-image/2", "tiny-image/3"]
    assert "00000/result.json" in done.stderr
    assert "00001/result.json" in done.stderr


@pytest.mark.parametrize("name", ["predictions.npy", "val_labels.npy"])
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "turned", "bits", "folder"])
def test_an_array_that_is_lost_or_turned_is_said_and_asks_for_no_memory(
    tmp_path: Path, name: str, damage: str
) -> None:
    """An interval that changes without a word is worse than none; one bit of a header may ask for a
    terabyte.
    """
    folder = run_with(tmp_path, {1: [0] * 4 + [1] * 6, 2: [0] * 10})
    path = folder.path / name if name == "val_labels.npy" else folder.trial("tiny-image", 1) / name
    if name == "val_labels.npy":
        from search.ledger.identity import make_identity

        make_identity(folder, "made-0", folder.plan())
    content = path.read_bytes()
    if damage == "turned":
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 2]))
    elif damage == "bits":
        path.write_bytes(content.replace(b"(10,)", b"(10995116277760,)"))
    else:
        DAMAGES[damage](path)
    done = typed("best", "made", "--runs-dir", tmp_path, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)[0]["interval"] is None
    assert str(path) in done.stderr
    assert len(done.stderr.splitlines()) == 1
