"""How a search went: its history, its survivors, its parameters, and the page that shows them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from program import typed
from samples import CONFIG, record, run_with

from analysis.figures.axes import axes_of, thinned
from analysis.ranking.history import best_so_far, survival
from analysis.ranking.importance import Importance
from analysis.ranking.leaderboard import short_config
from analysis.report.page import ReportSettings, write_report
from analysis.report.search_page import as_json, slices
from analysis.run.records import TrialRecord

TOY = {
    "quality": 0.5, "optimiser": "sgd", "rate": 0.5, "momentum": 0.3, "width": 8, "steps": 8,
    "pause": 0.0, "fault": "none",
    "fault_step": 0,
}  # fmt: skip


def toy(number: int, **config: Any) -> TrialRecord:
    return record(number, space="toy", config=TOY | config, accuracy_by_k=(), steps=8)


def written(tmp_path: Path, records: list[TrialRecord], **settings: Any) -> tuple[str, str]:
    """``report.html`` and ``search.html`` of a run of these; the latter empty if there is none."""
    folder = run_with(tmp_path, {}, tuple(records))
    write_report(folder, ReportSettings(**settings))
    page = folder.report / "search.html"
    return (folder.report / "report.html").read_text(), page.read_text() if page.exists() else ""


def test_the_best_so_far_counts_trials_as_they_end_and_leaves_pauses_out() -> None:
    """A search that was stopped over night did not take all night to find its best."""
    records = [
        record(1, started=0, seconds=10, metrics={"val_accuracy": 0.5}),
        record(2, started=2, seconds=2, state="PRUNED", metrics={"val_accuracy": 0.9}),
        record(3, started=5, seconds=15, metrics={"val_accuracy": 0.4}),
        record(4, started=5, seconds=0, state="PRUNED", metrics={}, infeasible=True),
        record(5, started=1020, seconds=10, metrics={"val_accuracy": 0.6}),
    ]
    points = best_so_far(records, "val_accuracy")["tiny-image"]
    assert [(p.record.number, p.count, p.seconds, p.best) for p in points] == [
        (1, 2, 10, 0.5),
        (3, 3, 20, 0.5),
        (5, 4, 30, 0.6),
    ]


def test_the_best_so_far_of_a_loss_falls() -> None:
    """Which way is better is the objective's to say."""
    records = [record(n, metrics={"val_loss": loss}) for n, loss in enumerate((0.5, 0.7, 0.3))]
    assert [p.best for p in best_so_far(records, "val_loss")["tiny-image"]] == [0.5, 0.5, 0.3]


def test_survivors_are_counted_where_some_trials_stop_before_others() -> None:
    """Whether a pruner prunes too early shows in how many are left at each step."""
    steps = [toy(1), toy(2).model_copy(update={"steps": 3}), toy(3).model_copy(update={"steps": 1})]
    assert survival([*steps, record(4)]) == {"toy": [3, 2, 2, 1, 1, 1, 1, 1]}
    assert survival([toy(1), toy(2)]) == {}
    assert survival([]) == {}


def test_axes_are_the_parameters_that_differ_and_have_gaps_where_they_do_not_apply() -> None:
    """A momentum of 0 that adam never had would look like a choice that was tried."""
    trials = [
        toy(1, rate=0.1),
        toy(2, rate=1.0, optimiser="adam", momentum=0.0),
        toy(3, momentum=0.9),
    ]
    axes = {axis.name: axis for axis in axes_of("toy", trials, ["momentum"])}
    assert list(axes) == ["momentum", "optimiser", "rate"]
    assert [math.isnan(value) for value in axes["momentum"].values] == [False, True, False]
    assert (axes["optimiser"].words, axes["optimiser"].values.tolist()) == (
        ("sgd", "adam"),
        [0, 1, 0],
    )
    assert axes["rate"].log
    assert axes["rate"].scaled() == pytest.approx([0, 1, math.log10(5)])


def test_each_dot_of_a_slice_is_its_own_trial() -> None:
    """Where a parameter applies to some trials only, the others' values must not move up into their
    places.
    """
    trials = [toy(1, optimiser="adam", momentum=0.0), toy(2, momentum=0.2), toy(3, momentum=0.8)]
    axes = axes_of("toy", trials)
    dots = slices(axes, np.array([0.5, 0.6, 0.7]), "val_accuracy", trials)["momentum"]["data"][0]
    assert (dots["x"], dots["y"], dots["text"]) == ([0.2, 0.8], [0.6, 0.7], ["toy/2", "toy/3"])


def test_a_configuration_in_words_leaves_out_what_does_not_apply() -> None:
    """Whoever types it again types what decides."""
    assert "momentum" not in short_config(TOY | {"optimiser": "adam"}, "toy")
    assert short_config(TOY, "toy").startswith(
        "quality=0.5 optimiser=sgd rate=0.5 momentum=0.3 width=8"
    )
    assert short_config({"idf": True, "k": 3}, "bag-of-sift") == "idf=true k=3"


