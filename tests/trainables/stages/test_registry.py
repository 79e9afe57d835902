"""The stage registry on a real Ray: each stage once, whoever asks, and recovery from what dies."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import stage_functions
from assigned import given
from program import SUPPORT, environment_kept

from search.cluster.start import local_cluster
from trainables.stages.cache import DiskCache
from trainables.stages.registry import ATTEMPTS, QUICK_STAGES, StageError, StageRegistry, fetch
from trainables.stages.stage import Stage, compute

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # Ray's own


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    with environment_kept():
        # so that workers find stage_functions
        os.environ["PYTHONPATH"] = os.pathsep.join([SUPPORT, str(Path(__file__).parent)])
        with local_cluster(2, print, {QUICK_STAGES: 2}) as ray:
            yield ray


@pytest.fixture
def registry(ray: Any) -> Any:
    return StageRegistry.remote(parts=3)  # type: ignore[attr-defined]


def counted(place: Path, value: int = 0, *inputs: Stage) -> Stage:
    return Stage(stage_functions.counted, {"place": str(place), "value": value}, inputs)


def runs(place: Path, value: int) -> int:
    return len(list(place.glob(f"{value}-*")))


def test_a_stage_that_many_ask_for_at_once_runs_once(
    ray: Any, registry: Any, tmp_path: Path
) -> None:
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


def test_trials_are_counted_as_sharing_if_nothing_dear_is_made_for_them(
    ray: Any, registry: Any, tmp_path: Path
) -> None:
    """The progress line says how many: a search is cheap if most of its trials share."""
    given = replace(counted(tmp_path / "n", 60), light=True)

    def trial(dear: int, quick: int) -> Stage:
        return replace(
            counted(tmp_path / "n", quick, counted(tmp_path / "n", dear, given)), quick=True
        )

    def sharing() -> int:
        return ray.get(registry.stats.remote())["shared"]

    fetch(registry, trial(61, 1))
    assert sharing() == 0  # what is light, all trials read
    fetch(registry, trial(61, 2))
    assert sharing() == 1  # another distance between the same histograms
    fetch(registry, trial(61, 2))
    assert sharing() == 2  # all of it
    fetch(registry, trial(62, 3))
    assert sharing() == 2  # another vocabulary
    ray.get(registry.prepare.remote(trial(63, 4)))
    fetch(registry, trial(63, 4))
    assert sharing() == 2  # made ahead of the trial, and for nobody else


@pytest.mark.parametrize("first", ["dear", "quick"])
def test_neither_dear_nor_quick_stages_wait_for_each_other(
    ray: Any, tmp_path: Path, first: str
) -> None:
    """A head on features that are ready takes a second; behind the features of another backbone,
    whose tasks wait for every core, it would take minutes. Nor may many heads keep features from
    being computed.
    """
    registry = StageRegistry.remote(parts=8, apart=True)  # type: ignore[attr-defined]
    numbers = Stage(stage_functions.numbers, {"count": 512})
    mark = {"place": str(tmp_path / "ran")}
    quick = first == "quick"
    many = Stage(stage_functions.waiting, mark, (numbers,), rows=512, quick=quick)
    one = Stage(stage_functions.marked, mark, (numbers,), rows=64, quick=not quick)
    fetch(registry, numbers)
    ray.get(registry.request.remote(many))
    fetch(registry, one)
    fetch(registry, many)


def test_rows_are_joined_in_order_whatever_the_parts(ray: Any, tmp_path: Path) -> None:
    """Chunks finish in any order; results must not show it."""
    numbers = Stage(stage_functions.numbers, {"count": 1000})
    for parts in (1, 3, 50):
        registry = StageRegistry.remote(parts=parts)  # type: ignore[attr-defined]
        (value,), _ = fetch(registry, Stage(stage_functions.tripled, {}, (numbers,), rows=1000))
        assert np.array_equal(value, np.arange(1000) * 3)


@pytest.mark.parametrize(
    ("first", "then", "tasks"),
    [(64, 400, 3), (64, 64, 16), (300, 5000, 1), (5000, 64, 16), (250, 200, 4)],
)
def test_no_task_is_smaller_than_it_is_worth(
    ray: Any, tmp_path: Path, first: int, then: int, tasks: int
) -> None:
    """A task has a cost of its own: where rows are quick, those of several tasks before are one,
    with the same result.
    """
    numbers = Stage(stage_functions.numbers, {"count": 1000})
    before = Stage(stage_functions.tripled, {}, (numbers,), rows=1000, grain=first)
    stage = Stage(
        stage_functions.tripled_and_counted,
        {"place": str(tmp_path / "n")},
        (before,),
        rows=1000,
        grain=then,
    )
    (value,), _ = fetch(StageRegistry.remote(parts=50), stage)  # type: ignore[attr-defined]
    assert np.array_equal(value, np.arange(1000) * 9)
    assert len(list((tmp_path / "n").iterdir())) == tasks


def test_rows_keep_their_numbers_through_tasks_of_several_sizes(ray: Any) -> None:
    """Leaving one out goes by row: a row under a wrong number would have itself as a neighbour, and
    every score would be too good.
    """
    stage = Stage(stage_functions.numbers, {"count": 1000})
    for grain in (250, 400):  # tasks of 256 rows, then of two of those each
        stage = Stage(stage_functions.tripled, {}, (stage,), rows=1000, grain=grain)
    (value,), _ = fetch(
        StageRegistry.remote(parts=50), Stage(stage_functions.row_numbers, {}, (stage,), rows=1000)
    )  # type: ignore[attr-defined]
    assert np.array_equal(value, np.arange(1000))


def test_a_stage_that_fails_names_itself_and_the_cause_and_hurts_no_other(
    registry: Any, tmp_path: Path
) -> None:
    """The trial's log must say what is wrong, and trials that do not need the stage go on."""
    place = tmp_path / "n"
    bad = Stage(stage_functions.failing, {"place": str(place)})
    for _ in range(ATTEMPTS + 2):
        with pytest.raises(
            StageError, match=r"failing\(place=.*\) failed: ValueError: word 7 is missing"
        ):
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
    assert fetch(registry, Stage(stage_functions.dying_once, {"place": str(tmp_path)}))[0][
        0
    ].tolist() == [42]


