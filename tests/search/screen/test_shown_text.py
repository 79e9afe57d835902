"""What comes from outside reaches a terminal as text, whatever characters it holds; JSON keeps
every one of them.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from program import typed
from samples import run_with

from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts
from search.screen.console import SearchConsole
from search.screen.shown_text import Shown
from spaces.errors import UNFIT, printable, shortened, shown

HOSTILE = (
    "\x1b[2J\x1b]0;owned\x07cat",
    "dog\r\x9b31m\u202egod",
    "owl\n[bold]%s{0}[/bold] :bomb: \ud8ff",
)


def hostile_run(tmp_path: Path) -> RunDirectory:
    """A run whose classes have names that a terminal would obey."""
    folder = run_with(tmp_path, {1: [0] * 5 + [1] * 5, 2: [0] * 4 + [1] * 4 + [2] * 2})
    folder.write_data(
        DataFacts(
            spec="folder:/x",
            classes=(*HOSTILE[:2], "owl\n[bold]"),
            sizes={"train": 10},
            fingerprint="f" * 64,
        )
    )
    return folder


@pytest.mark.parametrize("text", HOSTILE)
def test_text_fit_for_a_terminal_is_the_same_text_in_json(text: str) -> None:
    """The same stream carries what people read and what programs parse."""
    assert not UNFIT.search(printable(text))
    assert json.loads(printable(json.dumps(text, ensure_ascii=False))) == text
    assert "\n" not in shown(text)
    assert printable("naïve 日本語 👩‍💻\tשלום\n") == "naïve 日本語 👩‍💻\tשלום\n"


def test_what_is_cut_is_cut_in_the_middle() -> None:
    """A message ends with what to do."""
    assert shortened("a" * 500 + "; do this", 60).endswith("; do this")
    assert len(shortened("a" * 500, 60)) == 60
    assert shortened("short", 60) == "short"


def test_streams_and_console_show_what_they_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is printed goes through one of these two; what rich draws itself keeps its
    colours.
    """
    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print(*HOSTILE, "é", file=Shown(ascii_only))
    ascii_only.flush()
    written = ascii_only.buffer.getvalue().decode("ascii")  # type: ignore[attr-defined]
    assert not UNFIT.search(written.replace("\n", ""))
    assert "\\xe9" in written
    out = io.StringIO()
    console = SearchConsole(file=out, force_terminal=True, soft_wrap=True, highlight=False)
    console.print(HOSTILE[0], style="bold")
    console.print(HOSTILE[2])
    assert out.getvalue().startswith("\x1b[1m\\u001b[2J"), (
        "rich's own bold, and the text's escape written out"
    )
    assert "[bold]%s{0}[/bold] :bomb: \\ud8ff" in out.getvalue()


@pytest.mark.parametrize(
    "words", [("confusion", "made"), ("best", "made"), ("report", "made"), ("status", "made")]
)
def test_no_command_lets_a_class_name_at_the_terminal(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """Folders of images come from strangers, and a name can clear the screen, or write commands."""
    hostile_run(tmp_path)
    done = typed(*words, "--runs-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert not UNFIT.search(done.stdout + done.stderr)
    if words[0] == "confusion":
        assert len([line for line in done.stdout.splitlines() if "owl" in line]) >= 1
        exact = json.loads(typed(*words, "--json", "--runs-dir", tmp_path).stdout)
        assert {row["class"] for row in exact["classes"]} == {*HOSTILE[:2], "owl\n[bold]"}


@pytest.mark.parametrize(
    "words",
    [
        ("status", HOSTILE[0]),
        ("run", HOSTILE[1] + ".yaml"),
        (HOSTILE[0],),
        ("run", "--space", HOSTILE[1]),
    ],
)
def test_an_error_that_repeats_what_was_typed_is_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """What was typed may have been pasted from anywhere."""
    monkeypatch.chdir(tmp_path)
    done = typed(*words)
    assert done.returncode == 2
    assert not UNFIT.search(done.stdout + done.stderr)
    assert len(done.stderr.splitlines()) == 1


def test_a_line_that_is_too_long_is_cut_and_keeps_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten megabytes in one error scroll everything else away."""
    monkeypatch.chdir(tmp_path)
    done = typed("run", "--space", "tiny-image", "--dataset", "x" * 100_000)
    assert done.returncode == 2
    assert len(done.stderr) <= 500
