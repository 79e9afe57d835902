"""The pages as a browser shows them: at a desk and on a telephone, without a network, also of very
large searches.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, MISSING, Browser, browser
from samples import CONFIG, NAMES, record, run_with

from analysis.ranking.importance import Importance
from analysis.ranking.run_comparison import JudgedRun, compare_runs
from analysis.report.comparison import write_comparison
from analysis.report.page import ReportSettings, write_report
from analysis.report.reproduced import write_page
from analysis.run.directory import RunDirectory
from analysis.run.records import TrialRecord

WIDTHS = (1100, 400)
A4 = 718
"""Pixels between the margins of a printed page."""
PLACE_OF_TRIAL = """(() => {
  const plot = document.querySelector('[data-figure="best-trials"]');
  const dots = plot.data[1], at = plot.getBoundingClientRect();
  const {xaxis, yaxis} = plot._fullLayout;
  return [at.left + xaxis._offset + xaxis.d2p(dots.x[9]),
          at.top + yaxis._offset + yaxis.d2p(dots.y[9])];
})()"""
"""Where the tenth trial is drawn, pixels."""
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason=MISSING)


def many(count: int) -> list[TrialRecord]:
    """Trials of tiny images whose parameters differ."""
    random = np.random.default_rng(0)
    metrics = ("cityblock", "euclidean", "chi-squared")
    return [
        record(
            n, config=CONFIG | {"k": int(random.integers(1, 30)), "metric": metrics[n % 3],
            "size": (8, 16, 32)[n % 3]},
            metrics={name: float(random.random()) for name in ("val_accuracy", "balanced_accuracy",
            "macro_f1")},
        )
        for n in range(count)
    ]  # fmt: skip


def searched(tmp_path: Path, records: list[TrialRecord], classes: int = 3) -> RunDirectory:
    """A run of these trials, the best of which has predictions; the classes have names in several
    scripts. Accuracies are scaled, the best to that of its predictions.
    """
    folder = run_with(tmp_path, {})
    names = NAMES if classes == 3 else tuple(f"class {i:03d} 日本 <b>" for i in range(classes))
    labels = np.arange(5 * classes) % classes
    folder.write_data(folder.data().model_copy(update={"classes": tuple(sorted(names))}))
    folder.write_validation_labels(labels)
    given = np.where(np.arange(len(labels)) % 7, labels, (labels + 1) % classes)
    highest = max((item.metrics["val_accuracy"] for item in records), default=1.0)
    for item in records:  # without waiting for the disk, as write_record would
        accuracy = item.metrics["val_accuracy"] / highest * float(np.mean(given == labels))
        told = item.model_copy(update={"metrics": item.metrics | {"val_accuracy": accuracy}})
        path = folder.trial(item.space, item.number) / "result.json"
        path.parent.mkdir(parents=True)
        path.write_text(told.model_dump_json())
        if item.metrics["val_accuracy"] == highest:
            np.save(path.with_name("predictions.npy"), given.astype(np.uint16))
    return folder


def fits(page: Path, width: int, shown: Browser) -> None:
    """Open a page: it logs no error, asks nobody but itself, and is no wider than the window."""
    shown.problems.clear()
    shown.requests.clear()
    shown.open(page, width)
    assert shown.value("document.documentElement.scrollWidth") <= width
    assert shown.problems == []
    assert [url for url in shown.requests if not url.startswith(("file:", "data:", "blob:"))] == []


@needs_browser
def test_the_leaderboard_of_networks_fits_a_window_of_1200_pixels(tmp_path: Path) -> None:
    """Networks report twice as many figures as kNN, and whoever reads them scrolls to the side."""
    network = {
        "val_accuracy": 0.975694, "balanced_accuracy": 0.97571, "macro_f1": 0.9759,
        "val_loss": 0.2245, "train_accuracy": 0.9913, "train_loss": 0.1872, "epoch": 165.0,
        "model_mb": 13.13,
    }  # fmt: skip
    config = CONFIG | {"learning_rate": 0.12962108691834467}
    folder = searched(tmp_path, [record(n, config=config, metrics=network) for n in (1, 2)])
    write_report(folder, ReportSettings(reference={"baseline": 0.5}))
    page = folder.report / "report.html"
    assert "learning_rate=0.1296<" in page.read_text()
    assert "0.12962108691834467" in (folder.report / "leaderboard.json").read_text()
    with browser(tmp_path / "profile") as shown:
        fits(page, 1200, shown)
        wide = "document.querySelector('.wide')"
        assert shown.value(f"{wide}.scrollWidth - {wide}.clientWidth") == 0


@needs_browser
@pytest.mark.parametrize(
    "classes",
    [pytest.param(2, marks=pytest.mark.slow), 3, pytest.param(200, marks=pytest.mark.slow)],
)
def test_report_and_search_work_in_a_browser_at_any_width(tmp_path: Path, classes: int) -> None:
    """A page that is right in the tests of its text may still be blank, or wider than a
    telephone.
    """
    folder = searched(tmp_path, many(30), classes)
    found = Importance(
        "tiny-image", "PED-ANOVA", 30, 5, {"k": 0.7, "metric": 0.3}, {"k": 30, "metric": 30}
    )
    write_report(folder, ReportSettings(reference={"baseline": 0.5}, importances=[found]))
    with browser(tmp_path / "profile") as shown:
        for width in WIDTHS:
            fits(folder.report / "report.html", width, shown)
            fits(folder.report / "search.html", width, shown)
            plots = shown.until(
                "[...document.querySelectorAll('.js-plotly-plot')].map(p => "
                "p.getBoundingClientRect().width)"
            )
            assert len(plots) >= 5
            shown.value("document.querySelector('[data-figure=\"best-trials\"]').scrollIntoView()")
            x, y = shown.until(PLACE_OF_TRIAL)
            shown.point_at(x, y)
            said = shown.until(
                "[...document.querySelectorAll('.hovertext')].map(t => t.textContent).join()"
            )
            assert "tiny-image/9" in said
            assert shown.problems == []
        shown.ask("Emulation.setEmulatedMedia", media="print")
        fits(folder.report / "report.html", A4, shown)


@pytest.mark.slow
@needs_browser
def test_the_other_pages_work_in_a_browser_at_any_width(tmp_path: Path) -> None:
    """The report's tables and several runs together are looked at in the same places."""
    folder = searched(tmp_path, many(5))
    run = JudgedRun(folder, "val_accuracy", "leave-one-out", {})
    write_comparison(compare_runs([run]), [folder.name], tmp_path / "out")
    history = [
        {
            "epoch": n,
            **dict.fromkeys(("train_accuracy", "val_accuracy", "train_loss", "val_loss"), n / 3),
        }
        for n in (1, 2)
    ]
    side = {
        "report": 0.2, "accuracy": 0.5, "n": 4, "names": ["a", "b"], "confusion": [[1, 1], [1, 1]],
        "asymmetry": 0.0,
        "asymmetry_by_chance": 0.5, "one_sided": 0.0, "drawn_to": ["a"], "given_to_them": 0.5,
        "of_them": 0.5,
    }  # fmt: skip
    tables = {
        "table1": {"title": "t", "n": 4, "sides": {"tiny-image": side, "bag-of-sift": side}},
        "table2": {
            "title": "t",
            "n": 4,
            "split": "test",
            "k": [1, 2],
            "report": [0.1, 0.2],
            "ours": [0.1, None],
        },
        "table6": {
            "title": "t",
            "network": "mynet",
            "history": history,
            "cut": "4 of 60 epochs, 2,500 of 20,000 train images",
        },
        "ladder": {
            "title": "t",
            "steps": [
                {
                    "what": "a network with a long name",
                    "below": 0.84,
                    "ours": 0.5,
                    "n": 4,
                    "cut": "4 of 60",
                }
            ],
        },
    }
    write_page(tables, tmp_path / "out", "2 cores", 75.0)
    with browser(tmp_path / "profile") as shown:
        for width in WIDTHS:
            fits(tmp_path / "out" / "comparison.html", width, shown)
            fits(tmp_path / "out" / "reproduce.html", width, shown)
            assert shown.value("[...document.images].every(i => i.complete && i.naturalWidth > 0)")


@pytest.mark.slow
def test_the_report_of_ten_thousand_trials_is_made_soon_and_can_be_opened(tmp_path: Path) -> None:
    """The longest searches are those whose report matters most."""
    folder = searched(tmp_path, many(10_000))
    began = time.process_time()
    files = write_report(folder, ReportSettings(reference={"baseline": 0.5}))
    assert time.process_time() - began < 30, "seconds of a processor, however busy the machine is"
    assert all(path.stat().st_size < 10e6 for path in files if path.suffix == ".html")
    assert len(json.loads((folder.report / "leaderboard.json").read_text())) == 10_000
