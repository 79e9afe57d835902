"""Searches replayed on recorded tables: the arithmetic of virtual time, on tables made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks.search import methods, ours, pipelines, tables
from benchmarks.search.__main__ import interval, ratio
from benchmarks.search.grids import BAGS, EPOCHS, NETWORKS, Grid
from benchmarks.search.tables import Table, record, table_of, there
from benchmarks.search.tape import DRAWN, EndedError, Search, Tape, drawn, goal
from spaces import plugins


def quality(grid: Grid, config: dict[str, Any]) -> float:
    """Made up: the nearer to the end of each list, the better."""
    places = [grid.varied[name].index(config[name]) for name in grid.varied
              if config[name] in grid.varied[name]]  # fmt: skip
    return round(sum(places) / 40, 4)


@pytest.fixture(scope="module")
def networks() -> Table:
    configs = [NETWORKS.space.check(point) for point in NETWORKS.space.grid()]
    lines = [
        {
            "config": {name: config[name] for name in NETWORKS.varied},
            "accuracy": [quality(NETWORKS, config) * (n + 1) / EPOCHS for n in range(EPOCHS)],
            "seconds": [1.0] * EPOCHS,
        }
        for config in configs
    ]
    return table_of(NETWORKS, lines)


@pytest.fixture(scope="module")
def bags() -> Table:
    """Descriptors cost 100 s, words 10 s, what follows 1 s, and a vote 0.01 s."""
    lines = []
    for point in BAGS.space.grid():
        config = BAGS.space.check(point)
        until = [json.dumps([config[n] for part in BAGS.chain[:end] for n in part])
                 for end in (1, 2, 3)]  # fmt: skip
        names = ("dense_descriptors", "word_counts", "nearest_neighbours")
        stages = {key: (name, took) for key, name, took in zip(until, names, (100, 10, 1),
                                                               strict=True)}  # fmt: skip
        row = [BAGS.key(config), quality(BAGS, config), 0.01, until]
        lines.append({"prefix": {}, "stages": stages, "configs": [row]})
    return table_of(BAGS, lines)


def test_a_stage_costs_the_first_trial_that_needs_it_alone(bags: Table) -> None:
    """What is compared is who buys the dear stages when: each second must be paid once."""
    config = BAGS.space.check(next(BAGS.space.grid()))
    other = config | {"transform": "root"}
    tape = Tape(bags, 9.0, 1000.0)
    for one, seconds in ((config, 111.01), (config, 111.02), (other, 122.03)):
        tape.whole(one)
        assert tape.seconds == pytest.approx(seconds)
    apart = Tape(bags, 9.0, 1000.0, shares=False)
    apart.whole(config)
    apart.whole(config)
    assert apart.seconds == pytest.approx(222.02)
    assert bags.cost(bags.row(config), set()) == [100, 10, 1, 0.01]


def test_time_ends_with_the_epoch_that_comes_to_the_target(networks: Table) -> None:
    """An epoch more, or a trial, and one method would seem slower than another."""
    config = NETWORKS.space.check(list(NETWORKS.space.grid())[-1])
    best = networks.row(config).accuracy
    tape = Tape(networks, best[4], 1000.0)
    with pytest.raises(EndedError):
        tape.whole(config)
    assert tape.reached == tape.found == 5.0
    late = Tape(networks, best[4], 4.5)
    with pytest.raises(EndedError):
        late.whole(config)
    assert (late.reached, late.found) == (None, 4.5), "what was not found costs all that there was"


def test_the_goal_is_the_best_end_of_sixty_four_draws(networks: Table) -> None:
    """Other draws than those of any method that looks for it."""
    target, seconds, until = goal(networks, 3)
    assert seconds == DRAWN * EPOCHS
    assert until <= seconds
    assert target <= max(row.accuracy[-1] for row in networks.rows.values())
    assert goal(networks, 3) == (target, seconds, until)
    assert goal(networks, 4) != (target, seconds, until)


@pytest.mark.parametrize("search", [pipelines.gridded_random, pipelines.eeipu, methods.tpe])
def test_searches_of_pipelines_find_it(bags: Table, search: Search) -> None:
    """One that tried what no table holds, or paid for nothing, would be no rival."""
    tape = Tape(bags, 0.3, 5000.0)
    with pytest.raises(EndedError):
        search(tape, 0)
    assert tape.reached is not None
    assert tape.reached >= 111


def test_what_a_run_recorded_is_played_as_it_was_run(
    networks: Table, bags: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures of ours are read from records: of pruned trials the steps that they did."""
    pruned = {"pruner": "median", "sampler_options": {"n_startup_trials": 10}}
    plugins.load([str(Path(ours.__file__).with_name("replayed.py"))], installed=False)
    try:
        for table, settings in ((networks, pruned), (bags, {})):
            run, told = ours.by_ledger(table, tmp_path, 9.0, 0, trials=12, **settings)
            played = Tape(table, 9.0, 1e9)
            ours.play(played, run)
            assert played.seconds == pytest.approx(told)
            states = {record.state for record in run.records()}
            assert states == ({"COMPLETE", "PRUNED"} if table is networks else {"COMPLETE"})
    finally:
        plugins.unload("replayed")


def test_recording_goes_on_after_a_kill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, networks: Table
) -> None:
    """Hours of training must not be lost, and half a line must not be taken for a whole one."""
    place = tmp_path / "pieces"
    lines = [
        {"config": dict(zip(NETWORKS.varied, key, strict=True)), "accuracy": row.accuracy,
         "seconds": row.seconds} for key, row in networks.rows.items()
    ]  # fmt: skip
    record(place, iter(lines[:3]))
    with place.open("a") as file:
        file.write('{"config": {"wid')
    assert len(there(place)) == 3
    monkeypatch.setattr(tables, "TABLES", tmp_path / "tables")
    with pytest.raises(ValueError, match=f"lacks {len(lines) - 3} configurations"):
        tables.pack(place, "cnn")
    record(place, iter(lines[3:]))
    kept = tables.pack(place, "cnn")
    again = kept.read_bytes()
    assert tables.pack(place, "cnn").read_bytes() == again, "the same rows give the same bytes"


def test_medians_and_ratios_hold_what_they_say() -> None:
    """Figures in the documentation are these."""
    middle, low, high = interval([1.0, 2.0, 3.0, 4.0, 100.0])
    assert (middle, low, high) == (3.0, 1.0, 100.0)
    times, low, high = ratio([4.0, 8.0, 12.0], [1.0, 2.0, 3.0])
    assert (times, low, high) == (4.0, 4.0, 4.0)


def test_draws_are_of_the_whole_grid(bags: Table) -> None:
    """A table without an entry for what is proposed would end a replay."""
    import numpy as np

    draw = np.random.default_rng(0)
    keys = {BAGS.key(drawn(bags, draw)) for _ in range(300)}
    assert keys <= set(bags.rows)
    assert len(keys) > 200
