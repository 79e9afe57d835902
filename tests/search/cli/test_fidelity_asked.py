"""Parts of the images as steps, as they are asked for: in one word, and what does not go with them
in one line.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from program import refused, typed

from analysis.plan.plan import read_plan

TINY = ("run", "--dataset", "digits", "--space", "tiny-image", "--dry-run")
PARTS = (*TINY, "--fidelity", "images")


def test_one_word_is_enough_and_the_dry_run_says_what_comes_of_it() -> None:
    """A user need not choose parts, and should see of how many images they are."""
    shown = json.loads(typed(*PARTS, "--pruner", "asha", "--json").stdout)
    total = shown["images"]["train"]
    said, counts = shown["fidelity"].split(" (")
    assert said == "0.25, 0.5 and 1 of the training images"
    first, second, last = (int(count.replace(",", "")) for count in counts[:-1].split(", "))
    assert total * 0.25 <= first < total * 0.26
    assert total * 0.5 <= second < total * 0.51
    assert last == total
    text = typed(*TINY, "--fidelity", "images,0.1,1", "--pruner", "median").stdout
    assert "0.1 and 1 of the training images" in text
    assert "fidelity" not in typed(*TINY).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (PARTS, "makes steps for a pruner to judge, but pruner is none"),
        (
            (*TINY, "--pruner", "asha"),
            "one result at its end; fidelity: images gives it one a part",
        ),
        ((*PARTS, "--pruner", "wilcoxon"), "wilcoxon judges results fold by fold"),
        ((*TINY, "--fidelity", "images,0.5,0.25,1"), "rise and end with 1, as in [0.25, 0.5, 1]"),
        ((*TINY, "--fidelity", "images,0.25,0.5"), "rise and end with 1"),
        ((*TINY, "--fidelity", "images,1"), "2 to 10 shares that rise"),
        ((*TINY, "--fidelity", "images,0,1"), "rungs.0: input should be greater than 0"),
        ((*TINY, "--fidelity", "images,half,1"), "rungs.0: input should be a valid number"),
        ((*TINY, "--fidelity", "pixels"), "fidelity: input should be 'epochs' or 'images'"),
        ((*TINY, "--fidelity", "epochs,0.5,1"), "rungs are of fidelity images, but"),
        (
            ("run", "--dataset", "none", "--space", "toy", *PARTS[5:], "--pruner", "asha"),
            "but the plan has toy; leave fidelity out",
        ),
        (
            (*PARTS[:4], "cnn", *PARTS[5:], "--population", "pbt"),
            "fidelity and a population exclude each other",
        ),
        (
            (*PARTS[:4], "embedding", *PARTS[5:-1], "images,0.01,1", "--pruner", "asha"),
            "validation k-fold makes 5 folds",
        ),
    ],
)
def test_what_does_not_go_with_parts_is_one_line(words: tuple[str, ...], said: str) -> None:
    """Before anything starts, and in words: what, and what to do."""
    assert said in refused(*words)


def test_a_plan_has_the_same_and_an_option_has_the_last_word(tmp_path: Path) -> None:
    """A plan is what is kept; options only write it, and one that names nothing leaves it as old
    ones are.
    """
    file = tmp_path / "plan.yaml"
    file.write_text("spaces: tiny-image\nfidelity: images\nrungs: [0.1, 1]\npruner: median\n")
    assert read_plan(file).parts == (0.1, 1.0)
    assert "0.1 and 1 of" in typed("run", file, "--dry-run").stdout
    shown = typed("run", file, "--fidelity", "images", "--dry-run").stdout
    assert "0.25, 0.5 and 1 of" in shown
    file.write_text("spaces: tiny-image\n")
    assert read_plan(file).parts == ()
    assert read_plan(file).search_spaces()["tiny-image"].reports == "nothing"
