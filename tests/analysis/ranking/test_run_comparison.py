"""Several runs side by side, and whether they may stand there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from program import typed
from samples import LABELS, record, run_with

from analysis.ranking.run_comparison import JudgedRun, compare_runs
from analysis.run.directory import RunDirectory
from spaces.errors import UserError

WRONG = [0, 0, 0, 0, 1, 1, 1, 1, 0, 0]


def two_runs(tmp_path: Path) -> tuple[RunDirectory, RunDirectory]:
    """``a/made`` with one trial that has all right, and ``b/made`` with one that knows no owls."""
    for name in "ab":
        (tmp_path / name).mkdir()
    return run_with(tmp_path / "a", {1: LABELS}), run_with(tmp_path / "b", {1: WRONG})


def judged(*folders: RunDirectory, scheme: str = "leave-one-out") -> list[JudgedRun]:
    return [JudgedRun(folder, "val_accuracy", scheme, {}) for folder in folders]


def test_runs_on_the_same_images_are_ranked_and_compared(tmp_path: Path) -> None:
    """Whether Tuesday's search was better than Monday's is what several runs are for."""
    a, b = two_runs(tmp_path)
    b.path.rename(tmp_path / "b" / "other")
    found = compare_runs(judged(a, RunDirectory(tmp_path / "b" / "other")))
    assert found.differences == []
    assert [(row["rank"], row["run"], row["val_accuracy"]) for row in found.rows] == [
        (1, "made", 1.0),
        (2, "other", 0.8),
    ]
    assert found.against is not None
    assert (found.against.only_first, found.against.only_other, found.against.trial) == (
        2,
        0,
        "other: tiny-image/1",
    )


def test_boards_are_by_space_and_model(tmp_path: Path) -> None:
    """The best network of a kind is lost in one long list."""
    config = {"model": "lenet"}
    networks = [
        record(n, space="cnn", config={"model": m})
        for n, m in ((3, "lenet"), (4, "vgg16"), (5, "lenet"))
    ]
    folder = run_with(tmp_path, {1: LABELS}, tuple(networks))
    found = compare_runs(judged(folder))
    assert {name: [row["trial"] for row in board] for name, board in found.boards.items()} == {
        "tiny-image": ["tiny-image/1"],
        "cnn, lenet": ["cnn/5", "cnn/3"],
        "cnn, vgg16": ["cnn/4"],
    }
    assert found.rows[2]["config"] == config | {"model": "vgg16"}


@pytest.mark.parametrize("what", ["images", "split"])
def test_figures_that_cannot_be_compared_are_said_to_be_so(tmp_path: Path, what: str) -> None:
    """0.9 on easier images is no better than 0.8."""
    a, b = two_runs(tmp_path)
    b.path.rename(tmp_path / "b" / "other")
    b = RunDirectory(tmp_path / "b" / "other")
    if what == "images":
        b.write_data(b.data().model_copy(update={"fingerprint": "0" * 64}))
    (first, _), (_, second) = (
        judged(a, a),
        judged(b, b, scheme="leave-one-out" if what == "images" else "val"),
    )
    found = compare_runs([first, second])
    assert len(found.differences) == 1
    assert (
        "did not see the same images" if what == "images" else "are not judged alike"
    ) in found.differences[0]
    assert found.against is None


def test_a_run_named_twice_is_refused(tmp_path: Path) -> None:
    """It would be compared with itself."""
    folder = run_with(tmp_path, {1: LABELS})
    with pytest.raises(UserError, match="named twice"):
        compare_runs(judged(folder, folder))


def test_best_leaderboard_and_report_take_several_runs(tmp_path: Path) -> None:
    """The three commands that say what was found say it of several runs too."""
    a, b = two_runs(tmp_path)
    both = (a.path, b.path)
    best = json.loads(typed("best", *both, "--top", 2, "--json").stdout)
    assert [row["val_accuracy"] for row in best] == [1.0, 0.8]
    boards = json.loads(typed("leaderboard", *both, "--json").stdout)
    assert boards["comparable"]
    assert len(boards["boards"]["tiny-image"]) == 2
    done = typed("report", *both, "--out", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "comparison.html",
        "comparison.csv",
        "comparison.json",
    }, done.stderr
    assert "judged on the same images" in (tmp_path / "out" / "comparison.html").read_text()
    b.write_data(b.data().model_copy(update={"fingerprint": "0" * 64}))
    assert (
        "not comparable: made and made did not see the same images"
        in typed("leaderboard", *both).stderr
    )
    typed("report", *both, "--out", tmp_path / "out")
    assert "cannot be compared" in (tmp_path / "out" / "comparison.html").read_text()
