"""Populations in whole searches: killed and gone on with, shown, run again, exported."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import fading
import pytest
from conftest import for_reading
from program import Driver, output, refused, typed, visiontune

from analysis.ranking.leaderboard import ranked
from analysis.run.directory import RunDirectory
from search.ledger.outbox import Outbox
from search.sampling.population import MEMBER, PARENT
from search.study.storage import read_trials

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # Ray's own
TOY = ("run", "--space", "toy", "--population", "pbt,members=4,interval=2", "--seed", 3)


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs directory with a population that was killed in its second generation and gone on
    with; for reading.
    """
    folder = tmp_path_factory.mktemp("runs")
    words = (*TOY, "--set", "pause=0.2", "--concurrency", 2, "--name", "p", "--runs-dir", folder)
    driver = Driver(*words, "--no-tracking", log=folder / "log")
    driver.wait_for_trials(folder / "p", 6)
    driver.kill_all()
    done = visiontune("resume", "p", "--runs-dir", folder)
    assert done.returncode == 0, done.stderr
    return for_reading(request, folder)


def test_a_population_that_was_killed_has_as_many_generations_and_nobody_twice(runs: Path) -> None:
    """A kill costs no member, and doubles none: its trials are those of a search that was not
    killed.
    """
    folder = RunDirectory(runs / "p")
    records = folder.records()
    assert Counter((record.state, record.steps) for record in records) == {
        ("COMPLETE", until): 4 for until in (2, 4, 6, 8)
    }
    trials = read_trials(folder)["toy"]
    members = Counter(tuple(t.user_attrs.get(MEMBER, (0, t.number))) for t in trials)
    assert members == {(generation, member): 1 for generation in range(4) for member in range(4)}
    for record in records:
        steps = [row["step"] for row in folder.steps("toy", record.number)]
        assert steps == list(range(record.steps - 2, record.steps)), record.key
        assert trials[record.number].user_attrs.get(PARENT) == record.parent
    assert not list((runs / "p" / "trials").glob("*/*/end")), "nobody goes on from them any more"
    told = {f["number"]: f.get("parent") for f, _ in Outbox(folder.outbox).read() if "number" in f}
    assert told == {record.number: record.parent for record in records}


def test_what_changed_is_shown(runs: Path) -> None:
    """A winner is its whole schedule: where it came from and with which values, in every view."""
    winner = ranked(RunDirectory(runs / "p").records())[0]
    assert winner.parent is not None
    way = output("status", "p", "--trial", winner.key, "--runs-dir", runs)["schedule"]
    assert [(one["first"], one["until"]) for one in way] == [(1, 2), (3, 4), (5, 6), (7, 8)]
    shown = typed("status", "p", "--trial", winner.key, "--runs-dir", runs).stdout
    assert f"epochs 7 to 8, {winner.key}" in shown
    assert f"epochs 7 to 8, {winner.key}" in typed("best", "p", "--runs-dir", runs).stdout
    report = runs / "p" / "report"
    (first, *_) = json.loads((report / "leaderboard.json").read_text())
    assert first["parent"] == f"toy/{winner.parent}"
    assert ",parent," in (report / "leaderboard.csv").read_text().splitlines()[0]
    page = (report / "report.html").read_text()
    assert "Schedule of the best trial" in page
    assert (report / "schedule.png").stat().st_size > 1000


def test_a_population_is_not_made_longer(runs: Path) -> None:
    """Its learning rate was laid over so many epochs: more members of the last generation would
    mean nothing, and why is said in one line.
    """
    assert "how long a population goes on" in refused(
        "extend", "p", "--trials", 4, "--runs-dir", runs
    )


@pytest.mark.parametrize("words", [("retry", "p"), ("enqueue", "p", "--set", "quality=0.5")])
def test_what_no_driver_would_take_up_is_refused_when_it_is_asked(
    runs: Path, words: tuple[str, ...]
) -> None:
    """A request that is put aside hours later, by a driver whose log nobody reads, is a promise
    that was not kept.
    """
    said = refused(*words, "--runs-dir", runs)
    assert "run p is a population: in a population a trial goes on from another" in said
    assert not list((runs / "p" / "requests").glob("*"))


@pytest.mark.slow
def test_a_winner_of_networks_is_run_again_exported_and_refitted(tmp_path: Path) -> None:
    """Trained from scratch with the values of each epoch it comes to what it came to; its weights
    are those of the search.
    """
    images = fading.write(tmp_path / "images.npz")
    pairs = zip(fading.words()[::2], fading.words()[1::2], strict=True)
    free = ("learning_rate", "momentum")
    words = [part for pair in pairs if not pair[1].startswith(free) for part in pair]
    run = ("run", "--space", "cnn", "--dataset", images, "--population", "pb2,members=3,interval=1")
    more = ("--epochs", 3, "--no-tracking", "--name", "n", "--runs-dir", tmp_path, "--seed", 5)
    done = visiontune(*run, *words, *more, "--replicate", 1, "--concurrency", 2)
    assert done.returncode == 0, done.stderr
    folder = RunDirectory(tmp_path / "n")
    records = folder.records()
    assert Counter(record.steps for record in records) == {1: 3, 2: 3, 3: 3}
    again = next(record for record in records if record.replicas)
    assert [row["step"] for row in folder.replicas.steps("cnn", 0)] == list(range(again.steps))
    chosen = next(record for record in records if record.steps == 3)
    for name, option in (("plain", ()), ("refit", ("--refit",))):
        out = tmp_path / name
        words = ["export", "n", "--trial", chosen.key, "--out", str(out), *option]
        made = visiontune(*words, "--runs-dir", tmp_path)
        if name == "plain" and "kept of the best trials alone" in made.stderr:
            continue
        assert made.returncode == 0, made.stderr
        facts = json.loads((out / "bundle.json").read_text())
        assert [row["step"] for row in facts["history"]] == [0, 1, 2]
