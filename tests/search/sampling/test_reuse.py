"""Many cheap suffixes are tried of each dear prefix, and nothing else changes."""

from __future__ import annotations

import heapq
import warnings
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from search.sampling.prefixes import prefixes_of
from search.sampling.samplers import make_sampler
from search.study.study import _suggest
from spaces import get_space
from spaces.domain import Choice, Float, Parameter
from spaces.space import Space

SPACE = Space(
    "made",
    "two choices that cost, three that do not",
    (
        Parameter("a", Choice((0, 1, 2, 3)), "dear", prefix=True),
        Parameter("b", Choice((0, 1, 2, 3)), "dear", prefix=True),
        Parameter("x", Choice(("p", "q", "r", "s")), "cheap"),
        Parameter("y", Choice(("p", "q", "r", "s")), "cheap"),
        Parameter("z", Float(0.0, 1.0), "cheap", when={"x": ("p", "q")}, otherwise=0.0),
    ),
)
NAMES = ("a", "b")


class World:
    """Accuracies of configurations, and what they cost, drawn by ``seed``; time is virtual."""

    def __init__(self, seed: int, dear: float = 50.0, cheap: float = 1.0) -> None:
        draw = np.random.default_rng(seed)
        self._gains = {
            p.name: {value: draw.normal(0, 0.05) for value in p.domain.values()}
            for p in SPACE.parameters
            if isinstance(p.domain, Choice)
        }
        self._peak, self._dear, self._cheap = float(draw.uniform()), dear, cheap
        self.paid: dict[tuple[Any, ...], float] = {}
        self.trials = 0
        self.best = -np.inf

    def value(self, config: dict[str, Any]) -> float:
        gains = sum(self._gains[name][config[name]] for name in self._gains)
        return float(0.5 + gains - 0.1 * abs(config["z"] - self._peak))

    def search(self, sampler: str, seed: int, budget: float, workers: int = 2) -> World:
        """A search of ``budget`` seconds, in which trials of one prefix wait for its stages."""
        study = optuna.create_study(
            direction="maximize", sampler=make_sampler(sampler, {}, seed, SPACE)
        )
        now, running = 0.0, []
        while True:
            while len(running) < workers:
                trial = study.ask()
                config = SPACE.sample(partial(_suggest, trial))
                key = tuple(config[name] for name in NAMES)
                ready = self.paid.setdefault(key, now + self._dear)
                end = max(now, ready) + self._cheap
                heapq.heappush(running, (end, trial.number, now, trial, config))
            end, _, began, trial, config = heapq.heappop(running)
            if end > budget:
                return self
            now = end
            trial.set_user_attr("seconds", end - began)
            study.tell(trial, self.value(config))
            self.trials += 1
            self.best = max(self.best, self.value(config))


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)


def test_a_budget_finds_more_where_what_is_paid_for_is_used_again() -> None:
    """A prefix that is bought for one trial wastes what sharing is for."""
    budget, seeds = 240.0, range(3)
    reuse = [World(seed, cheap=3.0).search("reuse", seed, budget) for seed in seeds]
    plain = [World(seed, cheap=3.0).search("tpe", seed, budget) for seed in seeds]
    assert median(w.trials for w in reuse) > 3 * median(w.trials for w in plain)
    assert all(len(w.paid) > 2 for w in reuse), "and others than the first are bought"
    gains = [ours.best - theirs.best for ours, theirs in zip(reuse, plain, strict=True)]
    assert median(gains) > 0.02


def test_both_costs_are_kept_alike() -> None:
    """Neither a hundred suffixes of a poor prefix nor a prefix a trial: time goes to both."""
    world = World(1, dear=8.0).search("reuse", 1, 120.0, workers=1)
    assert 4 <= world.trials / len(world.paid) <= 16


def test_what_costs_the_same_is_searched_as_by_tpe() -> None:
    """Where nothing is saved, keeping to a prefix only narrows the search."""
    world = World(2, dear=0.1).search("reuse", 2, 60.0, workers=1)
    assert len(world.paid) > 8


@pytest.mark.parametrize("name", ["cnn", "toy", "tiny-image"])
def test_a_space_without_a_prefix_is_searched_by_tpe(name: str) -> None:
    """The default must be what it was where it cannot be better: the same draws, one by one."""
    space = get_space(name)
    assert space.prefix == ()
    drawn = []
    for sampler in ("reuse", "tpe"):
        study = optuna.create_study(
            direction="maximize", sampler=make_sampler(sampler, {}, 3, space)
        )
        for number in range(14):
            trial = study.ask()
            space.sample(partial(_suggest, trial))
            study.tell(trial, float(number % 5))
        drawn.append([trial.params for trial in study.trials])
    assert drawn[0] == drawn[1]


def test_a_prefix_narrowed_to_one_value_leaves_a_plain_search() -> None:
    """Whoever fixes what is dear has one prefix, and all trials share it."""
    assert SPACE.prefix == NAMES
    assert SPACE.narrow({"a": 1, "b": 2}).prefix == ()
    assert SPACE.narrow({"x": "r", "y": "p", "z": 0.5}).prefix == ()
    assert get_space("embedding").prefix == ("backbone", "side", "crop", "views")