def test_a_killed_registry_starts_again_and_is_asked_again(
    ray: Any, registry: Any, tmp_path: Path
) -> None:
    """The registry is one process: the search must outlive it."""
    stage = counted(tmp_path / "n", 8)
    assert fetch(registry, stage)[0][0].tolist() == [8]
    ray.kill(registry, no_restart=False)
    assert fetch(registry, counted(tmp_path / "n", 9, stage))[0][0].tolist() == [9, 8]


def kept_on_disk(ray: Any, tmp_path: Path, value: int) -> tuple[DiskCache, Stage, Path]:
    """A stage over another, both computed once and on disk."""
    cache = DiskCache(tmp_path / "cache", 2**20)
    place = tmp_path / "n"
    stage = counted(place, value, counted(place, value - 1))
    fetch(StageRegistry.remote(3, cache), stage)  # type: ignore[attr-defined]
    assert (runs(place, value), runs(place, value - 1)) == (1, 1)
    return cache, stage, place


def test_the_next_search_reads_what_the_last_one_computed(ray: Any, tmp_path: Path) -> None:
    """A registry that died or never lived is refilled from disk, and what a kept stage needed is
    not even read.
    """
    cache, stage, place = kept_on_disk(ray, tmp_path, 12)
    registry = StageRegistry.remote(3, cache)  # type: ignore[attr-defined]
    assert fetch(registry, stage)[0][0].tolist() == [12, 11]
    assert ray.get(registry.stats.remote()) == {"computed": 0, "shared": 0, "read": 1}
    ray.kill(registry, no_restart=False)
    assert fetch(registry, stage)[0][0].tolist() == [12, 11]
    assert (runs(place, 12), runs(place, 11)) == (1, 1)


@pytest.mark.parametrize("kept", [0, -5], ids=["empty", "truncated"])
def test_a_damaged_file_is_computed_again_for_whoever_waits(
    ray: Any, tmp_path: Path, kept: int
) -> None:
    """The trial that finds the damage must get its result, not an error."""
    cache, stage, place = kept_on_disk(ray, tmp_path, 22)
    path = cache.folder / f"{stage.digest}.safetensors"
    path.write_bytes(path.read_bytes()[:kept])
    registry = StageRegistry.remote(3, cache)  # type: ignore[attr-defined]
    assert fetch(registry, counted(place, 23, stage))[0][0].tolist() == [23, 43]
    assert (runs(place, 22), runs(place, 21)) == (2, 1)
    np.testing.assert_array_equal(cache.read(stage), [22, 21])


def test_a_trial_that_is_gone_takes_no_result_with_it(
    ray: Any, registry: Any, tmp_path: Path
) -> None:
    """A reference made by a trial would die with it; the registry owns them all."""

    @ray.remote(num_cpus=0.01)
    class Trial:
        def ask(self, stage: Stage) -> Any:
            return fetch(registry, stage)[0][0]

    stage = counted(tmp_path / "n", 31)
    trial = Trial.remote()
    ray.get(trial.ask.remote(stage))
    ray.kill(trial)
    assert fetch(registry, stage)[0][0].tolist() == [31]
    assert runs(tmp_path / "n", 31) == 1


