"""The folders of the trials are the truth: the study is built again from them, and nothing that has
ended is written again.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial
from program import output, refused, typed
from samples import record, run_with

from analysis.plan.plan import Plan, PlanError, make_plan
from analysis.run.directory import RunDirectory, RunError
from analysis.run.finding import find_run
from analysis.run.identity import FILE as IDENTITY
from analysis.run.notes import taken
from analysis.run.records import DataFacts, DriverState
from analysis.run.sealed import DamagedError, NewerError, sealed, unsealed
from search.driver.beginning import create, named
from search.ledger.ledger import Ledger
from search.study.storage import read_trials
from search.study.study import GRID_INDEX

GRID = {
    "metric": "euclidean,cosine", "size": 16, "resampling": "nearest", "centring": "false",
    "norm": "l1,l2", "k": "1,3",
    "vote": "uniform", "mirrored": "false",
}  # fmt: skip


def plan(**settings: Any) -> Plan:
    usual = {
        "spaces": ["toy"],
        "trials": 12,
        "name": "run",
        "pruner": "median",
        "pruner_options": {"n_startup_trials": 2},
    }
    return make_plan({**usual, **settings})


def begin(tmp_path: Path, wanted: Plan) -> RunDirectory:
    folder = RunDirectory(tmp_path / "run")
    os.close(
        create(folder, wanted, DataFacts(spec="none", classes=(), sizes={}, fingerprint=""), None)
    )
    return folder


def run_some(ledger: Ledger, most: int = 1000) -> None:
    """Run trials of a made-up learner to their ends: reports step by step, every fifth fails."""
    for _ in range(most):
        proposal = ledger.propose()
        if proposal is None:
            return
        scores = {
            "balanced_accuracy": 0.5,
            "macro_f1": 0.5,
            "val_loss": 0.1,
            "model_mb": 1.0,
            "latency_ms": 1.0,
        }
        if proposal.number % 5 == 4:
            ledger.end(proposal.key, {"failure": "out of luck"})
            continue
        for step in range(3):
            value = ((proposal.number * 7) % 10 + 1) / 11 * (step + 1) / 3
            done = {
                "step": step,
                "val_accuracy": value,
                **scores,
                "seconds": 0.1,
                "done": step == 2,
            }
            if proposal.space == "tiny-image":
                ledger.end(proposal.key, {**done, "accuracy_by_k": [value]})
                break
            if step < 2 and ledger.report(proposal.key, done):
                break
            if step == 2:
                ledger.end(proposal.key, done)


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


def test_a_run_is_known_by_what_was_written_once(tmp_path: Path) -> None:
    """Name, place and the driver's note may change or be lost; MLflow and a database must know the
    run by more.
    """
    wanted = plan(storage=f"sqlite:///{tmp_path / 'studies.db'}", trials=6)
    folder = begin(tmp_path, wanted)
    run_some(Ledger(folder, wanted), most=4)
    known = folder.identity()
    moved = RunDirectory(tmp_path / "elsewhere" / "renamed")
    moved.path.parent.mkdir()
    folder.path.rename(moved.path)
    (moved.path / "state.json").unlink(missing_ok=True)
    assert moved.identity() == known
    again = Ledger(moved, wanted)
    assert len([r for r in moved.records() if r.state != "FAIL"]) == again.tally.done == 4
    (moved.path / IDENTITY).unlink()
    moved.write_state(DriverState(study=known))
    Ledger(moved, wanted)
    assert moved.identity() == known, "the driver's note says it too"
    (moved.path / IDENTITY).write_text("{")
    (moved.path / "state.json").unlink()
    Ledger(moved, wanted)
    assert moved.identity() == known, "and so does the database"


def test_a_directory_becomes_a_run_by_one_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in between, a run must neither be there by half nor block its name."""
    facts = DataFacts(spec="none", classes=(), sizes={}, fingerprint="")
    rename = os.rename
    monkeypatch.setattr(os, "rename", lambda *names: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        create(RunDirectory(tmp_path / "run"), plan(), facts, None)
    assert not (tmp_path / "run").exists()
    monkeypatch.setattr(os, "rename", rename)
    half = tmp_path / "run"  # as a version before left it
    half.mkdir()
    (half / "data.json").write_text("{}")
    assert "it has no plan.yaml" in refused("resume", "run", "--runs-dir", tmp_path)
    folder = begin(tmp_path, named(plan(), tmp_path))
    assert find_run("run", tmp_path).path == folder.path
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("…")
    with pytest.raises(PlanError, match="is no run"):
        named(plan(name="mine"), tmp_path)


def test_what_a_deleted_run_is_written_into_does_not_come_back(tmp_path: Path) -> None:
    """A folder with nothing but a note in it would block the run's name."""
    folder = begin(tmp_path, plan())
    ledger = Ledger(folder, plan())
    proposal = ledger.propose()
    assert proposal is not None
    shutil.rmtree(folder.path)
    for write in (
        lambda: ledger.end(proposal.key, {"failure": "too late"}),
        lambda: ledger.outbox.append(
            {"kind": "end", "time": 1.0, "state": "finished", "metrics": {}}
        ),
        lambda: folder.append_step("toy", 0, {"step": 0}),
    ):
        with pytest.raises(FileNotFoundError):
            write()
    assert not folder.path.exists()


def test_commands_that_fail_change_nothing(tmp_path: Path) -> None:
    """An extend that fails three times must not have planned three times as many trials."""
    folder = begin(tmp_path, plan(dataset="none"))
    run_some(Ledger(folder, plan()))
    folder.write_state(
        folder.state().model_copy(update={"state": "finished", "reason": "all 12 trials are done"})
    )
    path = folder.trial("toy", 0) / "result.json"
    path.write_text(json.dumps({"format": 99}))
    before = {
        file: file.read_bytes()
        for file in folder.path.rglob("*")
        if file.is_file() and file.name != "lock"
    }
    for words in (
        ("resume",),
        ("extend", "--trials", 3),
        ("replicate",),
        ("retry", "--trial", "0"),
        ("extend", "--trials", 10**7),
    ):
        done = typed(words[0], "run", *words[1:], "--runs-dir", tmp_path)
        assert done.returncode == 2, (words, done.stderr)
        assert "Traceback" not in done.stderr
        assert "ing Ray" not in done.stderr
        after = {
            file: file.read_bytes()
            for file in folder.path.rglob("*")
            if file.is_file() and file.name != "lock"
        }
        assert after == before, words


@pytest.mark.parametrize("name", ["plan.yaml", "replicas/jobs.json", "test_scores.json"])
def test_whatever_a_command_needs_is_read_before_it_writes(tmp_path: Path, name: str) -> None:
    """What is found damaged at the end of the work has cost the work; found in the middle it leaves
    half of it.
    """
    folder = begin(tmp_path, plan(dataset="none"))
    run_some(Ledger(folder, plan()))
    folder.write_state(folder.state().model_copy(update={"state": "finished"}))
    (folder.path / name).parent.mkdir(exist_ok=True)
    (folder.path / name).write_text("{ spaces: [")
    before = {
        file: file.read_bytes()
        for file in folder.path.rglob("*")
        if file.is_file() and file.name != "lock"
    }
    commands = ("retry", "enqueue") if name == "plan.yaml" else ("replicate",)
    for word in commands:
        words = {"retry": ("--trial", "4"), "enqueue": ("--set", "quality=0.5"), "replicate": ()}[
            word
        ]
        assert Path(name).name in refused(word, "run", *words, "--runs-dir", tmp_path)
        after = {
            file: file.read_bytes()
            for file in folder.path.rglob("*")
            if file.is_file() and file.name not in ("lock", "plan.lock")
        }
        assert after == before


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{",
        '{"kind": "enqueue"}',
        '{"kind": "retry", "space": "toy", "params": {}, "number": 999}',
    ],
)
def test_a_request_that_is_none_is_moved_aside_and_named(tmp_path: Path, content: str) -> None:
    """One damaged file must not block a run for ever."""
    folder = begin(tmp_path, plan())
    run_some(Ledger(folder, plan()), most=3)
    folder.requests.mkdir()
    (folder.requests / "enqueue-1.json").write_text(content)
    assert typed("status", "run", "--runs-dir", tmp_path).returncode == 0
    ledger = Ledger(folder, plan())
    taken()
    ledger.take_requests()
    assert [line for line in taken() if "enqueue-1.json" in line and "moved to" in line]
    assert [path.name for path in folder.requests.iterdir()] == ["enqueue-1.json.damaged"]
    assert ledger.propose() is not None


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


