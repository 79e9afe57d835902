"""The best trials run again with other seeds before one of them is named."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import pytest
from conftest import copied, for_reading
from one_ray import OneRay
from program import output, typed
from samples import record, run_with

from analysis.ranking.leaderboard import ranked, rows
from analysis.run.directory import RunDirectory
from analysis.run.jobs import replicated
from search.ledger.outbox import Outbox

TOY = ("run", "--space", "toy-folds", "--trials", 6, "--no-tracking", "--seed", 1)


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, one_ray: OneRay
) -> Path:
    """A runs directory with a search whose best two were run again; for reading."""
    runs = tmp_path_factory.mktemp("runs")
    done = one_ray.typed(*TOY, "--replicate", 2, "--name", "twice", "--runs-dir", runs)
    assert done.returncode == 0, done.stderr
    assert "6/6 again with other seeds" in done.stderr
    return for_reading(request, runs)


def test_the_best_are_run_again_and_go_by_their_means(runs: Path) -> None:
    """The first of many trials was lucky on its seed: what it would be on average is what its user
    gets.
    """
    best = json.loads(typed("best", "twice", "--top", 6, "--runs-dir", runs, "--json").stdout)
    again = [row["replicas"] for row in best if "replicas" in row]
    assert again == [row["replicas"] for row in best[:2]]
    # the search's own, 1, chose them and does not count
    assert [item["seeds"] for item in again] == [[2, 3, 4]] * 2
    assert again[0]["mean"] >= again[1]["mean"]
    folder = RunDirectory(runs / "twice")
    first = folder.records()[int(best[0]["number"])]
    assert again[0]["mean"] == pytest.approx(
        fmean(found["val_accuracy"] for found in first.replicas.values())
    )
    assert len({found["val_accuracy"] for found in first.replicas.values()}) > 1
    assert all(folder.replicas.steps("toy-folds", number) for number in range(6))
    told = [fact["number"] for fact, _ in Outbox(folder.outbox).read() if fact["kind"] == "replica"]
    assert sorted(told) == list(range(6)), "each is told once"


@pytest.mark.slow
def test_only_what_is_missing_is_run_again(runs: Path, tmp_path: Path, one_ray: OneRay) -> None:
    """A killed driver must not cost what was finished, nor a second wish what the first has
    done.
    """
    runs = copied(runs, tmp_path / "runs")
    folder = RunDirectory(runs / "twice").replicas
    before = {
        number: (folder.trial("toy-folds", number) / "result.json").stat().st_mtime_ns
        for number in range(6)
    }
    (folder.trial("toy-folds", 4) / "result.json").unlink()  # as a kill before its end leaves it
    (folder.trial("toy-folds", 4) / "steps.jsonl").unlink()
    done = one_ray.typed("replicate", "twice", "--top", 2, "--seeds", 4, "--runs-dir", runs)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("again with other seeds: toy-folds/") == 3
    after = {
        number: (folder.trial("toy-folds", number) / "result.json").stat().st_mtime_ns
        for number in range(8)
    }
    assert {number for number in before if before[number] != after[number]} == {4}
    best = output("best", "twice", "--runs-dir", runs)
    assert best[0]["replicas"]["seeds"] == [2, 3, 4, 5]


def test_who_was_not_run_again_comes_after_those_who_were() -> None:
    """A value of one lucky seed and a mean of three are not the same kind of figure."""
    lucky = record(9)
    solid, weaker = (
        record(
            n,
            metrics={"val_accuracy": 0.9},
            replicas={1: {"val_accuracy": v}, 2: {"val_accuracy": v}},
        )
        for n, v in ((2, 0.7), (1, 0.6))
    )
    assert ranked([lucky, weaker, solid]) == [solid, weaker, lucky]
    table = rows([lucky, weaker, solid], "val_accuracy", {})
    assert table[0]["replicas"] == {"seeds": [1, 2], "mean": pytest.approx(0.7), "spread": 0.0}
    assert "replicas" not in table[2]


def test_a_trial_counts_as_run_again_only_when_every_seed_is_done(tmp_path: Path) -> None:
    """Half of the seeds may be the better half."""
    folder = run_with(tmp_path, {1: [0] * 10, 2: [1] * 10})
    jobs = [
        {"space": "tiny-image", "trial": trial, "seed": seed} for trial in (1, 2) for seed in (1, 2)
    ]
    folder.replicas.path.mkdir()
    (folder.replicas.path / "jobs.json").write_text(json.dumps(jobs))
    for number in (0, 1, 2):
        folder.replicas.write_record(record(number, metrics={"val_accuracy": 0.5}), "", None, None)
    assert list(replicated(folder.replicas.path)) == ["tiny-image/1"]
