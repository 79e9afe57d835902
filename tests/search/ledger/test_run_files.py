"""What a run directory holds is believed where it is whole, and only there; what is not is named or
mended.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from program import refused, typed
from samples import record, run_with
from toy_search import begin, plan, run_some

from analysis.plan.complaints import PlanError
from analysis.run.directory import RunDirectory
from analysis.run.finding import find_run
from analysis.run.identity import FILE as IDENTITY
from analysis.run.notes import taken
from analysis.run.records import DataFacts, DriverState
from analysis.run.sealed import DamagedError, NewerError, sealed, unsealed
from search.driver.beginning import create, named
from search.ledger.ledger import Ledger


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
