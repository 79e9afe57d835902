"""What a person sees while a search runs, and what happens when nobody can."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from analysis.plan.plan import make_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DriverState
from search.ledger.ledger import Ledger
from search.screen.console import SearchConsole
from search.screen.progress import ProgressLine, clock


def ledger(tmp_path: Path) -> Ledger:
    folder = RunDirectory(tmp_path / "run")
    folder.path.mkdir()
    folder.write_state(DriverState(id="0"))
    return Ledger(folder, make_plan({"spaces": "tiny-image", "trials": 4, "sampler": "random"}))


def test_plain_lines_say_trials_done_best_and_time_left(tmp_path: Path) -> None:
    """In a log file there is no live display; a line must say it all."""
    out, found = io.StringIO(), ledger(tmp_path)
    with ProgressLine(
        found, "val_accuracy", lambda: 60.0, Console(file=out, width=200)
    ) as progress:
        assert progress.left() == ""
        end(found, 0.75)
    last = out.getvalue().splitlines()[-1]
    assert last == "1/4 trials · best val_accuracy 0.7500 (tiny-image/0) · 1:00 elapsed"


def test_a_terminal_shows_a_live_display_and_ends_with_one_line(tmp_path: Path) -> None:
    """The display must leave a readable terminal behind."""
    out = io.StringIO()
    with ProgressLine(
        ledger(tmp_path),
        "val_accuracy",
        lambda: 0.0,
        Console(file=out, force_terminal=True, width=120),
    ) as progress:
        progress.redraw()
    assert "0/4 trials" in out.getvalue()


def test_a_terminal_that_is_gone_stops_no_search(tmp_path: Path) -> None:
    """``visiontune run … | head`` closes the pipe; the search goes on."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    with ProgressLine(
        ledger(tmp_path),
        "val_accuracy",
        lambda: 0.0,
        SearchConsole(file=Gone(), force_terminal=True),
    ) as progress:
        progress.redraw()
    plain = SearchConsole(file=Gone())
    plain.print("nobody reads this")
    assert plain.quiet


def test_seconds_are_shown_as_a_clock() -> None:
    """Nobody reads 4521 seconds."""
    assert [clock(s) for s in (0, 75, 4521)] == ["0:00", "1:15", "1:15:21"]


def test_the_time_left_is_told_after_five_trials_and_again_after_a_resume(tmp_path: Path) -> None:
    """Two trials say nothing of a pace; after a resume what was seen before it still does."""
    folder = RunDirectory(tmp_path / "run")
    folder.write_state(DriverState(id="0"))
    plan = make_plan({"spaces": "tiny-image", "trials": 10, "sampler": "random"})
    found, console = Ledger(folder, plan), Console(file=io.StringIO(), width=200)
    progress = ProgressLine(found, "val_accuracy", lambda: 75.0, console)
    for nth in range(5):
        assert progress.left() == ""
        end(found, 0.5, nth)
    failed = found.propose()
    assert failed is not None
    found.end(failed.key, {"failure": "boom"})
    assert progress.left() == ", about 0:50 left", "what failed has brought it no nearer"
    again = ProgressLine(Ledger(folder, plan), "val_accuracy", lambda: 80.0, console)
    assert again.line() == (
        "5/10 trials · 1 failed · best val_accuracy 0.5000 (tiny-image/0) · 1:20 elapsed, about "
        "0:50 left"
    )


def test_what_was_pruned_and_what_was_never_run_are_counted_apart(tmp_path: Path) -> None:
    """A third of all trials against a constraint is news, and no pruning."""
    folder = RunDirectory(tmp_path / "run")
    folder.write_state(DriverState(id="0"))
    plan = {
        "spaces": "toy",
        "trials": 5,
        "sampler": "random",
        "max_model_mb": 10,
        "pruner": "threshold",
        "pruner_options": {"lower": 0.5},
    }
    found = Ledger(folder, make_plan(plan))
    proposal = found.propose()
    assert proposal is not None
    found.report(proposal.key, {"step": 0, "val_accuracy": 0.25, "seconds": 1.0})
    refused = found.tally.infeasible
    line = ProgressLine(found, "val_accuracy", lambda: 0.0, Console(file=io.StringIO())).line()
    assert line.startswith(
        "1/5 trials · 1 pruned"
        + (f" · {refused} against a constraint" if refused else "")
        + " · 0:00 elapsed"
    )
    while not found.tally.infeasible:
        proposal = found.propose()
        assert proposal is not None
    assert (
        "1 pruned"
        in ProgressLine(found, "val_accuracy", lambda: 0.0, Console(file=io.StringIO())).line()
    )


def end(found: Ledger, accuracy: float, nth: int = 0) -> None:
    """End one more trial, the ``nth`` of some that took ten seconds one after the other."""
    proposal = found.propose()
    assert proposal is not None
    facts = {"started": 1e9 + 10 * nth, "seconds": 10.0}
    found.end(proposal.key, {"val_accuracy": accuracy, **facts})


def test_of_a_search_that_its_time_ends_the_trials_that_it_is_enough_for_are_told(
    tmp_path: Path,
) -> None:
    """A search that may take ten minutes in all does not have fifty left, and nobody wants to read
    that 12 of 10,000 trials are done.
    """
    folder, now = RunDirectory(tmp_path / "run"), 0.0
    folder.write_state(DriverState(id="0"))
    plan = {"spaces": "tiny-image", "trials": 10_000, "limits": {"seconds": 400}}
    found = Ledger(folder, make_plan({**plan, "sampler": "random"}), lambda: now)
    progress = ProgressLine(found, "val_accuracy", lambda: now, Console(file=io.StringIO()))
    assert progress.left() == ", at most 6:40 left"
    for nth in range(5):
        now += 10.0
        end(found, 0.5, nth)
    assert progress.left() == ", 5:50 left, enough for about 35 trials more"
    now = 390.0
    assert progress.left() == ", 0:10 left, enough for about 1 trials more"
    now = 480.0
    assert progress.line().endswith(" · 8:00 elapsed")
