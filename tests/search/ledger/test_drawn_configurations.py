"""Which configurations a search tries: each of a grid once, and the same from one seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from knn_ledger import finish_all, plan, result, run_directory, states

from search.ledger.ledger import Ledger


def test_a_grid_gives_each_combination_once_also_across_a_restart(tmp_path: Path) -> None:
    """A grid that repeats or skips a point after a restart is no grid."""
    settings = {
        "metric": "euclidean,cosine",
        "size": 16,
        "resampling": "nearest",
        "centring": "false",
        "norm": "l1,l2",
        "k": "1,3",
        "vote": "uniform",
        "mirrored": "false",
    }
    grid = plan(sampler="grid", trials=100, set=settings)
    folder = run_directory(tmp_path)
    ledger = Ledger(folder, grid)
    for _ in range(2):
        proposal = ledger.propose()
        assert proposal is not None
        ledger.end(proposal.key, result(0.1))
    assert ledger.propose() is not None  # begun when the driver dies
    again = Ledger(folder, grid)
    finish_all(again)
    configs = [json.dumps(record.config, sort_keys=True) for record in folder.records()]
    assert len(configs) == len(set(configs)) == 6, (
        "cosine is blind to the norm: (2 norms + 1) x 2 k"
    )
    assert again.finished_reason == "there are no more than 6 combinations"


def test_brute_force_ends_when_each_combination_was_tried_also_across_a_restart(
    tmp_path: Path,
) -> None:
    """A combination that failed and is tried again is no other one: counted as one, another would
    never be tried.
    """
    settings = {"spaces": "toy", "sampler": "brute-force", "trials": 100, "retries": 1, "set": {
        "quality": [0.25, 0.5, 0.75], "optimiser": "adam", "rate": [0.5, 1.0], "width": 8,
    }}  # fmt: skip
    folder, values = (
        run_directory(tmp_path),
        {
            "val_loss": 0.5,
            "model_mb": 1.0,
            "latency_ms": 1.0,
            "step": 0,
            "seconds": 0.1,
            "done": True,
        },
    )
    ledger = Ledger(folder, plan(**settings))
    for nth in range(3):
        proposal = ledger.propose()
        assert proposal is not None
        ledger.end(
            proposal.key, {"failure": "boom"} if nth == 0 else {**values, "val_accuracy": 0.5}
        )
    ledger = Ledger(folder, plan(**settings))
    while (proposal := ledger.propose()) is not None:
        ledger.end(proposal.key, {**values, "val_accuracy": 0.5})
    tried = [
        json.dumps(record.config, sort_keys=True)
        for record in folder.records()
        if record.state == "COMPLETE"
    ]
    assert len(tried) == len(set(tried)) == 6
    assert ledger.finished_reason == "there are no more than 6 combinations"


def test_a_continued_random_search_draws_other_configurations(tmp_path: Path) -> None:
    """With the seed it began with, a random sampler would draw the same numbers again."""
    folder = run_directory(tmp_path)
    finish_all(Ledger(folder, plan(trials=5)))
    finish_all(Ledger(folder, plan(trials=10)))
    configs = [json.dumps(record.config, sort_keys=True) for record in folder.records()]
    assert len(set(configs)) == 10


def test_the_seed_decides_what_is_drawn(tmp_path: Path) -> None:
    """The same seed draws the same, to repeat a search; another seed draws others."""

    def drawn(name: str, **settings: Any) -> list[str]:
        (tmp_path / name).mkdir()
        folder = run_directory(tmp_path / name)
        finish_all(Ledger(folder, plan(**settings)))
        return [json.dumps(record.config, sort_keys=True) for record in folder.records()]

    first, again, other = drawn("first", seed=3), drawn("again", seed=3), drawn("other", seed=4)
    assert first == again
    assert len(set(first) | set(other)) == 10


def test_trials_are_shared_out_among_the_spaces_in_turn(tmp_path: Path) -> None:
    """One study a space, and neither space starves."""
    folder = run_directory(tmp_path)
    finish_all(Ledger(folder, plan(spaces=["tiny-image", "bag-of-sift"], trials=6)))
    assert {space: len(found) for space, found in states(folder).items()} == {
        "tiny-image": 3,
        "bag-of-sift": 3,
    }