def test_a_trial_in_a_small_placement_group_gets_its_stages(
    ray: Any, registry: Any, tmp_path: Path
) -> None:
    """Tune puts each trial in a group of 0.01 CPU: a stage asked for from there must not be
    confined to it.
    """
    from ray.util.placement_group import placement_group, remove_placement_group
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    @ray.remote
    def ask(stage: Stage) -> Any:
        return fetch(registry, stage)[0][0]

    group = placement_group([{"CPU": 0.01}])
    ray.get(group.ready())
    inside = PlacementGroupSchedulingStrategy(group, placement_group_capture_child_tasks=True)
    stage = counted(tmp_path / "n", 41)
    assert ray.get(
        ask.options(num_cpus=0.01, scheduling_strategy=inside).remote(stage)
    ).tolist() == [41]
    remove_placement_group(group)
    assert fetch(registry, stage)[0][0].tolist() == [41]
    assert runs(tmp_path / "n", 41) == 1


def test_parts_are_handed_on_and_large_ones_let_go(ray: Any, tmp_path: Path) -> None:
    """Descriptors of gigabytes must neither be joined to be used nor stay for ever; the answer is
    the same, in any parts.
    """
    numbers = Stage(stage_functions.numbers, {"count": 1000})
    tripled = Stage(stage_functions.tripled, {}, (numbers,), rows=1000, large=2 * 2**30)
    ninefold = Stage(stage_functions.tripled, {}, (tripled,), rows=1000)
    for parts in (1, 3, 50):
        registry = StageRegistry.remote(parts)  # type: ignore[attr-defined]
        assert np.array_equal(fetch(registry, ninefold)[0][0], np.arange(1000) * 9)
        again = Stage(stage_functions.tripled, {}, (numbers,), rows=1000, large=2 * 2**30 + 1)
        assert np.array_equal(fetch(registry, again, tripled)[0][1], np.arange(1000) * 3)
    assert np.array_equal(compute(ninefold, workers=1), np.arange(1000) * 9)


def test_one_failure_fails_those_that_need_it_and_names_itself_once(
    registry: Any, tmp_path: Path
) -> None:
    """The cause lies in one stage: its name and reason belong in the message, once, whichever stage
    was asked for.
    """
    bad = Stage(stage_functions.failing, {"place": str(tmp_path / "n")})
    with pytest.raises(StageError) as caught:
        fetch(registry, counted(tmp_path / "n", 51, counted(tmp_path / "n", 50, bad)))
    assert str(caught.value).count("word 7 is missing") == 1
    assert str(caught.value).startswith("failing(place=")
    assert fetch(registry, counted(tmp_path / "n", 52))[0][0].tolist() == [52]


def test_a_reused_actor_leaks_nothing_from_one_trial_to_the_next(ray: Any, registry: Any) -> None:
    """Trials A, B, A on one actor: both A give the same bits, and B is not A."""
    from trainables.data import ReadOptions, read_dataset
    from trainables.data.source import data_source
    from trainables.data.validation import Validation
    from trainables.learners import Shared
    from trainables.stages.registry import NAMESPACE
    from trainables.worker import SearchTrial

    source = data_source(read_dataset("digits"), ReadOptions())
    named = StageRegistry.options(name="aba", namespace=NAMESPACE).remote(parts=2)  # type: ignore[attr-defined]
    config = {
        "metric": "cityblock",
        "size": 8,
        "resampling": "box",
        "centring": False,
        "norm": "l1",
        "k": 3,
        "vote": "distance",
    }
    shared = Shared(seed=0, registry="aba", data=source, validation=Validation("leave-one-out"))
    trial = SearchTrial(given("tiny-image", config, shared=shared))
    results = []
    for metric in ("cityblock", "cosine", "cityblock"):
        assert trial.reset_config(
            given(
                "tiny-image",
                {**config, "metric": metric, "norm": "none" if metric == "cosine" else "l1"},
                shared=shared,
            )
        )
        results.append(trial.step())
    first, other, again = results
    assert np.array_equal(first["predictions"], again["predictions"])
    assert first["accuracy_by_k"] == again["accuracy_by_k"]
    assert not np.array_equal(first["predictions"], other["predictions"])
    assert "cosine" not in again["log"]
    assert ray.get(named.stats.remote())["shared"] == 2
