"""The stage registry on a real Ray: each stage once, whoever asks, and recovery from what dies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stage_functions

from search.cluster import local_cluster
from trainables.stage_registry import ATTEMPTS, StageError, StageRegistry, fetch
from trainables.stages import Stage

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # Ray's own


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(__file__).parent)  # so that workers find stage_functions
    try:
        with local_cluster(2) as ray:
            yield ray
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


@pytest.fixture
def registry(ray: Any) -> Any:
    return StageRegistry.remote(parts=3)  # type: ignore[attr-defined]


def counted(place: Path, value: int = 0, *inputs: Stage) -> Stage:
    return Stage(stage_functions.counted, {"place": str(place), "value": value}, inputs)


def runs(place: Path, value: int) -> int:
    return len(list(place.glob(f"{value}-*")))


def test_a_stage_that_many_ask_for_at_once_runs_once(ray: Any, registry: Any, tmp_path: Path) -> None:
    """Sharing is what makes a thousand configurations affordable."""
    upstream = counted(tmp_path / "n", 1)
    asked = [
        counted(tmp_path / "n", 2, upstream),
        counted(tmp_path / "n", 2, counted(tmp_path / "n", 1)),
        counted(tmp_path / "n", 3, upstream),
    ]

    @ray.remote(num_cpus=0.01)
    def ask(stage: Stage) -> Any:
        return fetch(registry, stage)[0][0]

    answers = ray.get([ask.remote(stage) for stage in asked * 4])
    assert [answer.tolist() for answer in answers[:3]] == [[2, 1], [2, 1], [3, 1]]
    assert [runs(tmp_path / "n", value) for value in (1, 2, 3)] == [1, 1, 1]
    assert ray.get(registry.stats.remote())["computed"] == 3


def test_rows_are_joined_in_order_whatever_the_parts(ray: Any, tmp_path: Path) -> None:
    """Chunks finish in any order; results must not show it."""
    numbers = Stage(stage_functions.numbers, {"count": 1000})
    for parts in (1, 3, 50):
        registry = StageRegistry.remote(parts=parts)  # type: ignore[attr-defined]
        (value,), _ = fetch(registry, Stage(stage_functions.tripled, {}, (numbers,), rows=1000))
        assert np.array_equal(value, np.arange(1000) * 3)


def test_a_stage_that_fails_names_itself_and_the_cause_and_hurts_no_other(registry: Any, tmp_path: Path) -> None:
    """The trial's log must say what is wrong, and trials that do not need the stage go on."""
    place = tmp_path / "n"
    bad = Stage(stage_functions.failing, {"place": str(place)})
    for _ in range(ATTEMPTS + 2):
        with pytest.raises(StageError, match=r"failing\(place=.*\) failed: ValueError: word 7 is missing"):
            fetch(registry, bad)
    assert runs(place, 0) <= ATTEMPTS, "what fails every time is not tried for ever"
    with pytest.raises(StageError, match="word 7"):
        fetch(registry, counted(place, 5, bad))
    assert fetch(registry, counted(place, 6))[0][0].tolist() == [6]


def test_a_failure_that_passes_is_not_remembered(registry: Any, tmp_path: Path) -> None:
    """A passing shortage of memory must not condemn every later trial."""
    stage = Stage(stage_functions.out_of_memory_once, {"place": str(tmp_path)})
    with pytest.raises(StageError, match="MemoryError"):
        fetch(registry, stage)
    assert fetch(registry, stage)[0][0].tolist() == [43]


def test_a_killed_stage_worker_is_replaced(registry: Any, tmp_path: Path) -> None:
    """A worker that the kernel kills takes nothing with it."""
    assert fetch(registry, Stage(stage_functions.dying_once, {"place": str(tmp_path)}))[0][0].tolist() == [42]


def test_a_killed_registry_starts_again_and_is_asked_again(ray: Any, registry: Any, tmp_path: Path) -> None:
    """The registry is one process: the search must outlive it."""
    stage = counted(tmp_path / "n", 8)
    assert fetch(registry, stage)[0][0].tolist() == [8]
    ray.kill(registry, no_restart=False)
    assert fetch(registry, counted(tmp_path / "n", 9, stage))[0][0].tolist() == [9, 8]


def test_a_reused_actor_leaks_nothing_from_one_trial_to_the_next(ray: Any, registry: Any) -> None:
    """Trials A, B, A on one actor: both A give the same bits, and B is not A."""
    from trainables.data import ReadOptions, read_dataset
    from trainables.knn.pipeline import Validation, data_source
    from trainables.stage_registry import NAMESPACE
    from trainables.tune import KnnTrial

    source = data_source(read_dataset("digits"), ReadOptions())
    named = StageRegistry.options(name="aba", namespace=NAMESPACE).remote(parts=2)  # type: ignore[attr-defined]
    config = {"metric": "cityblock", "size": 8, "resampling": "box", "centring": False, "norm": "l1", "k": 3, "vote": "distance"}
    shared = {"registry": "aba", "data": source, "validation": Validation("leave-one-out"), "seed": 0, "space": "tiny-image", "number": 0}
    trial = KnnTrial({**shared, "config": config})
    results = []
    for metric in ("cityblock", "cosine", "cityblock"):
        assert trial.reset_config({**shared, "config": {**config, "metric": metric, "norm": "none" if metric == "cosine" else "l1"}})
        results.append(trial.step())
    first, other, again = results
    assert np.array_equal(first["predictions"], again["predictions"])
    assert first["accuracy_by_k"] == again["accuracy_by_k"]
    assert not np.array_equal(first["predictions"], other["predictions"])
    assert "cosine" not in again["log"]
    assert ray.get(named.stats.remote())["shared"] > 0
