"""Rows are true classes and columns are predicted ones, wherever a confusion matrix is counted,
written, drawn or printed.

Every matrix here has a different number in each cell, so that none is right when it is turned, and
sums and traces are not all there is.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from drawn import keep_figures, matrix
from finished import finished
from program import output, typed
from samples import record

from analysis.bundle.bundle import write_bundle
from analysis.bundle.facts import BundleFacts, Preprocessing
from analysis.bundle.knn import KnnModel
from analysis.figures import drawing as figures
from analysis.ranking.confusion import Confusion, confusion_between, to_csv
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts, DriverState, Measured
from search.reproduce.knn import confusion_table
from trainables.data.scores import confusion, score

CLASSES = ("cat", "dog", "owl")
COUNTS = [[6, 1, 5], [4, 7, 0], [3, 9, 8]]
"""True cats taken for cats, dogs, owls; then true dogs, then true owls."""
LABELS = np.array([true for true, row in enumerate(COUNTS) for count in row for _ in range(count)])
GIVEN = np.array([given for row in COUNTS for given, count in enumerate(row) for _ in range(count)])
SHARES = [[6 / 12, 1 / 12, 5 / 12], [4 / 11, 7 / 11, 0.0], [3 / 20, 9 / 20, 8 / 20]]
RECALL = {"cat": 6 / 12, "dog": 7 / 11, "owl": 8 / 20}
PRECISION = {"cat": 6 / 13, "dog": 7 / 17, "owl": 8 / 13}
SIZES = {"cat": (12, 13), "dog": (11, 17), "owl": (20, 13)}
"""Images of each class, and images that were given it."""


def found(order: tuple[str, ...] = ()) -> Confusion:
    return confusion_between("tiny-image/1", LABELS, GIVEN, CLASSES, order, {"dog": "D"})


def run(tmp_path: Path, plan: str = "") -> RunDirectory:
    """A run whose only trial has these predictions."""
    folder = RunDirectory(tmp_path / "made")
    folder.path.mkdir()
    folder.write_state(DriverState(id="0", state="finished", seconds=75))
    folder.write_data(
        DataFacts(spec="folder:/x", classes=CLASSES, sizes={"train": 43}, fingerprint="f" * 64)
    )
    folder.write_validation_labels(LABELS)
    folder.plan_file.write_text(f"spaces: [tiny-image]\n{plan}")
    folder.write_record(
        record(1, metrics={"val_accuracy": 21 / 43}), "log", None, GIVEN.astype(np.uint16)
    )
    return folder


def table(text: str) -> list[list[str]]:
    return list(csv.reader(text.splitlines()))


def test_counts_and_scores_are_by_true_class_first() -> None:
    """Accuracy is the same either way; what is missed and what is mistaken for it are not."""
    assert confusion(LABELS, GIVEN, 3).tolist() == COUNTS
    scores = score(LABELS, GIVEN, 3)
    assert scores.accuracy == pytest.approx(21 / 43)
    assert scores.balanced_accuracy == pytest.approx(np.mean(list(RECALL.values())))
    f1 = [2 * PRECISION[name] * RECALL[name] / (PRECISION[name] + RECALL[name]) for name in CLASSES]
    assert scores.macro_f1 == pytest.approx(np.mean(f1))


@pytest.mark.parametrize("order", [(), ("owl", "cat", "dog")])
def test_rows_columns_names_precision_and_recall_move_together(order: tuple[str, ...]) -> None:
    """A matrix in another order is the same matrix: a name that stays behind blames the wrong
    class.
    """
    shown = found(order)
    classes = order or CLASSES
    assert shown.classes == classes
    assert shown.names == tuple({"dog": "D"}.get(name, name) for name in classes)
    assert shown.counts.tolist() == [
        [COUNTS[CLASSES.index(t)][CLASSES.index(p)] for p in classes] for t in classes
    ]
    assert dict(zip(shown.classes, shown.recall, strict=True)) == pytest.approx(RECALL)
    assert dict(zip(shown.classes, shown.precision, strict=True)) == pytest.approx(PRECISION)
    rows = {row["class"]: row for row in shown.by_class()}
    assert {name: (row["images"], row["predicted"]) for name, row in rows.items()} == SIZES
    assert [
        (pair["true"], pair["predicted"], pair["count"], pair["reverse"]) for pair in shown.pairs()
    ] == [
        ("owl", "dog", 9, 0),
        ("cat", "owl", 5, 3),
        ("dog", "cat", 4, 1),
    ]
    assert shown.asymmetry == pytest.approx((3 + 2 + 9) / 22)


def test_the_csv_has_a_row_a_true_class(tmp_path: Path) -> None:
    """Who opens it in a spreadsheet reads along the row of a class where its images went."""
    assert table(to_csv(np.array(COUNTS), CLASSES)) == [
        ["true class", "cat", "dog", "owl"],
        ["cat", "6", "1", "5"],
        ["dog", "4", "7", "0"],
        ["owl", "3", "9", "8"],
    ]
    folder = run(tmp_path, "class_order: [owl, cat, dog]\n")
    assert typed("report", "made", "--runs-dir", tmp_path).returncode == 0
    assert table((folder.report / "confusion.csv").read_text()) == [
        ["true class", "owl", "cat", "dog"],
        ["owl", "8", "3", "9"],
        ["cat", "5", "6", "1"],
        ["dog", "0", "4", "7"],
    ]
    rows = {
        row["class"]: row
        for row in csv.DictReader(
            (folder.report / "confusion-classes.csv").read_text().splitlines()
        )
    }
    assert {
        name: (int(row["images"]), int(row["predicted"])) for name, row in rows.items()
    } == SIZES
    assert {name: float(row["recall"]) for name, row in rows.items()} == pytest.approx(RECALL)
    assert {name: float(row["precision"]) for name, row in rows.items()} == pytest.approx(PRECISION)
    page = (folder.report / "report.html").read_text()
    assert '<td>owl</td><td>dog</td><td class="n">9</td><td class="n">0</td>' in page
    assert (
        '<td>owl</td><td class="n">20</td><td class="n">13</td><td class="n">0.6154</td><td '
        'class="n">0.4000</td>'
    ) in page


def check_picture(axes: object, names: list[str], shares: list[list[float]]) -> None:
    """A drawn matrix has these shares of each true class, downwards, and says which side is
    which.
    """
    cells, down, along, texts = matrix(axes)  # type: ignore[arg-type]
    np.testing.assert_allclose(cells, shares)
    assert down == along == names
    assert axes.get_ylabel() == "true class"  # type: ignore[attr-defined]
    assert axes.get_xlabel() == "predicted class"  # type: ignore[attr-defined]
    assert texts == {
        (y, x): f"{share:.2f}".lstrip("0")
        for y, row in enumerate(shares)
        for x, share in enumerate(row)
        if share >= 0.005
    }


def test_a_picture_of_a_matrix_read_back_has_true_classes_downwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People look at the picture and at nothing else."""
    check_picture(figures.confusion(np.array(COUNTS), CLASSES, "t").axes[0], list(CLASSES), SHARES)
    kept = keep_figures(monkeypatch)
    run(tmp_path, "class_order: [owl, cat, dog]\nabbreviations: {owl: O}\n")
    for command in ("report", "confusion"):
        kept.clear()
        assert typed(command, "made", "--runs-dir", tmp_path).returncode == 0
        (axes,) = [
            axes
            for figure in kept
            for axes in figure.axes
            if axes.get_xlabel() == "predicted class"
        ]
        check_picture(
            axes, ["O", "cat", "dog"], [[SHARES[t][p] for p in (2, 0, 1)] for t in (2, 0, 1)]
        )
        assert axes.get_title() == "tiny-image/1, validation accuracy 0.4884 (n = 43)"


