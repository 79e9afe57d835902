"""What a search leaves behind when it ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.run.directory import RunDirectory
from analysis.run.records import TrialRecord
from analysis.run.working_copy import working_copy
from search.ledger.kept_checkpoints import (
    KEPT_CHECKPOINTS,
    checkpoints,
    clear_checkpoints,
    drop_unknown,
)
from trainables.io.checkpoint import write_state
from trainables.io.remote import Remote


def test_only_the_last_checkpoint_of_the_best_and_all_of_what_goes_on_are_kept(
    tmp_path: Path,
) -> None:
    """Checkpoints are large; but the best are exported from theirs, and an unfinished trial needs
    its own.
    """
    run = RunDirectory(tmp_path)
    trials = KEPT_CHECKPOINTS + 3
    for number in range(trials):
        for session, step in ((1, 0), (1, 1), (2, 2)):
            folder = (
                tmp_path / "tune" / f"toy-{number:05d}.session-{session}" / f"checkpoint_{step:06d}"
            )
            write_state(folder, step, {})
        if number < trials - 1:  # the last one has not finished
            metrics = {"val_accuracy": number / 10}
            record = TrialRecord(
                space="toy",
                number=number,
                state="COMPLETE",
                config={},
                metrics=metrics,
                started=0.0,
                seconds=1.0,
            )
            run.write_record(record, "", None, None)
    clear_checkpoints(run, ["val_accuracy"])
    left = [len(checkpoints(run, "toy", number)) for number in range(trials)]
    assert left == [0, 0] + [1] * KEPT_CHECKPOINTS + [3]
    assert checkpoints(run, "toy", trials - 2)[0].endswith("/checkpoint_000002")


def test_what_is_of_trials_that_the_study_does_not_know_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Records at a URI may be ahead of its study: left there, the next trials would get their
    numbers and their steps.
    """
    monkeypatch.setenv("VISIONTUNE_WORK", str(tmp_path / "here"))
    run, remote = (
        RunDirectory(working_copy(f"file://{tmp_path}/there") / "toy"),
        Remote(f"file://{tmp_path}/there/toy"),
    )
    run.path.mkdir()
    for number in range(4):
        for space in ("toy", "toy-folds"):
            run.append_step(space, number, {"step": 0})
            remote.write(f"trials/{space}/{number:05d}/steps.jsonl", b"{}")
            remote.write(f"tune/{space}-{number:05d}.session-1/checkpoint_000000/state.json", b"{}")
    drop_unknown(run, "toy", 2)
    assert sorted(path.name for path in (run.path / "trials" / "toy").iterdir()) == [
        "00000",
        "00001",
    ]
    assert remote.folders("trials/toy") == ["00000", "00001"]
    assert [name for name in remote.folders("tune") if name.startswith("toy-0")] == [
        "toy-00000.session-1",
        "toy-00001.session-1",
    ]
    assert (
        len(list((run.path / "trials" / "toy-folds").iterdir()))
        == len(remote.folders("trials/toy-folds"))
        == 4
    ), "another space's"


def test_without_a_uri_nothing_is_dropped(tmp_path: Path) -> None:
    """On a disk the study is never behind: what it does not know is somebody's own."""
    run = RunDirectory(tmp_path / "toy")
    run.path.mkdir()
    run.append_step("toy", 7, {"step": 0})
    drop_unknown(run, "toy", 2)
    assert run.trial("toy", 7).is_dir()
