"""A search of which no space is named: which are searched, and why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import MakeFolder
from one_ray import OneRay
from program import Driver, output, refused, typed

from analysis.run.directory import RunDirectory
from search.driver.fitting import Look, Machine, fitting, look

LAPTOP = Machine(cores=2, gpus=0, seen=0.05, trained=0.0025)
LARGE = Machine(cores=2, gpus=0, seen=0.05, trained=0.7)
"""The same, of networks that see photographs."""
PHOTOGRAPHS = Look(train=1500, images=1500, classes=15, shorter=256)
SMALL = Look(train=1437, images=1437, classes=10, shorter=32)


@pytest.mark.parametrize(
    ("images", "machine", "seconds", "spaces", "epochs"),
    [
        (PHOTOGRAPHS, LARGE, 900, ["tiny-image", "embedding", "bag-of-sift"], 0),
        (SMALL, LAPTOP, 900, ["tiny-image", "embedding", "cnn"], 0),
        (SMALL, LAPTOP, 60, ["tiny-image", "cnn"], 4),
        (SMALL, Machine(2, 0, 0.0, 0.0025), 900, ["tiny-image", "cnn"], 0),
        (PHOTOGRAPHS, Machine(16, 1, 0.05, 0.7), 900,
         ["tiny-image", "embedding", "bag-of-sift", "cnn"], 0),
    ],
)  # fmt: skip
def test_the_spaces_fit_images_machine_and_time(
    images: Look, machine: Machine, seconds: float, spaces: list[str], epochs: int
) -> None:
    """Networks cannot be trained on photographs in minutes without a GPU, digits have no
    descriptors, and without weights nothing is embedded: a search of those would find nothing.
    """
    found, why, fewer = fitting(images, machine, seconds)
    assert (found, fewer) == (spaces, epochs)
    assert all(name in why for name in ("tiny-image", "bag-of-sift", "embedding", "cnn")), why


def test_an_epoch_number_of_the_users_own_is_kept() -> None:
    """Whoever asks for thirty epochs must not be given five."""
    assert fitting(SMALL, LAPTOP, 60, epochs=30)[0] == ["tiny-image"]
    spaces, _, fewer = fitting(SMALL, LAPTOP, 60, epochs=3)
    assert (spaces, fewer) == (["tiny-image", "cnn"], 0)


@pytest.mark.parametrize(
    ("words", "searched"),
    [
        (("--validation", "leave-one-out"), "tiny-image,"),
        (("--pruner", "hyperband"), "cnn,"),
        (("--objective", "val_loss"), "cnn,"),
    ],
)
def test_a_space_that_does_not_go_with_what_else_is_asked_is_left_out(
    words: tuple[str, ...], searched: str
) -> None:
    """Whoever names no space cannot know which of them refuses a pruner or a validation."""
    asked = ("run", "--dataset", "digits", "--minutes", 600, "--epochs", 4, *words, "--dry-run")
    done = typed(*asked)
    assert done.returncode == 0, done.stderr
    assert f"searching {searched}" in done.stderr.replace(" which", "")


def test_where_none_is_left_why_is_one_line() -> None:
    """Nothing is read or measured for a search that cannot be."""
    words = ("run", "--dataset", "digits", "--minutes", 1, "--pruner", "wilcoxon", "--dry-run")
    assert "pruner wilcoxon judges" in refused(*words)


def pictures(root: Path, make_folder: MakeFolder, train: int) -> str:
    """SPEC of ``train`` large pictures of each of two classes, three to select with and two to test
    with.
    """
    splits = {
        name: dict.fromkeys("ab", n) for name, n in (("train", train), ("val", 3), ("test", 2))
    }
    return f"folder:{make_folder(root, splits, side=100)}"


def test_a_look_counts_what_a_search_sees(tmp_path: Path, make_folder: MakeFolder) -> None:
    """Test images cost a search nothing, and sizes are those of the pictures."""
    seen = look(pictures(tmp_path, make_folder, 4), False)
    assert seen == Look(train=8, images=14, classes=2, shorter=100)
    assert look("digits", False) == Look(train=1437, images=1437, classes=10, shorter=32)


@pytest.mark.parametrize(
    "words",
    [("--dataset", "digits"), ("--minutes", 1), ("--dataset", "digits", "--limit", "target=0.9")],
)
def test_without_time_or_images_a_space_must_be_named(words: tuple[object, ...]) -> None:
    """What fits is decided by images and time: without them it would be a guess."""
    assert "--minutes N: then the spaces that fit are searched" in refused("run", *words)


def test_a_dry_run_says_which_spaces_fit(tmp_path: Path, make_folder: MakeFolder) -> None:
    """Before a quarter of an hour is spent one wants to see on what; seconds alone end the search,
    not the usual number of trials.
    """
    folder = pictures(tmp_path, make_folder, 12)
    done = typed("run", "--dataset", folder, "--limit", "seconds=120", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "searching tiny-image" in done.stderr
    assert "10,000 trials; 20 configurations" in done.stdout
    assert {"tiny-image"} < set(re.findall(r"space=(\S+)", done.stdout))


def test_a_search_of_several_spaces_survives_a_kill(tmp_path: Path, one_ray: OneRay) -> None:
    """Time moves between spaces in one run, which any command reads, and resume goes on with the
    time that is left.
    """
    words = ("--space", "toy,toy-folds", "--shares", "moving", "--minutes", 0.3, "--no-tracking")
    words = (*words, "--set", "pause=0.05", "--set", "steps=4", "--concurrency", 2)
    driver = Driver(
        "run", *words, "--name", "both", "--runs-dir", tmp_path, log=tmp_path / "driver.log"
    )
    driver.wait_for_trials(tmp_path / "both", 4)
    driver.kill_all()
    before = {record.key for record in RunDirectory(tmp_path / "both").records()}
    done = one_ray.output("resume", "both", "--runs-dir", tmp_path)
    assert done["state"] == "finished"
    assert "time limit of 18 s" in done["reason"]
    status = output("status", "both", "--runs-dir", tmp_path)
    assert set(status["spaces"]) == {"toy", "toy-folds"}
    assert before < {record.key for record in RunDirectory(tmp_path / "both").records()}
    ended = sum(status["trials"][state] for state in ("COMPLETE", "PRUNED", "FAIL"))
    assert sum(part["trials"] for part in status["spaces"].values()) == ended
    page = (tmp_path / "both" / "report" / "report.html").read_text()
    assert re.search(r"<p>toy: \d+ trials in \d+ s, best 0\.\d{4}; toy-folds: \d+ trials in", page)
