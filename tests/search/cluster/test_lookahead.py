"""What makes shared work ahead of the trials that will ask for it."""

from __future__ import annotations

from pathlib import Path

from one_ray import OneRay

from search.cluster.stages_ahead import Lookahead


def test_work_is_started_so_many_kinds_ahead_and_each_once() -> None:
    """Too late leaves cores waiting; too early fills the memory with what is not needed for
    long.
    """
    configs = [{"work": work, "k": k} for work in "abcde" for k in (1, 2, 3)]
    started: list[str] = []
    ahead = Lookahead(
        iter(configs),
        lambda config: config["work"],
        lambda config: started.append(config["work"]),
        depth=2,
    )
    seen = []
    for config in configs:
        ahead.reached(config)
        seen.append("".join(started))
    assert seen[0] == "abc"
    assert seen[2] == "abc", "a config of the same work changes nothing"
    assert seen[3] == "abcd"
    assert seen[-1] == "abcde"


def test_the_first_works_can_begin_before_anybody_asks() -> None:
    """The first trials need seconds to start, and cores would wait with them."""
    configs = [{"work": work} for work in "abcd"]
    started: list[str] = []
    ahead = Lookahead(
        iter(configs),
        lambda config: config["work"],
        lambda config: started.append(config["work"]),
        depth=2,
    )
    ahead.begin()
    assert started == ["a", "b", "c"]
    for config in configs:
        ahead.reached(config)
    assert started == ["a", "b", "c", "d"]


def test_a_config_that_nobody_foresaw_changes_nothing() -> None:
    """One that a user enqueued comes between those of the grid."""
    started: list[str] = []
    ahead = Lookahead(
        iter([{"work": work} for work in "abc"]),
        lambda config: config["work"],
        lambda config: started.append(config["work"]),
        depth=1,
    )
    for work in "axb":
        ahead.reached({"work": work})
    assert started == ["a", "b", "c"]


def test_a_grid_computes_no_stage_that_its_trials_do_not_need(
    tmp_path: Path, one_ray: OneRay
) -> None:
    """Looking ahead must share with the trials, not work beside them."""
    plan = (
        "run",
        "--space",
        "tiny-image",
        "--dataset",
        "digits",
        "--trials",
        12,
        "--sampler",
        "grid",
        "--no-tracking",
        "--name",
        "grid",
    )
    fixed = (
        "size=8 resampling=box norm=l2 centring=false mirrored=false vote=uniform "
        "metric=euclidean,cityblock k=1..6"
    )
    settings = [part for setting in fixed.split() for part in ("--set", setting)]
    assert one_ray.output(*plan, *settings, "--runs-dir", tmp_path)["trials"]["COMPLETE"] == 12
    notes = [path.read_text() for path in (tmp_path / ".cache" / "stages").glob("*.json")]
    assert sum("nearest_neighbours" in note for note in notes) == 2, "one for each metric"