def test_a_number_that_is_none_is_no_plan() -> None:
    """A target of NaN counts as reached at once, and a constraint of NaN ends the search at its
    first trial.
    """
    for settings in (
        {"limits": {"target": math.nan}}, {"limits": {"target": "nan"}},
         {"limits": {"seconds": math.inf}},
        {"constraints": {"model_mb": {"max": math.nan}}}, {"reference": {"low": math.nan}},
        {"pruner_options": {"n_startup_trials": math.nan}},
        {"limits": {"plateau": {"trials": 3, "gain": math.nan}}}, {"set": {"quality": math.nan}},
         {"set": {"quality": [0.1, math.nan]}},
    ):  # fmt: skip
        with pytest.raises(PlanError):
            plan(**settings)


def test_a_sealed_file_tells_damage_from_a_newer_version() -> None:
    """What a newer version wrote is no damage, and must not be run again or moved aside."""
    where = Path("x.json")
    text = sealed({"a": 0.1, "b": [1, "é"]})
    assert (
        unsealed(text.encode(), where)
        == unsealed(json.dumps(json.loads(text)).encode(), where)
        == {"a": 0.1, "b": [1, "é"]}
    )
    with pytest.raises(DamagedError):
        unsealed(text.replace("0.1", "0.2").encode(), where)
    with pytest.raises(NewerError):
        unsealed(text.replace('"format": 1', '"format": 2').encode(), where)
    for content in (b"", b"\0" * 9, b"[]", b"null", b"[" * 100_000):
        with pytest.raises(DamagedError, match=r"x\.json"):
            unsealed(content, where)


