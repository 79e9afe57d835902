"""Who is taken for whom, and what can be said of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from program import output, typed
from samples import record, run_with

from analysis.ranking.confusion import confusion_of

GIVEN = [0, 0, 1, 1, 1, 1, 1, 0, 0, 1]  # an owl is never recognised
RIGHT = [0] * 4 + [1] * 4 + [2] * 2


def test_precision_recall_pairs_and_asymmetry_are_what_one_counts_by_hand(tmp_path: Path) -> None:
    """Ten images are few enough to check every figure with a pencil."""
    folder = run_with(tmp_path, {1: GIVEN})
    found = confusion_of(folder, folder.records()[0], (), {})
    assert found is not None
    assert found.counts.tolist() == [[2, 2, 0], [1, 3, 0], [1, 1, 0]]
    assert found.recall == (0.5, 0.75, 0.0)
    assert found.precision == (0.5, 0.5, None)
    assert [row["f1"] for row in found.by_class()] == pytest.approx([4 / 8, 6 / 10, 0])
    assert found.balanced_accuracy == pytest.approx((0.5 + 0.75 + 0) / 3)
    assert found.macro_f1 == pytest.approx((4 / 8 + 6 / 10 + 0) / 3)
    assert found.unbalanced is None  # 4, 4 and 2 images
    assert found.pairs() == [
        {"true": "cat", "predicted": "dog", "count": 2, "reverse": 1},
        {"true": "owl", "predicted": "cat", "count": 1, "reverse": 0},
        {"true": "owl", "predicted": "dog", "count": 1, "reverse": 0},
    ]
    assert found.asymmetry == pytest.approx((1 + 1 + 1) / 5)
    # 3 coins: |heads − tails| is 3, 1, 1 or 3
    assert found.asymmetry_by_chance == pytest.approx((1.5 + 1 + 1) / 5)


def test_the_report_says_what_accuracy_hides_of_unbalanced_classes(tmp_path: Path) -> None:
    """0.9 sounds well where nine of ten images are of one class, which is all that is ever said."""
    folder = run_with(tmp_path, {1: [0] * 10}, labels=[0] * 9 + [1])
    assert typed("report", "made", "--runs-dir", tmp_path).returncode == 0
    page = " ".join((folder.report / "report.html").read_text().split())
    assert "Accuracy tells of the large classes" in page
    assert "from 0 to 9 validation images" in page
    assert "Balanced accuracy 0.5000, macro F1 0.4737" in page
    assert '<th class="n">F1</th>' in page


def test_without_mistakes_there_is_nothing_to_be_one_sided(tmp_path: Path) -> None:
    """A perfect classifier must not divide by its mistakes."""
    folder = run_with(tmp_path, {1: RIGHT})
    found = confusion_of(folder, folder.records()[0], (), {})
    assert found is not None
    assert (found.asymmetry, found.asymmetry_by_chance, found.pairs()) == (None, None, [])
    assert typed("confusion", "made", "--runs-dir", tmp_path).returncode == 0


def test_the_command_shows_the_best_in_the_plans_order_and_short_names(tmp_path: Path) -> None:
    """People compare with matrices that have an order and names of their own."""
    folder = run_with(
        tmp_path,
        {1: GIVEN, 2: [0] * 10},
        plan="class_order: [owl, cat, dog]\nabbreviations: {owl: O}\n",
    )
    found = output("confusion", "made", "--runs-dir", tmp_path)
    assert found["trial"] == "tiny-image/1"
    assert [row["class"] for row in found["classes"]] == ["owl", "cat", "dog"]
    assert found["names"] == ["O", "cat", "dog"]
    assert found["confusion"] == [[0, 1, 1], [0, 2, 2], [0, 1, 3]]
    assert found["classes"][0] == {
        "class": "owl",
        "images": 2,
        "predicted": 0,
        "precision": None,
        "recall": 0.0,
        "f1": 0.0,
    }
    assert Path(found["file"]) == folder.report / "confusion.png"
    other = json.loads(
        typed("confusion", "made", "--trial", "2", "--runs-dir", tmp_path, "--json").stdout
    )
    assert Path(other["file"]).name == "confusion-tiny-image-2.png"
    assert Path(other["file"]).read_bytes().startswith(b"\x89PNG")
    shown = typed("confusion", "made", "--runs-dir", tmp_path).stdout
    assert "cat taken for dog: 2, the other way 1" in shown
    assert "asymmetry 0.600 (0 symmetric, 1 one-sided; by chance 0.700)" in shown


def test_a_trial_whose_predictions_were_not_kept_is_refused_naming_those_that_were(
    tmp_path: Path,
) -> None:
    """Only the best keep theirs; a user needs to know which."""
    run_with(tmp_path, {1: GIVEN}, (record(0),))
    done = typed("confusion", "made", "--trial", "0", "--runs-dir", tmp_path)
    assert done.returncode == 2
    assert (
        "only those of trials that were among the best; there are those of tiny-image/1"
        in done.stderr
    )


@pytest.mark.parametrize(
    ("abbreviations", "said"),
    [({"cow": "C"}, "but got cow"), ({"cat": "dog"}, "more than one is dog")],
)
def test_short_names_must_be_of_classes_and_tell_them_apart(
    tmp_path: Path, abbreviations: dict[str, str], said: str
) -> None:
    """Two rows of one name would be read wrongly."""
    run_with(tmp_path, {1: GIVEN}, plan=f"abbreviations: {json.dumps(abbreviations)}\n")
    assert said in typed("confusion", "made", "--runs-dir", tmp_path).stderr


def test_a_run_without_a_finished_trial_says_so(tmp_path: Path) -> None:
    """There is no matrix of nothing."""
    run_with(tmp_path, {})
    assert "has no complete trial yet" in typed("confusion", "made", "--runs-dir", tmp_path).stderr