def test_the_report_s_first_table_has_true_classes_in_rows() -> None:
    """Its picture stands beside the report's own, whose rows are true classes, and it tells which
    classes pictures are drawn to.
    """
    classes = ("Coast", "Kitchen", "Office")
    answers = {
        "accuracy": 21 / 43,
        "labels": LABELS.tolist(),
        "predictions": GIVEN.tolist(),
        "classes": list(classes),
    }
    theirs = {
        "title": "t",
        "accuracy": {"tiny-image": 0.2, "bag-of-sift": 0.6},
        "drawn_to": ["Kitchen"],
    }
    made = confusion_table(theirs, SimpleNamespace(judged=lambda config, seed: answers))  # type: ignore[arg-type]
    for side in made["sides"].values():
        assert side["order"] == ["Kitchen", "Office", "Coast"]
        assert side["confusion"] == [[7, 0, 4], [9, 8, 3], [1, 5, 6]]
        assert (side["given_to_them"], side["of_them"]) == (
            pytest.approx(17 / 43),
            pytest.approx(11 / 43),
        )
        assert side["one_sided"] == pytest.approx(14 / 43)


# A bundle

GREYS = {"cat": 0, "dog": 120, "owl": 240}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle that gives each image the class whose grey is nearest to its own."""
    config = {
        "metric": "cityblock",
        "size": 2,
        "resampling": "box",
        "centring": False,
        "norm": "none",
        "k": 1,
        "vote": "uniform",
        "mirrored": False,
    }
    val = Measured(
        split="train",
        n=3,
        scheme="leave-one-out",
        accuracy=0.5,
        balanced_accuracy=0.25,
        macro_f1=0.125,
    )
    facts = BundleFacts(
        format=1, kind="knn", space="tiny-image", config=config, classes=CLASSES,
        preprocessing=Preprocessing(color="grey", max_side=64),
        val=val, test=None, test_evaluations=0, seed=0, versions={}, dataset="npz:x",
        fingerprint="f", test_fingerprint=None,
        trial="made: tiny-image/1", model_sha256="",
    )  # fmt: skip
    features = np.repeat(np.array(list(GREYS.values()), float)[:, None], 4, axis=1)
    (tmp_path / "bundle").mkdir()
    write_bundle(tmp_path / "bundle", KnnModel(facts, features, np.arange(3), None))
    return tmp_path / "bundle"


def images_of(
    tmp_path: Path, labels: np.ndarray, given: np.ndarray, classes: tuple[str, ...] = CLASSES
) -> str:
    """A dataset whose test images are of ``labels`` (of ``classes``) and look like ``given`` (of
    CLASSES).
    """
    looks = np.array(list(GREYS.values()))[given].astype(np.uint8)
    train = np.zeros((len(classes), 4, 4), np.uint8)
    test = np.broadcast_to(looks[:, None, None], (len(looks), 4, 4))
    np.savez(
        tmp_path / "x.npz",
        x_train=train,
        y_train=np.arange(len(classes)),
        x_test=test,
        y_test=labels,
        classes=classes,
    )
    return f"npz:{tmp_path}/x.npz"


def test_evaluate_counts_true_classes_in_rows(bundle: Path, tmp_path: Path) -> None:
    """Scores of classes read off a turned matrix would be precision for recall."""
    spec = images_of(tmp_path, LABELS, GIVEN)
    shown = output("evaluate", bundle, "--dataset", spec)
    assert shown["classes"] == list(CLASSES)
    assert shown["confusion"] == COUNTS
    assert shown["balanced_accuracy"] == pytest.approx(np.mean(list(RECALL.values())))
    assert typed("evaluate", bundle, "--dataset", spec, "--out", tmp_path / "t.csv").returncode == 0
    rows = list(csv.DictReader((tmp_path / "t.csv").read_text().splitlines()))
    assert [row["true"] for row in rows] == [CLASSES[label] for label in LABELS]
    assert [row["class"] for row in rows] == [CLASSES[label] for label in GIVEN]
    assert all(float(row[f"score {row['class']}"]) == 1.0 for row in rows)
    assert (
        typed("evaluate", bundle, "--dataset", spec, "--out", tmp_path / "t.json").returncode == 0
    )
    assert [
        (row["true"], row["class"]) for row in json.loads((tmp_path / "t.json").read_text())
    ] == [(row["true"], row["class"]) for row in rows]


def test_a_dataset_with_fewer_classes_keeps_their_names(bundle: Path, tmp_path: Path) -> None:
    """The second of two classes is the third of the bundle's: by number, every owl would be a
    dog.
    """
    spec = images_of(tmp_path, np.array([0, 1, 1, 1]), np.array([0, 2, 2, 1]), ("cat", "owl"))
    shown = output("evaluate", bundle, "--dataset", spec)
    assert shown["confusion"] == [[1, 0, 0], [0, 0, 0], [0, 1, 2]]
    assert shown["accuracy"] == 0.75


def test_the_pictures_of_an_export_are_of_its_own_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bundle carries one matrix of the validation images and one of the test images, each in the
    plan's order of classes.
    """
    kept = keep_figures(monkeypatch)
    rng = np.random.default_rng(0)
    arrays = {
        f"x_{split}": rng.integers(0, 255, (n, 8, 8), dtype=np.uint8)
        for split, n in (("train", 24), ("test", 43))
    }
    np.savez(
        tmp_path / "x.npz", **arrays, y_train=np.arange(24) % 3, y_test=LABELS, classes=CLASSES
    )
    config = {
        "metric": "cityblock",
        "size": 4,
        "resampling": "box",
        "centring": False,
        "norm": "none",
        "k": 1,
        "vote": "uniform",
    }
    order = ("owl", "cat", "dog")
    folder = finished(
        tmp_path / "runs", f"npz:{tmp_path}/x.npz", [("tiny-image", config)], class_order=order
    )
    output("export", "made", "--runs-dir", tmp_path / "runs", "--out", tmp_path / "bundle")
    shown = output("evaluate", tmp_path / "bundle", "--dataset", f"npz:{tmp_path}/x.npz")
    drawn = {
        axes.get_title(): axes
        for figure in kept
        for axes in figure.axes
        if axes.get_xlabel() == "predicted class"
    }
    (item,) = folder.records()
    predictions = folder.predictions(item)
    assert predictions is not None
    own = {
        "validation": confusion(np.arange(24) % 3, predictions.astype(np.int64), 3),
        "test": np.array(shown["confusion"]),
    }
    for part, counts in own.items():
        assert (counts != counts.T).any()
        turned = counts[[2, 0, 1]][:, [2, 0, 1]]
        accuracy, n = np.trace(counts) / counts.sum(), counts.sum()
        axes = drawn[f"tiny-image, {part} accuracy {accuracy:.4f} (n = {n})"]
        check_picture(axes, list(order), (turned / turned.sum(axis=1, keepdims=True)).tolist())
