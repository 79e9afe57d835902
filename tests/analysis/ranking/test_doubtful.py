"""Labels that are probably wrong: found where the trials agree, and not where they are torn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from planted import clean_folder
from program import refused, typed
from samples import run_with

from analysis.ranking.doubtful import doubts
from analysis.run.records import DataFacts


def simulated(seed: int, n: int = 600, classes: int = 5, wrong: int = 18) -> tuple[set[int], float]:
    """Rows whose labels were changed, and recall and precision of what is doubted of them: by ten
    classifiers, each right four times in five, two classes being hard to tell apart.
    """
    random = np.random.default_rng(seed)
    truth = random.integers(0, classes, n)
    labels = truth.copy()
    changed = random.choice(n, wrong, replace=False)
    labels[changed] = (truth[changed] + random.integers(1, classes, wrong)) % classes
    hard = (truth < 2) & (random.random(n) < 0.1)
    shares = np.zeros((n, classes))
    for _ in range(10):
        given = np.where(random.random(n) < 0.8, truth, random.integers(0, classes, n))
        given = np.where(hard & (random.random(n) < 0.5), 1 - np.minimum(truth, 1), given)
        shares[np.arange(n), given] += 0.1
    found = {doubt.row for doubt in doubts(labels, shares)}
    return found & set(changed.tolist()), len(found & set(changed.tolist())) / max(1, len(found))


def test_changed_labels_are_found_and_hard_images_are_not_blamed() -> None:
    """A list of which most is wrong is looked through once, and never again."""
    for seed in range(5):
        found, precision = simulated(seed)
        assert len(found) >= 15
        assert precision > 0.7


def test_the_command_lists_them_with_their_files_and_pictures(tmp_path: Path) -> None:
    """Who is to look must know which file, and see it."""
    root = clean_folder(tmp_path / "data", 5, ("cat", "dog"))
    labels = [0] * 5 + [1] * 5
    agreed = [*labels]
    agreed[3] = 1
    run = run_with(
        tmp_path,
        {1: agreed, 2: agreed, 3: agreed, 4: labels},
        plan=f"dataset: folder:{root}\nvalidation: leave-one-out\n",
        labels=labels,
    )
    facts = DataFacts(
        spec=f"folder:{root}",
        classes=("cat", "dog"),
        sizes={"train": 10, "test": 10},
        fingerprint="f" * 64,
    )
    run.write_data(facts)
    words = ("check", "--run", "made", "--runs-dir", tmp_path)
    page = tmp_path / "doubts.html"
    done = typed(*words, "--json", "--out", page)
    assert done.returncode == 0, done.stderr
    ((finding,),) = (json.loads(done.stdout)["findings"],)
    assert finding["groups"] == [
        [
            {
                "split": "train",
                "class": "cat",
                "image": "train/cat/003.jpg",
                "remark": "3 of 4 trials say dog",
            }
        ]
    ]
    assert page.read_text().count("data:image/jpeg;base64,") == 1
    assert "train/cat/003.jpg (cat; 3 of 4 trials say dog)" in typed(*words).stdout


def test_too_few_trials_are_said(tmp_path: Path) -> None:
    """Two that agree may be wrong in the same way."""
    run_with(tmp_path, {1: [0] * 10, 2: [0] * 10})
    assert "predictions of 2 trials" in refused("check", "--run", "made", "--runs-dir", tmp_path)
    assert "give a SPEC of images, or --run NAME" in refused("check")
