"""A kept plan that somebody changed by hand: what its study cannot take up is refused before
anything starts.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from damages import content, newer
from program import refused, typed
from samples import run_with

from analysis.plan.complaints import PlanError
from analysis.plan.plan import make_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DriverState
from search.ledger.ledger import Ledger

SETTINGS = "trials: 2\ntracking: {enabled: false}\n"


def begun(tmp_path: Path, setting: str) -> RunDirectory:
    """A run with one finished trial whose plan had this ``set``."""
    folder = run_with(tmp_path, {}, plan=f"dataset: digits\nset: {{{setting}}}\n{SETTINGS}")
    ledger = Ledger(folder, folder.plan())
    proposal = ledger.propose()
    assert proposal is not None
    ledger.end(proposal.key, {"val_accuracy": 0.5, "seconds": 1.0, "started": 1000.0, "done": True})
    return folder


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("metric: [euclidean, cityblock]", "metric: [euclidean]", "tiny-image.metric was "),
        (
            "metric: [euclidean, cityblock]",
            "metric: [euclidean, cityblock, cosine]",
            "tiny-image.metric was ",
        ),
        ("k: 1..10", "k: [1, 3, 5]", "tiny-image.k was "),
        (
            "k: [1, 3, 5]",
            "k: [1, 3]",
            "tiny-image.k was one of 1, 3, 5 when the search began, and is one of 1, 3 now",
        ),
        (
            "k: [1, 3, 5]",
            "k: 1..10",
            "tiny-image.k was one of 1, 3, 5 when the search began, and is a whole number in "
            "1..10 now",
        ),
    ],
)
@pytest.mark.parametrize(
    "words", [("resume",), ("extend", "--trials", "3"), ("replicate",)], ids=lambda words: words[0]
)
def test_other_choices_than_the_study_s_are_refused_in_one_line(
    tmp_path: Path, before: str, after: str, said: str, words: tuple[str, ...]
) -> None:
    """Optuna says "CategoricalDistribution does not support dynamic value space", after Ray has
    started, and fails every trial.
    """
    folder = begun(tmp_path, before)
    folder.plan_file.write_text(folder.plan_file.read_text().replace(before, after))
    line = refused(words[0], "made", *words[1:], "--runs-dir", tmp_path)
    assert said in line
    assert "plan.yaml, or start a new run" in line


@pytest.mark.parametrize(
    ("before", "after"), [("k: 1..10", "k: 2..20"), ("k: [1, 3]", "k: [1, 3]")]
)
def test_what_a_study_can_take_up_is_not_refused(tmp_path: Path, before: str, after: str) -> None:
    """Wider and narrower bounds are fine."""
    folder = begun(tmp_path, before)
    folder.plan_file.write_text(folder.plan_file.read_text().replace(before, after))
    assert Ledger(folder, folder.plan()).propose() is not None


def test_a_space_that_changed_is_found_when_its_study_is_opened(tmp_path: Path) -> None:
    """A newer version of the program may try other values by default."""
    folder = begun(tmp_path, "k: [1, 3]")
    with pytest.raises(PlanError, match="which its study cannot take up"):
        Ledger(
            folder, make_plan({"spaces": "tiny-image", "set": {"k": [1, 5]}, "trials": 3}, "here")
        )


@pytest.mark.parametrize(
    "words", [("resume",), ("extend", "--trials", "3"), ("replicate",)], ids=lambda words: words[0]
)
@pytest.mark.parametrize("name", ["trials/tiny-image/00000/trial.json", "state.json"])
def test_what_a_newer_version_wrote_is_refused_before_anything_starts(
    tmp_path: Path, words: tuple[str, ...], name: str
) -> None:
    """The report reads how a trial began when all the work is done, and refused it then; what the
    driver said last was read when Ray had started.
    """
    folder = begun(tmp_path, "k: [1, 3]")
    if name == "state.json":
        folder.write_state(DriverState(id="0", state="finished"))
    newer(folder.path / name)
    before = content(folder.path, {"lock"})
    done = typed(words[0], "made", *words[1:], "--runs-dir", tmp_path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"{name}: written by a newer visiontune" in done.stderr
    assert content(folder.path, {"lock"}) == before