@pytest.mark.parametrize(
    ("name", "narrowed", "least"),
    [
        ("bag-of-sift", {}, 10),
        ("bag-of-sift", {"scales": "1", "metric": "cosine,euclidean"}, 10),
        ("embedding", {}, 8),
        ("embedding", {"side": "128"}, 8),
    ],
)
def test_the_first_trial_is_what_a_space_is_started_from(
    name: str, narrowed: dict[str, Any], least: int
) -> None:
    """A first prefix drawn at random may cost minutes and be worth nothing; one that fails is not
    tried again, and other samplers know nothing of it.
    """
    space = get_space(name).narrow(narrowed)
    drawn = {}
    for sampler in ("reuse", "tpe"):
        study = optuna.create_study(
            direction="maximize", sampler=make_sampler(sampler, {}, 3, space)
        )
        drawn[sampler] = []
        for _ in range(3):
            trial = study.ask()
            drawn[sampler].append(space.sample(partial(_suggest, trial)))
            if trial.number == 0:
                study.tell(trial, state=TrialState.FAIL)
    start = {name: value for name, value in space.start.items() if name not in narrowed}
    assert len(start) >= least
    if "metric" in narrowed:  # a distance that is drawn may be blind to the norm
        del start["norm"]
    if not narrowed:
        assert drawn["reuse"][0].items() >= start.items()
    shared = [sum(one[name] == start[name] for name in start) for one in drawn["reuse"]]
    assert shared[0] == len(start)
    assert max(shared[1:]) < len(start)
    by_chance = sum(drawn["tpe"][0].get(name) == start[name] for name in start)
    assert 3 * by_chance < 2 * len(start)


@pytest.mark.parametrize("workers", [1, 3])
def test_where_no_prefix_is_left_other_suffixes_are_tried(workers: int) -> None:
    """Of a pretrained network's features there are eight kinds by default: a search that goes on
    buying tries the best head on each of them for the rest of the night.
    """
    six = Choice(tuple(range(6)))
    parameters = (
        Parameter("one", Choice(("network",)), "what a search has one value of", prefix=True),
        Parameter("a", Choice((0, 1, 2)), "dear", prefix=True),
        Parameter("x", six, "cheap"),
        Parameter("y", six, "cheap", when={"x": (0, 1, 2, 3, 4)}, otherwise=0),
        Parameter("two", Choice((7,)), "one value, and cheap"),
    )
    space = Space("few", "3 × 31", parameters)
    study = optuna.create_study(direction="maximize", sampler=make_sampler("reuse", {}, 0, space))
    tried, waiting = [], []
    for number in range(80 + workers):
        trial = study.ask()
        config = space.sample(partial(_suggest, trial))
        trial.set_user_attr("seconds", 1.0 if config["a"] in [one["a"] for one in tried] else 9.0)
        tried.append(config)
        waiting.append((trial, config))
        if number >= workers - 1:
            trial, config = waiting.pop(0)
            study.tell(trial, config["a"] + config["x"] - abs(config["y"] - 3.0))
    assert len({tuple(config.values()) for config in tried}) >= 0.95 * len(tried)


def test_failures_enqueued_trials_and_constraints_are_borne() -> None:
    """What a search meets at three in the morning: a lost prefix, a wish from another terminal, a
    configuration out of bounds, an objective that is better when smaller.
    """
    options = {"starters": 2, "n_startup_trials": 10}
    study = optuna.create_study(
        direction="minimize", sampler=make_sampler("reuse", options, 0, SPACE)
    )
    study.enqueue_trial({"a": 3})
    for number in range(40):
        trial = study.ask()
        config = SPACE.sample(partial(_suggest, trial))
        assert number or config["a"] == 3
        if config["a"] == 0:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        trial.set_constraint("size", 1.0 if config["x"] == "p" else -1.0)
        trial.set_user_attr("seconds", 30.0 if number < 5 else 1.0)
        study.tell(trial, float(config["b"] + ("pqrs".index(config["y"]))))
    assert study.best_value == 0.0


def test_a_prefix_whose_trials_were_stopped_is_paid_for_and_no_better_than_the_worst() -> None:
    """Its stages exist, so buying it anew each time would pay for nothing; and what a part of the
    images promised is no result that others could be measured by.
    """
    sampler = make_sampler("reuse", {}, 0, SPACE)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    prefixes: list[tuple[Any, ...]] = []
    for number in range(12):
        trial = study.ask()
        config = SPACE.sample(partial(_suggest, trial))
        prefixes.append(tuple(config[name] for name in NAMES))
        trial.set_user_attr("seconds", 1.0 if prefixes[-1] in prefixes[:-1] else 50.0)
        trial.report(0.9, 0)
        if number == 11:
            study.tell(trial, 0.4)
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    assert len(set(prefixes)) == 1
    [found] = prefixes_of(study, -1, NAMES).values()
    assert found.values == [0.4] * 12


def test_a_configuration_is_not_tried_twice_while_there_are_others() -> None:
    """It would come to the same again; a value that is fixed tells no two of them apart."""
    lists = (Parameter(name, Choice((0, 1, 2, 3)), "list") for name in "ab")
    space = Space("small", "lists", (*lists, Parameter("c", Choice(("one",)), "one value")))

    def different(sampler: str, seed: int) -> int:
        study = optuna.create_study(
            direction="maximize",
            sampler=make_sampler(sampler, {"n_startup_trials": 3}, seed, space),
        )
        tried = set()
        for _ in range(16):
            trial = study.ask()
            config = space.sample(partial(_suggest, trial))
            tried.add(tuple(config.values()))
            study.tell(trial, float(config["a"]) + float(config["b"]) / 10)
        return len(tried)

    assert median(different("reuse", seed) for seed in range(5)) >= 14
    assert median(different("tpe", seed) for seed in range(5)) < 13
