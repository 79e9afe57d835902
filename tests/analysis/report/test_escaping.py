"""Names that are markup: shown as they are written on every page, and nowhere made part of it."""

from __future__ import annotations

import json
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished import TINY, finished
from markdown_it import MarkdownIt
from PIL import Image
from program import typed
from samples import CONFIG, record

from analysis.bundle.facts import BundleFacts, Preprocessing, Replicated
from analysis.bundle.model_card import model_card
from analysis.ranking.importance import Importance
from analysis.ranking.run_comparison import JudgedRun, compare_runs
from analysis.report.comparison import write_comparison
from analysis.report.page import ReportSettings, write_report
from analysis.report.reproduced import write_page
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts, DriverState, Measured


def hostile(name: str) -> str:
    """A name that runs a program wherever it stands unescaped: between tags, in an attribute, or
    inside a script.
    """
    return (
        f"{name}</script></title></style></pre><img src=x "
        "onerror=alert(1)>\"'><script>alert(2)</script>{{ 7 * 7 }}&amp;"
    )


CLASSES = ("a<img src=x onerror=alert(1)>", "b<script>alert(2)</script>", "c\"'>&amp;</td>")
"""Short enough to be drawn."""


class Page(HTMLParser):
    """How often each element stands in a page, the text outside of scripts and styles, and every
    attribute.
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: Counter[str] = Counter()
        self.text = ""
        self.attributes: list[tuple[str, str | None]] = []
        self._inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes += attrs
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.text += data


def check(page: Path, names: list[str], *exactly: str) -> None:
    """The page shows each of these names as it is written, and holds no element or attribute but
    its own.
    """
    written = page.read_text()
    shown = Page(written)
    for name in (*map(hostile, names), *exactly):
        assert name in shown.text + "".join(value or "" for _, value in shown.attributes), (
            f"{name} is not on {page.name}"
        )
    assert not [pair for pair in shown.attributes if pair[0].startswith("on")]
    assert ("src", "x") not in shown.attributes
    assert shown.elements["script"] == (3 if page.name == "search.html" else 0)
    assert "<script>alert" not in written


def searched(tmp_path: Path, name: str = "run") -> RunDirectory:
    """A run in which all that a stranger may name is hostile: the folder, classes, images,
    configurations, causes.
    """
    folder = RunDirectory(tmp_path / hostile(name).replace("/", "∕"))
    folder.path.mkdir(parents=True)
    folder.write_state(DriverState(id="0", state="failed", reason=hostile("reason"), seconds=75))
    folder.write_data(
        DataFacts(
            spec=hostile("spec"),
            classes=CLASSES,
            sizes={hostile("split"): 9},
            fingerprint=hostile("print"),
            skipped=("x",),
        )
    )
    labels = np.arange(9) % 3
    folder.write_validation_labels(labels)
    folder.plan_file.write_text(f"name: {hostile('plan')}\n")
    config = CONFIG | {"metric": hostile("metric")}
    for number in range(3):
        folder.write_record(
            record(number, config=config | {"k": number + 1}, metrics={"val_accuracy": 1 / 3}),
            "",
            None,
            (labels * 2 % 3).astype(np.uint16),
        )
    failed: dict[str, Any] = {
        "state": "FAIL",
        "metrics": {},
        "accuracy_by_k": (),
        "failure": hostile("cause"),
    }
    folder.write_record(record(3, **failed), "", None, None)
    look = {
        "trial": hostile("looked at"),
        "time": 0.0,
        "accuracy": 0.5,
        "n": 9,
        "scheme": hostile("scheme"),
    }
    (folder.path / "test_scores.json").write_text(json.dumps([look]))
    return folder


def test_the_report_and_the_page_of_the_search_show_names_and_run_none(tmp_path: Path) -> None:
    """A dataset from a stranger must not run a program in the browser of whoever looks at the
    report.
    """
    folder = searched(tmp_path)
    found = Importance(
        "tiny-image", "PED-ANOVA", 3, 1, {"k": 1.0}, {"k": 3}, {"size": hostile("unjudged")}
    )
    write_report(folder, ReportSettings(reference={hostile("line"): 0.1}, importances=[found]))
    names = [
        "spec",
        "split",
        "metric",
        "cause",
        "reason",
        "plan",
        "looked at",
        "scheme",
        "line",
        "unjudged",
    ]
    check(folder.report / "report.html", names, *CLASSES, folder.name)
    check(folder.report / "search.html", ["unjudged"], folder.name)


def test_the_page_of_several_runs_shows_names_and_runs_none(tmp_path: Path) -> None:
    """Runs are handed from one to another, and set side by side."""
    folders = [searched(tmp_path / str(n), f"run {n}") for n in range(2)]
    folders[1].write_data(
        folders[1].data().model_copy(update={"fingerprint": "other", "spec": hostile("other spec")})
    )
    network = record(7, space="cnn", config={"model": hostile("model")})
    folders[0].write_record(network, "", None, None)
    found = compare_runs(
        [JudgedRun(folder, "val_accuracy", hostile("scheme"), {}) for folder in folders]
    )
    write_comparison(found, [folder.name for folder in folders], tmp_path / "out")
    check(
        tmp_path / "out" / "comparison.html",
        ["spec", "other spec", "metric", "model"],
        *(folder.name for folder in folders),
    )


def test_the_page_of_the_report_s_tables_shows_names_and_runs_none(tmp_path: Path) -> None:
    """Its scenes and networks are read from folders too."""
    side = {
        "report": 0.2, "accuracy": 0.5, "n": 4, "names": CLASSES[:2], "confusion": [[1, 1], [1, 1]],
        "asymmetry": 0.0,
        "asymmetry_by_chance": 0.5, "one_sided": 0.0, "drawn_to": [hostile("drawn to")],
        "given_to_them": 0.5, "of_them": 0.5,
    }  # fmt: skip
    sizes = dict.fromkeys(("layers", "parameters", "parameters_mb", "passes_mb", "total_mb"), 1.0)
    network = {
        "report": sizes,
        "ours": sizes,
        "same_rows": 1,
        "architecture": hostile("architecture"),
        "layers": hostile("layers"),
    }
    tables = {
        "table1": {
            "title": hostile("title"),
            "n": 4,
            "sides": {"tiny-image": side, "bag-of-sift": side},
        },
        "architecture": {"title": hostile("title"), "networks": {hostile("network"): network}},
        "ladder": {
            "title": "t",
            "steps": [
                {"what": hostile("step"), "below": 0.84, "ours": 0.5, "n": 4, "cut": hostile("cut")}
            ],
        },
    }
    write_page(tables, tmp_path, hostile("machine"), 75.0)
    names = ["machine", "title", "drawn to", "network", "architecture", "layers", "step", "cut"]
    check(tmp_path / "reproduce.html", names)


@pytest.mark.parametrize(
    "name",
    [
        "<img src=x onerror=alert(1)>",
        "<script>alert(1)</script>",
        "a\n\n# b",
        "a`b`c",
        "[x](javascript:alert(1))",
        "a|b",
    ],
)
def test_a_model_card_holds_names_as_text(name: str) -> None:
    """README.md is shown as a page by whoever hosts a bundle: a class, a folder or a run must not
    become markup or lines of it.
    """
    measured = Measured(
        split="train", n=9, scheme=name, accuracy=0.5, balanced_accuracy=0.5, macro_f1=0.5
    )
    facts = BundleFacts(
        format=1, kind="knn", space="tiny-image", config=CONFIG, classes=(name, "z"),
        preprocessing=Preprocessing(color="grey", max_side=64),
        val=measured, replicas=Replicated(seeds=(1, 2), mean=0.5, spread=0.1),
        test=measured, test_evaluations=1, seed=0,
        versions={"numpy": name}, dataset=f"folder:/{name}", fingerprint="f" * 64,
        test_fingerprint=None, trial=f"{name}: tiny-image/1",
        model_sha256="",
    )  # fmt: skip
    plain = {
        "classes": ("y", "z"),
        "versions": {"numpy": "1"},
        "dataset": "folder:/x",
        "trial": "x",
    }
    plain |= {split: measured.model_copy(update={"scheme": "s"}) for split in ("val", "test")}
    page, other = (
        Page(MarkdownIt("commonmark").enable("table").render(model_card(one)))
        for one in (facts, facts.model_copy(update=plain))
    )
    assert page.elements == other.elements
    assert " ".join(page.text.split()).count(" ".join(name.split())) == 6


def test_the_page_of_why_shows_names_and_runs_none(tmp_path: Path) -> None:
    """Classes, files and the bundle's folder are a stranger's, and so are the images that voted."""
    names = [hostile(name).replace("/", "∕") for name in ("one", "two")]
    for label, name in enumerate(names):
        for number in range(4):
            place = tmp_path / "images" / "train" / name / f"{number} {names[1]}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.random.default_rng(number).integers(0, 100, (20, 20)) + 100 * label
            Image.fromarray(pixels.astype(np.uint8)).save(place)
    run = finished(tmp_path, f"folder:{tmp_path / 'images'}", [("tiny-image", TINY | {"k": 1})])
    bundle, page = tmp_path / names[0], tmp_path / "why.html"
    assert typed("export", run.path, "--out", bundle, "--no-test").returncode == 0
    done = typed("explain", bundle, tmp_path / "images", "--out", page)
    assert done.returncode == 0, done.stderr
    check(page, [], *names, f"train/{names[1]}/0 {names[1]}.png")
