"""What pictures show, read back from their own data: the right numbers, at the right place, under
the right name.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import MakeFolder
from drawn import keep_figures, lines, matrix
from finished import BAG, TINY, finished

from analysis.figures import drawing as figures
from analysis.figures import search_figures
from analysis.ranking.importance import Importance
from analysis.report import reproduced
from analysis.report.page import ReportSettings, write_report


def test_accuracy_against_k_begins_at_one_and_marks_the_k_that_was_chosen() -> None:
    """Shifted by one place, the curve says that another k is best."""
    figure = figures.accuracy_by_k(
        {"a": (0.5, 0.75, 0.25), "b": (0.3, 0.2)}, {"a": 2, "b": 9}, {"known $x$": 0.6}
    )
    (axes,) = figure.axes
    assert lines(axes) == {"a": [(1, 0.5), (2, 0.75), (3, 0.25)], "b": [(1, 0.3), (2, 0.2)]}
    dots = [
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in axes.lines
        if line.get_marker() == "o"
    ]
    assert dots == [(2, 0.75), (2, 0.2)]
    said = [text.get_text() for text in axes.texts]
    assert said == ["k = 2: 0.7500", "k = 2: 0.2000", r"known \$x\$ 0.6"]
    (line,) = [line for line in axes.lines if line.get_linestyle() == "--"]
    assert list(line.get_ydata()) == [0.6, 0.6]


def test_the_report_s_curve_and_table_of_k_are_those_of_the_trial(
    tmp_path: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Picture and CSV are made apart, and both begin at k = 1."""
    root = make_folder(tmp_path / "x", {"train": {"a": 8, "b": 8}}, side=40)
    folder = finished(tmp_path, f"folder:{root}", [("tiny-image", TINY), ("bag-of-sift", BAG)])
    kept = keep_figures(monkeypatch)
    write_report(folder, ReportSettings())
    drawn = next(
        found
        for figure in kept
        for axes in figure.axes
        if axes.get_xlabel().startswith("k,")
        for found in [lines(axes)]
    )
    table = [
        line.split(",") for line in (folder.report / "accuracy_by_k.csv").read_text().splitlines()
    ]
    assert [int(row[0]) for row in table[1:]] == list(range(1, len(table)))
    for item in folder.records():
        column = table[0].index(item.key)
        expected = [(k, value) for k, value in enumerate(item.accuracy_by_k, 1)]
        assert [(int(row[0]), float(row[column])) for row in table[1:] if row[column]] == [
            (k, pytest.approx(v, abs=1e-6)) for k, v in expected
        ]
        assert (
            next(points for name, points in drawn.items() if name.startswith(item.key)) == expected
        )
        assert item.accuracy_by_k[2] == item.metrics["val_accuracy"]


def test_shares_of_importance_stand_beside_their_parameters() -> None:
    """The largest at the top, and one panel a space that was judged."""
    found = [
        Importance("toy", "PED-ANOVA", 60, 6, {"rate": 0.7, "width": 0.3}),
        Importance("tiny-image", reason="too few"),
    ]
    (axes,) = search_figures.importance(found).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert dict(zip(names, [bar.get_width() for bar in axes.patches], strict=True)) == {
        "rate": 0.7,
        "width": 0.3,
    }
    assert axes.yaxis_inverted()
    assert (
        axes.get_title(loc="left")
        == "toy: what sets the best 6 of 60 complete trials apart (PED-ANOVA)"
    )


def test_ours_and_the_report_s_figures_are_drawn_under_their_own_names() -> None:
    """Changed about, a reproduction that is too good would look too bad."""
    table = {
        "k": [1, 2, 3],
        "report": [0.1, 0.2, 0.3],
        "ours": [0.15, None, 0.25],
        "spread": [0.01, None, 0.02],
    }
    (axes,) = reproduced.columns(table).axes
    assert lines(axes)["the report"] == [(1, 0.1), (2, 0.2), (3, 0.3)]
    (bars,) = axes.containers
    assert bars.get_label() == "ours"
    np.testing.assert_array_equal(bars[0].get_ydata(), [0.15, np.nan, 0.25])
    ends = [segment[:, 1].tolist() for segment in bars[2][0].get_segments() if len(segment)]
    assert ends[0] == pytest.approx([0.14, 0.16])


def test_the_four_curves_of_a_network_are_where_their_titles_say() -> None:
    """Training and validation, accuracy and loss: eight ways to be wrong, one to be right."""
    names = ("train_accuracy", "train_loss", "val_accuracy", "val_loss")
    history = [
        {"epoch": epoch, **{name: epoch + place / 10 for place, name in enumerate(names)}}
        for epoch in (1, 2)
    ]
    found = {
        axes.get_title(): [(float(x), float(y)) for x, y in axes.lines[0].get_xydata()]
        for axes in reproduced.curves({"history": history}).axes
    }
    titles = ("training accuracy", "training loss", "validation accuracy", "validation loss")
    assert found == {
        title: [(1, 1 + place / 10), (2, 2 + place / 10)] for place, title in enumerate(titles)
    }


def test_the_matrices_of_the_report_s_first_table_are_each_under_its_own_title(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Tiny images and bags of SIFT stand side by side, true classes downwards."""
    kept = keep_figures(monkeypatch)
    facts = {
        "report": 0.2,
        "n": 6,
        "asymmetry_by_chance": 0.5,
        "one_sided": 0.0,
        "drawn_to": [],
        "given_to_them": 0.5,
        "of_them": 0.5,
    }
    sides = {
        "tiny-image": facts
        | {"accuracy": 0.25, "asymmetry": 0.5, "names": ["a", "b"], "confusion": [[1, 3], [0, 2]]},
        "bag-of-sift": facts
        | {"accuracy": 0.75, "asymmetry": 0.25, "names": ["b", "a"], "confusion": [[4, 1], [1, 0]]},
    }
    reproduced.write_page({"table1": {"title": "t", "n": 6, "sides": sides}}, tmp_path, "here", 1.0)
    drawn = {
        axes.get_title(): matrix(axes)
        for figure in kept
        for axes in figure.axes
        if axes.images and axes.get_ylabel() == "true class"
    }
    tiny, bags = (
        drawn["tiny-image: accuracy 0.2500, asymmetry 0.500"],
        drawn["bag-of-sift: accuracy 0.7500, asymmetry 0.250"],
    )
    assert (tiny[0].tolist(), tiny[1]) == ([[0.25, 0.75], [0.0, 1.0]], ["a", "b"])
    assert (bags[0].tolist(), bags[1]) == ([[0.8, 0.2], [1.0, 0.0]], ["b", "a"])


def test_a_difference_is_ours_less_the_report_s_and_a_bound_holds_on_its_own_side() -> None:
    """What is better than the report must not be shown as worse."""
    better, worse = reproduced.number("t", "x", 0.5, 0.75), reproduced.number("t", "x", 0.5, 0.25)
    assert (better.difference, worse.difference) == (0.25, -0.25)
    sides = [(side, ours) for side in ("above", "below") for ours in (0.75, 0.25)]
    assert [
        reproduced.number("t", "x", 0.5, ours, relation=side).holds for side, ours in sides
    ] == [True, False, False, True]
