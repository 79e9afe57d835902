"""The report of any run, however little or odd there is to tell."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from samples import NAMES, record

from analysis.ranking.leaderboard import ranked, rows, to_csv
from analysis.ranking.looks import count_look
from analysis.report.page import ReportSettings, write_report
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts, DriverState, Measured, TrialRecord
from spaces.errors import UserError


def run_directory(
    tmp_path: Path, records: list[TrialRecord], classes: tuple[str, ...] = NAMES
) -> RunDirectory:
    folder = RunDirectory(tmp_path / "run")
    folder.path.mkdir()
    folder.write_state(DriverState(id="0", state="finished", seconds=75))
    folder.write_data(
        DataFacts(spec="folder:/x", classes=classes, sizes={"train": 9}, fingerprint="f" * 64)
    )
    folder.write_validation_labels(np.arange(9) % len(classes))
    folder.plan_file.write_text("spaces: [tiny-image]\n")
    for item in records:
        folder.write_record(item, "log", None, np.arange(9, dtype=np.uint16) % len(classes))
    return folder


def report(folder: RunDirectory, **options: object) -> str:
    write_report(folder, ReportSettings(**options))  # type: ignore[arg-type]
    return (folder.report / "report.html").read_text()


FAILED = {"state": "FAIL", "metrics": {}, "accuracy_by_k": (), "failure": "ValueError: <b>boom</b>"}


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], "No finished trial yet"),
        ([record(0, **FAILED)], "No finished trial yet"),
        ([record(3)], "0.3000"),
        ([record(n) for n in range(10)] + [record(10, **FAILED)], "0.9000"),
    ],
)
def test_a_report_is_made_of_none_one_many_and_failed_trials(
    tmp_path: Path, records: list[TrialRecord], said: str
) -> None:
    """A user looks at a search at any moment, also at one in which nothing worked."""
    assert said in report(run_directory(tmp_path, records))


def test_what_users_write_is_shown_and_never_run(tmp_path: Path) -> None:
    """Class names, causes and plans come from files that strangers may have made."""
    page = report(run_directory(tmp_path, [record(1), record(2, **FAILED)]))
    assert "<script>" not in page
    assert "<b>boom" not in page
    assert "&lt;b&gt;boom" in page


def test_the_page_is_well_formed(tmp_path: Path) -> None:
    """A tag left open breaks the page in some browsers only."""
    open_tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "img", "br"):
                open_tags.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_tags.pop() == tag

    Checker().feed(report(run_directory(tmp_path, [record(1)]), reference={"baseline": 0.05}))
    assert open_tags == []


@pytest.mark.parametrize("count", [2, 200])
def test_any_number_of_classes_can_be_drawn(tmp_path: Path, count: int) -> None:
    """Two classes and two hundred are both usual."""
    classes = tuple(f"class {i:03d}" for i in range(count))
    folder = run_directory(tmp_path, [record(1)], classes)
    report(folder)
    assert (folder.report / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_class_order_changes_what_is_shown_only(tmp_path: Path) -> None:
    """The report's own matrices have an order of their own."""
    folder = run_directory(tmp_path, [record(1)], ("a", "b", "c"))
    report(folder, class_order=("c", "a", "b"))
    assert (folder.report / "confusion.csv").read_text().splitlines()[0] == "true class,c,a,b"
    with pytest.raises(UserError, match="class_order must name each class once"):
        report(folder, class_order=("c", "a"))


def test_reference_lines_are_passed_or_not(tmp_path: Path) -> None:
    """Whether a known result was beaten is the first thing to say."""
    page = report(run_directory(tmp_path, [record(3)]), reference={"low": 0.2, "high": 0.84})
    assert "above low" in page
    assert "not above high" in page


def test_every_look_at_the_test_images_is_told(tmp_path: Path) -> None:
    """The figure people quote belongs in the report, and so does that it was not the first of its
    kind.
    """
    folder = run_directory(tmp_path, [record(3)])
    assert "scores the test images once" in report(folder)
    scheme = {
        "split": "test",
        "n": 1500,
        "scheme": "learned from train",
        "balanced_accuracy": 0.5,
        "macro_f1": 0.5,
    }
    count_look(folder, record(3), Measured(accuracy=0.25, **scheme))  # type: ignore[arg-type]
    page = report(folder, reference={"low": 0.2, "high": 0.84})
    assert (
        "Test accuracy 0.2500 on 1,500 images: tiny-image/3, learned from train, above low." in page
    )
    assert "scores the test images once" not in page
    assert "The test images were scored" not in page
    count_look(folder, record(3), Measured(accuracy=0.5, **scheme))  # type: ignore[arg-type]
    assert "The test images were scored 2 times" in report(folder)


def test_the_leaderboard_breaks_ties_by_who_was_first_and_leaves_out_what_failed() -> None:
    """The order must not change from one look to the next."""
    best, equal, failed = record(5), record(6, metrics=record(5).metrics), record(9, **FAILED)
    assert ranked([equal, failed, best]) == [best, equal]
    table = rows([equal, failed, best], "val_accuracy", {"line": 0.4})
    assert [row["rank"] for row in table] == [1, 2]
    assert table[0]["passes"] == ["line"]
    assert to_csv(table).splitlines()[1].startswith("1,tiny-image/5,tiny-image,5,0.5,")
