"""What a person sees while a search runs, and what happens when nobody can."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from analysis.records import DriverState
from analysis.run_directory import RunDirectory
from search.ledger import Ledger
from search.plan import make_plan
from search.progress import Progress, SearchConsole, clock


def ledger(tmp_path: Path) -> Ledger:
    folder = RunDirectory(tmp_path / "run")
    folder.path.mkdir()
    folder.write_state(DriverState(id="0"))
    return Ledger(folder, make_plan({"spaces": "tiny-image", "trials": 4, "sampler": "random"}))


def test_plain_lines_say_trials_done_best_and_time_left(tmp_path: Path) -> None:
    """In a log file there is no live display; a line must say it all."""
    out, found = io.StringIO(), ledger(tmp_path)
    with Progress(found, "val_accuracy", lambda: 60.0, Console(file=out, width=200)) as progress:
        assert progress.time_left() is None
        proposal = found.propose()
        assert proposal is not None
        found.end(proposal.key, {"val_accuracy": 0.75, "seconds": 1.0})
        assert progress.time_left() is not None
    last = out.getvalue().splitlines()[-1]
    assert "1/4 trials · best val_accuracy 0.7500 (tiny-image/0) · 1:0" in last
    assert "left" in last


def test_a_terminal_shows_a_live_display_and_ends_with_one_line(tmp_path: Path) -> None:
    """The display must leave a readable terminal behind."""
    out = io.StringIO()
    with Progress(ledger(tmp_path), "val_accuracy", lambda: 0.0, Console(file=out, force_terminal=True, width=120)) as progress:
        progress.redraw()
    assert "0/4 trials" in out.getvalue()


def test_a_terminal_that_is_gone_stops_no_search(tmp_path: Path) -> None:
    """``visiontune run … | head`` closes the pipe; the search goes on."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with Progress(ledger(tmp_path), "val_accuracy", lambda: 0.0, SearchConsole(file=Gone(), force_terminal=True)) as progress:
        progress.redraw()
    plain = SearchConsole(file=Gone())
    plain.print("nobody reads this")
    assert plain.quiet


def test_seconds_are_shown_as_a_clock() -> None:
    """Nobody reads 4521 seconds."""
    assert [clock(s) for s in (0, 75, 4521)] == ["0:00", "1:15", "1:15:21"]
