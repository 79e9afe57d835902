"""What the winner of a search is worth on new images."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from program import typed
from samples import record

from analysis.ranking.corrected import Corrected, _linear, corrected
from analysis.ranking.leaderboard import ranked
from analysis.run.directory import RunDirectory
from analysis.run.jobs import Job, write_jobs
from analysis.run.records import DataFacts, DriverState
from trainables.data.scores import score


def run_of(
    folder: Path,
    labels: np.ndarray,
    given: dict[int, np.ndarray | None],
    plan: str = "",
    notes: tuple[str, ...] = (),
    **metrics: dict[int, float],
) -> RunDirectory:
    """A run whose trials said this of the images; ``metrics`` are further ones, by trial."""
    run = RunDirectory(folder / "made")
    run.path.mkdir()
    run.write_state(DriverState(id="0", state="finished"))
    facts = {"spec": "folder:/x", "classes": ("a", "b", "c"), "fingerprint": "f" * 64}
    run.write_data(DataFacts(**facts, sizes={"train": len(labels)}, notes=notes))
    run.write_validation_labels(labels)
    run.plan_file.write_text(f"spaces: [tiny-image]\n{plan}")
    for number, answers in given.items():
        found = {} if answers is None else scores_of(labels, answers)
        found |= {name: by_trial[number] for name, by_trial in metrics.items()}
        kept = None if answers is None else answers.astype(np.uint16)
        run.write_record(record(number, metrics=found), "", None, kept)
    return run


def scores_of(labels: np.ndarray, answers: np.ndarray) -> dict[str, float]:
    found = score(labels, answers, 3)
    return {
        "val_accuracy": found.accuracy,
        "balanced_accuracy": found.balanced_accuracy,
        "macro_f1": found.macro_f1,
    }


def worth(run: RunDirectory, objective: str = "val_accuracy") -> Corrected:
    found = corrected(run, ranked(run.records(), objective), objective)
    assert isinstance(found, Corrected), found
    return found


def guesses(labels: np.ndarray, right: float, seed: int) -> np.ndarray:
    """Answers of which each is right by chance alone, with probability ``right``."""
    drawn = np.random.default_rng(seed)
    wrong = (labels + drawn.integers(1, 3, len(labels))) % 3
    return np.where(drawn.random(len(labels)) < right, labels, wrong)


def test_the_best_of_many_equals_is_worth_what_each_of_them_is(tmp_path: Path) -> None:
    """A hundred trials that are right by chance with 0.5 have a lucky best, and no better one."""
    labels = np.random.default_rng(9).integers(0, 3, 300)
    run = run_of(tmp_path, labels, {n: guesses(labels, 0.5, n) for n in range(100)})
    found = worth(run)
    assert found.raw > 0.55, "it was lucky"
    assert abs(found.estimate - 0.5) < 0.02
    assert found.low < 0.5 < found.high < found.raw + 0.05
    assert (found.trials, found.images, found.metric) == (100, 300, "val_accuracy")


def test_one_trial_was_not_chosen_and_needs_no_correction(tmp_path: Path) -> None:
    """Where there was no choice, nobody was lucky by it."""
    labels = np.arange(300) % 3
    found = worth(run_of(tmp_path, labels, {0: guesses(labels, 0.8, 1)}))
    assert found.estimate == pytest.approx(found.raw, abs=0.003)


def test_a_trial_is_chosen_by_the_objective(tmp_path: Path) -> None:
    """The search takes the best balanced accuracy, so that is what luck was had with; the best
    accuracy is another trial's, of which nothing is asked.
    """
    labels = np.array([0] * 280 + [1] * 10 + [2] * 10)
    always = np.zeros(300, np.int64)
    fair = guesses(labels, 0.7, 3)
    run = run_of(tmp_path, labels, {0: always, 1: fair}, "objective: balanced_accuracy\n")
    for objective, own in (("balanced_accuracy", fair), ("val_accuracy", always)):
        found = worth(run, objective)
        assert found.raw == scores_of(labels, own)[objective]
        assert found.estimate == pytest.approx(found.raw, abs=0.02), objective
    found = worth(run, "macro_f1")
    assert found.metric == "macro_f1"
    assert found.estimate == pytest.approx(found.raw, abs=0.05)


def test_what_no_image_has_a_say_in_makes_nobody_lucky_on_them(tmp_path: Path) -> None:
    """The smallest model is the smallest whatever images are drawn: its accuracy is its own."""
    labels = np.arange(300) % 3
    given = {n: guesses(labels, 0.5, n) for n in range(30)}
    run = run_of(tmp_path, labels, given, model_mb={n: 1.0 + n for n in given})
    found = worth(run, "model_mb")
    assert found.metric == "val_accuracy"
    assert found.raw == scores_of(labels, given[0])["val_accuracy"]
    assert found.estimate == pytest.approx(found.raw, abs=0.003)


def test_other_seeds_choose_and_judge_where_there_are_any(tmp_path: Path) -> None:
    """A trial that was lucky with its own seed stands by what it did with others."""
    labels = np.arange(300) % 3
    run = run_of(tmp_path, labels, {0: labels.copy(), 1: guesses(labels, 0.9, 1)})
    run.replicas.path.mkdir()
    jobs = [Job("tiny-image", 0, 1), Job("tiny-image", 0, 2)]
    again = [guesses(labels, 0.6, 11), guesses(labels, 0.7, 12)]
    for number, answers in enumerate(again):
        run.replicas.write_record(
            record(number, metrics=scores_of(labels, answers)), "", None, answers.astype(np.uint16)
        )
    write_jobs(run.replicas.path, jobs)
    found = worth(run)
    own = float(np.mean([np.mean(answers == labels) for answers in again]))
    assert (found.raw, found.trials) == (pytest.approx(own), 1)
    assert found.estimate == pytest.approx(own, abs=0.003)


def test_a_run_of_which_only_the_best_were_kept_says_so(tmp_path: Path) -> None:
    """Versions before kept the predictions of the ten best: that those are all good is what the
    luck of the draw made of a hundred, and no estimate comes of them.
    """
    labels = np.arange(300) % 3
    given = {n: guesses(labels, 0.5, n) for n in range(60)}
    best = sorted(given, key=lambda n: -np.mean(given[n] == labels))[:10]
    kept = {n: answers if n in best else None for n, answers in given.items()}
    accuracy = {n: float(np.mean(answers == labels)) for n, answers in given.items()}
    run = run_of(tmp_path, labels, kept, val_accuracy=accuracy)
    why = corrected(run, ranked(run.records()), "val_accuracy")
    assert isinstance(why, str)
    assert "trials were not kept, as older versions kept those of the best alone" in why
    shown = typed("best", "made", "--runs-dir", tmp_path).stdout
    assert shown.startswith("on new images: not known, as the predictions of ")
    assert "visiontune export" in shown.splitlines()[0]
    row = json.loads(typed("best", "made", "--runs-dir", tmp_path, "--json").stdout)[0]
    assert row["corrected"] is None
    assert row["not_corrected"] == why


def test_a_trial_that_could_never_win_may_lack_its_predictions(tmp_path: Path) -> None:
    """One lost file of a hopeless trial takes no estimate away."""
    labels = np.arange(300) % 3
    given: dict[int, Any] = {0: guesses(labels, 0.8, 0), 1: guesses(labels, 0.79, 1), 2: None}
    right = {n: 0.2 if one is None else float(np.mean(one == labels)) for n, one in given.items()}
    assert worth(run_of(tmp_path, labels, given, val_accuracy=right)).trials == 3


def test_the_corrected_figure_stands_first(tmp_path: Path) -> None:
    """In what best and the report say, and with what was found of copies, which flatter it too."""
    labels = np.arange(300) % 3
    copies = (
        "warning: 7 validation images are also training images, nearly, so that what is chosen is "
        "flattered"
    )
    others = ("read as 8 bits", "warning: 1 test image is also a training image, byte for byte")
    given = {n: guesses(labels, 0.5, n) for n in range(30)}
    run = run_of(tmp_path, labels, given, notes=(copies, *others))
    found = worth(run)
    assert found.copies == (copies,)
    first, second = typed("best", "made", "--runs-dir", tmp_path).stdout.splitlines()[:2]
    assert first == (
        f"on new images: val_accuracy {found.estimate:.4f} ({found.low:.4f} to {found.high:.4f}, "
        f"95 %), corrected for the choice among 30 trials; {found.raw:.4f} on the 300 images that "
        "chose it"
    )
    assert second == f"     but {copies}"
    row = json.loads(typed("best", "made", "--runs-dir", tmp_path, "--json").stdout)[0]
    assert row["corrected"] == json.loads(found.model_dump_json())
    typed("report", "made", "--runs-dir", tmp_path)
    page = (run.report / "report.html").read_text()
    strong = page[page.index("<strong>") :]
    assert strong.startswith(
        f"<strong>{found.estimate:.4f}</strong> val_accuracy is to be expected"
    )
    assert f"But {copies}." in page


def test_a_thousand_trials_take_well_under_a_second() -> None:
    """Processor seconds of the draws, on a machine that others use too: image by image, or trial by
    trial, they would be minutes.
    """
    labels = np.random.default_rng(0).integers(0, 3, 1500)
    given = [[guesses(labels, 0.7, n)] for n in range(1000)]
    began = time.process_time()
    chosen, _ = _linear(labels, given, "val_accuracy")
    assert len(chosen) == 1000
    assert time.process_time() - began < 4
