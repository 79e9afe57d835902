"""What a search leaves behind when it ends."""

from __future__ import annotations

from pathlib import Path

from analysis.records import TrialRecord
from analysis.run_directory import RunDirectory
from search.leftovers import KEPT_CHECKPOINTS, checkpoints, clear_checkpoints
from trainables.checkpoint import write_state


def test_only_the_last_checkpoint_of_the_best_and_all_of_what_goes_on_are_kept(tmp_path: Path) -> None:
    """Checkpoints are large; but the best are exported from theirs, and an unfinished trial needs its own."""
    run = RunDirectory(tmp_path)
    trials = KEPT_CHECKPOINTS + 3
    for number in range(trials):
        for session, step in ((1, 0), (1, 1), (2, 2)):
            folder = tmp_path / "tune" / f"toy-{number:05d}.session-{session}" / f"checkpoint_{step:06d}"
            write_state(folder, step, {})
        if number < trials - 1:  # the last one has not finished
            metrics = {"val_accuracy": number / 10}
            record = TrialRecord(space="toy", number=number, state="COMPLETE", config={}, metrics=metrics, started=0.0, seconds=1.0)
            run.write_record(record, "", None, None)
    clear_checkpoints(run, ["val_accuracy"])
    left = [len(checkpoints(run, "toy", number)) for number in range(trials)]
    assert left == [0, 0] + [1] * KEPT_CHECKPOINTS + [3]
    assert checkpoints(run, "toy", trials - 2)[0].endswith("/checkpoint_000002")