def test_numbers_of_a_configuration_have_four_significant_digits() -> None:
    """Nobody reads seventeen; files keep them all."""
    config = {"learning_rate": 0.12962108691834467, "decay": 1.23456e-7, "k": 12345, "idf": False}
    assert short_config(config, "") == "learning_rate=0.1296 decay=1.235e-07 k=12345 idf=false"
    assert short_config(config, "", exact=True).startswith("learning_rate=0.12962108691834467 ")


def test_of_many_trials_the_best_and_a_fair_share_of_the_rest_are_drawn() -> None:
    """Ten thousand lines are a blot, and a page nobody can open."""
    order = [record(n) for n in range(100)]
    numbers = [trial.number for trial in thinned(order, 20)]
    assert numbers[:4] == [0, 1, 2, 8]
    assert (len(numbers), numbers[-1]) == (20, 99)
    assert thinned(order) == order


def test_the_page_holds_every_figure_it_has_a_place_for_and_asks_no_other_host(
    tmp_path: Path,
) -> None:
    """It is mailed, archived and opened without a network."""
    random = np.random.default_rng(0)
    records = [
        toy(n, rate=float(random.uniform(0.1, 2)), optimiser=("sgd", "adam")[n % 2])
        for n in range(9)
    ]
    found = Importance(
        "toy",
        "PED-ANOVA",
        9,
        5,
        {"rate": 0.7, "optimiser": 0.3},
        {"rate": 9, "optimiser": 9},
        {"pause": "one <value>"},
    )
    report, page = written(
        tmp_path, [*records, record(10, config=CONFIG | {"k": 3})], importances=[found]
    )
    figures = json.loads(
        re.search(r'<script id="figures" type="application/json">(.*?)</script>', page, re.DOTALL)[
            1
        ]
    )  # type: ignore[index]
    places = re.findall(r'data-figure="([^"]+)"', page)
    assert set(places) == set(figures)
    assert {
        "best-trials",
        "best-time",
        "importance toy",
        "parallel toy",
        "slice toy rate",
        "slice toy optimiser",
    } <= set(figures)
    assert len(figures["parallel toy"]["data"][0]["dimensions"]) == 3
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", page)
    assert "Not judged: pause: one &lt;value&gt;" in page
    assert "toy, not judged: pause: one &lt;value&gt;" in report
    assert "The best was found by trial number 10 to end" in report
    assert len(report) < 500_000 < len(page) < 6_000_000


def test_words_in_a_figure_cannot_end_its_script() -> None:
    """A plugin's parameter may have any value."""
    text = as_json({"x": {"data": [{"name": "</script><b>&"}]}})
    assert "<" not in text
    assert json.loads(text)["x"]["data"][0]["name"] == "</script><b>&"


@pytest.mark.parametrize("records", [[], [record(0, state="FAIL", metrics={}, failure="x")]])
def test_without_a_complete_trial_there_is_no_page_and_no_link_to_one(
    tmp_path: Path, records: list[TrialRecord]
) -> None:
    """A link to nothing, or a plot of nothing, helps nobody."""
    report, page = written(tmp_path, records, importances=[Importance("toy", reason="too few")])
    assert page == ""
    assert "search.html" not in report


@pytest.mark.parametrize("records", [[record(1)], [record(1), record(2)]])
def test_one_trial_or_two_alike_have_a_history_but_no_axes(
    tmp_path: Path, records: list[TrialRecord]
) -> None:
    """The first report of a search is often of one trial."""
    report, page = written(
        tmp_path, records, importances=[Importance("tiny-image", reason="too few complete trials")]
    )
    assert "parallel" not in re.sub(r"<script>.*</script>", "", page, flags=re.DOTALL)
    assert "tiny-image: too few complete trials" in report


def test_a_search_ends_with_all_of_it(digits_runs: Path) -> None:
    """What the parts can do is worth something once a search does it unasked."""
    report = digits_runs / "first" / "report"
    pictures = {
        "best-so-far.png",
        "slices-tiny-image.png",
        "parallel-bag-of-sift.png",
        "confusion.png",
    }
    assert pictures | {"search.html", "confusion-classes.csv", "importance.csv"} <= {
        path.name for path in report.iterdir()
    }
    spaces = [
        item["space"]
        for item in json.loads(
            typed("importance", "first", "--runs-dir", digits_runs, "--json").stdout
        )
    ]
    assert spaces == ["tiny-image", "bag-of-sift"]
    (best,) = json.loads(typed("best", "first", "--runs-dir", digits_runs, "--json").stdout)
    assert best["interval"][0] < best["val_accuracy"] < best["interval"][1]
    assert 0 < best["against_next"]["p"] <= 1