def test_a_clock_that_is_wrong_stops_nothing(tmp_path: Path) -> None:
    """MLflow refuses times before 1970, and the outbox would wait for ever; and a clock set back in
    mid-run must change no best.
    """
    from analysis.ranking.history import running_seconds
    from search.tracking.mlflow_runs import milliseconds

    assert milliseconds(-3600.5) == 0
    folder = run_with(
        tmp_path,
        {1: [0] * 10},
        others=(record(5, started=-100.0), record(6, started=-50.0, seconds=-20.0)),
    )
    assert running_seconds(folder.records()) > 0
    best, status = (
        json.loads(typed(word, "made", "--runs-dir", tmp_path, "--json").stdout)
        for word in ("best", "status")
    )
    assert best[0]["trial"] == status["best"]["trial"] == "tiny-image/6"
    assert typed("report", "made", "--runs-dir", tmp_path).returncode == 0


def test_what_a_killed_process_was_writing_is_cleared_and_what_a_live_one_writes_is_not(
    tmp_path: Path,
) -> None:
    """Half-written files that stay for ever fill a disk; one that is just being written must not be
    taken away.
    """
    from search.driver.beginning import clear_left_behind
    from trainables.io.files import hold

    folder = begin(tmp_path, plan())
    dead = [
        folder.path / ".state.json.0123abcd",
        folder.path / "outbox" / ".sent.json.0123abcd",
        tmp_path / ".probe.0123abcd",
    ]
    for path in dead:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    shutil.copytree(folder.path, tmp_path / ".other.0123abcd")
    with open(folder.path / ".plan.yaml.89abcdef", "wb") as file:
        hold(file)
        clear_left_behind(folder)
        assert not [path for path in dead if path.exists()]
        assert (folder.path / ".plan.yaml.89abcdef").exists()
        assert not (tmp_path / ".other.0123abcd").exists()
    assert folder.plan_file.is_file()


def test_what_a_killed_export_has_left_is_no_bundle(tmp_path: Path) -> None:
    """It was not checked yet: whoever copied it would predict with something that nobody has
    judged.
    """
    from golden_runs import GOLDEN

    from analysis.bundle.bundle import read_bundle, write_bundle

    model = read_bundle(GOLDEN / "bundles" / "networks")
    folder = tmp_path / ".out.0123abcd"
    write_bundle(folder, model, unfinished=True)
    assert "what an export that was killed has left" in refused("predict", folder, tmp_path)


def test_numpy_reads_back_what_is_checked_before(tmp_path: Path) -> None:
    """The check must refuse no file that is whole."""
    from trainables.io.files import npy_bytes, read_npy

    for array in (
        np.zeros(0, np.uint16),
        np.arange(6, dtype=np.int64).reshape(2, 3),
        np.asfortranarray(np.eye(3)),
        np.array(1.5),
    ):
        (tmp_path / "a.npy").write_bytes(npy_bytes(array))
        assert np.array_equal(read_npy(tmp_path / "a.npy"), array)


def test_facts_of_images_that_another_version_writes_otherwise_are_mended_for_good(
    tmp_path: Path,
) -> None:
    """The digest in run.json is of the file that was lost: a resumed run must not call damaged what
    it has just written.
    """
    from search.driver.images import facts_before, mend_images
    from search.ledger.identity import make_identity

    folder = run_with(tmp_path, {1: [0] * 4 + [1] * 6})
    make_identity(folder, "made-0", folder.plan())
    facts = folder.data()
    labels = folder.validation_labels()
    words = ("python", "packages", "code", "plan", "node", "system")
    session = {**dict.fromkeys(words, ""), "data": facts.fingerprint}
    (folder.path / "provenance.json").write_text(json.dumps([session]))
    for name in ("data.json", "val_labels.npy"):
        (folder.path / name).unlink()
    now = facts.model_copy(update={"notes": ("said otherwise by now",)})
    mend_images(folder, facts_before(folder, now), now, labels)
    assert folder.data() == now
    again = RunDirectory(folder.path).validation_labels()
    assert again is not None
    assert again.tolist() == labels.tolist()


def test_a_folder_in_place_of_a_runs_identity_is_moved_aside(tmp_path: Path) -> None:
    """It is no reason that a search cannot go on: all else says who the run is."""
    folder = begin(tmp_path, plan())
    run_some(Ledger(folder, folder.plan()), 3)
    path, known = folder.path / IDENTITY, folder.identity()
    folder.write_state(folder.state().model_copy(update={"study": known}))
    path.unlink()
    path.mkdir()
    taken()
    Ledger(folder, folder.plan())
    assert any(str(path) in line and "moved to" in line for line in taken())
    assert folder.identity() == known
    assert path.is_file()
