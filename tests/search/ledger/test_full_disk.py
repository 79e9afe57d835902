"""A disk that runs full takes the tail of a line; what is written after there is room again must
not follow half a line.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from full_disk import room_for
from samples import record

from analysis.run.directory import RunDirectory
from search.ledger.outbox import Outbox, trial_fact
from search.study.storage import open_journal
from trainables.io.files import append_lines, cut_half_line


def test_lines_are_added_whole_or_not_at_all(tmp_path: Path) -> None:
    """The rule that outbox, journal and steps stand on."""
    path = tmp_path / "lines"
    append_lines(path, "a\n")
    with room_for(4), pytest.raises(OSError, match="File too large"):
        append_lines(path, "bb\nccc\n")
    assert path.read_bytes() == b"a\n"
    append_lines(path, "d\n", forced=False)
    assert path.read_bytes() == b"a\nd\n"


def test_the_outbox_keeps_no_half_fact(tmp_path: Path) -> None:
    """The driver's last words (that it stopped, say) often fit where a trial's steps did not."""
    outbox = Outbox(tmp_path)
    outbox.append(trial_fact(record(0), []))
    with (
        room_for((tmp_path / "facts.jsonl").stat().st_size + 100),
        pytest.raises(OSError, match="File too large"),
    ):
        outbox.append(trial_fact(record(1), [{"step": 0}] * 100))
    outbox.append({"kind": "end", "time": 1.0, "state": "finished", "metrics": {}})
    assert [fact["kind"] for fact, _ in outbox.read()] == ["trial", "end"]


def test_the_journal_can_be_read_after_it_could_not_be_written(tmp_path: Path) -> None:
    """Optuna reads nothing at all from a journal with a broken line: every finished trial would be
    out of reach.
    """
    path = tmp_path / "study.journal"
    storage = open_journal(path)
    study = storage.create_new_study([], "one")
    storage.create_new_trial(study)
    with room_for(path.stat().st_size + 20), pytest.raises(OSError, match="File too large"):
        storage.set_study_user_attr(study, "long", "x" * 100)
    storage.create_new_trial(study)
    assert len(open_journal(path).get_all_trials(study)) == 2


def test_a_step_that_did_not_fit_leaves_the_others_readable(tmp_path: Path) -> None:
    """The curves of a trial are read by resume, the report and MLflow."""
    run = RunDirectory(tmp_path)
    run.append_step("toy", 0, {"step": 0, "time": 1000.0, "seconds": 1.0})
    with (
        room_for((run.trial("toy", 0) / "steps.jsonl").stat().st_size + 5),
        pytest.raises(OSError, match="File too large"),
    ):
        run.append_step("toy", 0, {"step": 1, "time": 1000.0, "seconds": 1.0})
    run.append_step("toy", 0, {"step": 1, "time": 1000.0, "seconds": 1.0})
    assert [row["step"] for row in run.steps("toy", 0)] == [0, 1]


@pytest.mark.parametrize(
    ("content", "kept"),
    [
        (b"", b""),
        (b"a\nb\n", b"a\nb\n"),
        (b"a\nb", b"a\n"),
        (b"half", b""),
        (b"a\n" + b"x" * 200_000, b"a\n"),
    ],
)
def test_only_half_a_line_is_cut(tmp_path: Path, content: bytes, kept: bytes) -> None:
    """Whole lines are finished work: none may go."""
    path = tmp_path / "lines"
    path.write_bytes(content)
    cut_half_line(path)
    assert path.read_bytes() == kept
