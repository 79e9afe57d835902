"""A thousand classes: pictures name as many as can be read, and no command takes longer for the
others.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from program import typed
from samples import CONFIG, record, run_with

from analysis.bundle.facts import BundleFacts, Preprocessing
from analysis.bundle.model_card import SHOWN, model_card
from analysis.figures import drawing as figures
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts, Measured

MANY = 1000


def named(count: int) -> list[str]:
    return [
        f"n{i:05d} a class with a name so long that no picture has room for all of it, number {i}"
        for i in range(count)
    ]


@pytest.mark.parametrize("count", [2, 59, 60, 61, 119, 121, MANY])
def test_a_matrix_names_at_most_sixty_classes_a_side_and_cuts_long_names(count: int) -> None:
    """A label each took most of a minute a picture, and they lay upon each other; MLflow is sent
    five such pictures.
    """
    figure = figures.confusion(np.eye(count, dtype=np.int64), named(count), "a title")
    axes = figure.axes[0]
    for ticks, labels in (
        (axes.get_xticks(), axes.get_xticklabels()),
        (axes.get_yticks(), axes.get_yticklabels()),
    ):
        assert count / 2 <= len(labels) <= 60 or count > 60
        assert 30 <= len(labels) <= 60 or count <= 60
        for tick, label in zip(ticks, labels, strict=True):
            assert label.get_text().endswith(str(int(tick))[-1:]), "a label stands at its own class"
            assert label.get_text().startswith(f"n{int(tick):05d}")
            assert len(label.get_text()) <= 30
    one_in = -(-count // 60)
    assert (f"one in {one_in} is named" in axes.get_xlabel()) == (one_in > 1)
    assert len(figure.findobj(Text)) < 400
    assert max(figure.get_size_inches()) <= 30


def many(tmp_path: Path) -> RunDirectory:
    """A run of a thousand classes with two images each."""
    run = run_with(tmp_path, {})
    labels = np.repeat(np.arange(MANY), 2)
    given = np.where(np.arange(len(labels)) % 7 == 0, (labels + 1) % MANY, labels)
    run.write_data(
        DataFacts(
            spec="folder:/x",
            classes=tuple(named(MANY)),
            sizes={"train": len(labels)},
            fingerprint="f" * 64,
        )
    )
    run.write_validation_labels(labels)
    accuracy = float(np.mean(given == labels))
    run.write_record(
        record(1, metrics={"val_accuracy": accuracy}), "log", None, given.astype(np.uint16)
    )
    return run


@pytest.mark.parametrize("words", [("report",), ("confusion",)])
def test_no_command_takes_long_for_a_thousand_classes(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    """51 s it was for the report, by the processor's clock, since the machine may be busy."""
    many(tmp_path)
    began = time.process_time()
    done = typed(*words, "made", "--runs-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert time.process_time() - began < 25
    if words == ("confusion",):
        assert max(map(len, done.stdout.splitlines()[1:])) < 160


def test_a_model_card_names_the_first_classes_and_says_how_many_more() -> None:
    """A page of a thousand names is read by nobody."""
    measured = Measured(
        split="train", n=9, scheme="x", accuracy=0.5, balanced_accuracy=0.5, macro_f1=0.5
    )
    facts = BundleFacts(
        format=1, kind="knn", space="tiny-image", config=CONFIG, classes=tuple(named(MANY)),
        preprocessing=Preprocessing(color="grey", max_side=64), val=measured, replicas=None,
        test=None, test_evaluations=0, seed=0,
        versions={"numpy": "1"}, dataset="folder:/x", fingerprint="f" * 64, test_fingerprint=None,
        trial="tiny-image/1", model_sha256="",
    )  # fmt: skip
    card = model_card(facts)
    assert f"and {MANY - SHOWN} more, all in bundle.json" in card
    assert f"n{SHOWN - 1:05d}" in card
    assert f"n{SHOWN:05d}" not in card
