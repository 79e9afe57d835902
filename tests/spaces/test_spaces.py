"""Spaces: what may vary, when it applies, and what a grid and a check make of it."""

from __future__ import annotations

import dataclasses
import itertools
import random
from typing import Any

import pytest
from conditional_space import TOY

from spaces import SPACES, BagOfSiftConfig, Space, SpaceError, TinyImageConfig, get_space
from spaces.domain import Choice, Domain, Float, Integer, Parameter, Value
from spaces.ours.knn import MAX_K, signed_metrics

GRID = TOY.narrow({"rate": [0.1, 0.2]})


def drawn(space: Space, seed: int) -> tuple[dict[str, Value], list[str]]:
    """(a random configuration, the names that were asked for, in order)."""
    generator, asked = random.Random(seed), []

    def suggest(name: str, domain: Domain) -> Value:
        asked.append(name)
        return (
            generator.uniform(domain.low, domain.high)
            if isinstance(domain, Float)
            else generator.choice(domain.values())
        )

    return space.sample(suggest), asked


def brute_force(space: Space) -> set[frozenset[tuple[str, Value]]]:
    """Every product of the domains with what does not apply left out: duplicates fall together."""
    names = [parameter.name for parameter in space.parameters]
    found = set()
    for values in itertools.product(*(parameter.domain.values() for parameter in space.parameters)):
        full: dict[str, Value] = {}
        active = set()
        for parameter, value in zip(space.parameters, values, strict=True):
            applies = all(
                full[parent] in allowed for parent, allowed in (parameter.when or {}).items()
            )
            full[parameter.name] = value if applies else parameter.otherwise  # type: ignore[assignment]
            active |= {(parameter.name, value)} if applies else set()
        assert list(full) == names
        found.add(frozenset(active))
    return found


@pytest.mark.parametrize("space", [TOY, *SPACES.values()], ids=lambda space: space.name)
def test_sampling_asks_only_for_what_applies(space: Space) -> None:
    """A sampler that is told of parameters without effect learns from noise."""
    for seed in range(200):
        config, asked = drawn(space, seed)
        assert list(config) == [parameter.name for parameter in space.parameters]
        for parameter in space.parameters:
            applies = all(
                config[parent] in allowed for parent, allowed in (parameter.when or {}).items()
            )
            assert (parameter.name in asked) == applies
            assert (
                config[parameter.name] in parameter.domain
                if applies
                else config[parameter.name] == parameter.otherwise
            )
        assert space.check(config) == config


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"metric": "cosine"}, {"norm": "none"}),
        ({"metric": "chi-squared"}, {"centring": False}),
        ({"k": 1}, {"vote": "uniform"}),
    ],
)
def test_a_parameter_without_effect_has_one_value(
    config: dict[str, Value], expected: dict[str, Value]
) -> None:
    """Configurations that do the same must be equal, or they are run twice."""
    full = {
        "metric": "euclidean",
        "size": 8,
        "resampling": "box",
        "centring": True,
        "norm": "l2",
        "k": 5,
        "vote": "distance",
        "mirrored": False,
    }
    assert SPACES["tiny-image"].check(full) == full
    assert SPACES["tiny-image"].check(full | config) == full | config | expected


@pytest.mark.parametrize(
    ("space", "config_type"),
    [("tiny-image", TinyImageConfig), ("bag-of-sift", BagOfSiftConfig)],
    ids=lambda value: str(value),
)
def test_a_config_has_the_fields_of_its_space(space: str, config_type: type) -> None:
    """The space is what may vary and the dataclass what runs: a field in one alone is searched in
    vain or never.
    """
    assert {field.name for field in dataclasses.fields(config_type)} == {
        parameter.name for parameter in SPACES[space].parameters
    }


@pytest.mark.parametrize("space", SPACES.values(), ids=lambda space: space.name)
def test_what_is_searched_by_default_is_allowed(space: Space) -> None:
    """A default that a user may not type could not be repeated."""
    for parameter in space.parameters:
        ends = (
            parameter.domain.values()
            if isinstance(parameter.domain, Choice)
            else (parameter.domain.low, parameter.domain.high)
        )
        assert all(value in parameter.limits for value in ends), parameter.name
        conditions = (parameter.when or {}).items()
        assert all(
            value in space[parent].limits for parent, values in conditions for value in values
        ), parameter.name
        assert parameter.doc
        if parameter.when:
            assert parameter.otherwise in parameter.limits, parameter.name


def test_a_vote_applies_to_every_k_over_one() -> None:
    """With one neighbour any weight gives the same vote; with two or more it does not."""
    assert SPACES["tiny-image"]["vote"].when == {"k": tuple(range(2, MAX_K + 1))}
    assert SPACES["tiny-image"]["centring"].when == {"metric": signed_metrics()}


@pytest.mark.parametrize(
    "space",
    [
        GRID,
        SPACES["tiny-image"].narrow(
            {"size": [8, 16], "resampling": ["box", "nearest"], "k": [1, 2, 5]}
        ),
        SPACES["bag-of-sift"].narrow(
            {"step": 4, "transform": "raw", "vocabulary_size": [100, 200], "k": "1..2"}
        ),
    ],
    ids=lambda space: space.name,
)
def test_the_grid_gives_each_differing_combination_once(space: Space) -> None:
    """A grid that repeats itself costs time; one that leaves something out is no grid."""
    grid = [frozenset(config.items()) for config in space.grid()]
    assert len(grid) == len(set(grid))
    assert set(grid) == brute_force(space)
    assert [frozenset(config.items()) for config in space.grid()] == grid


def test_a_grid_over_real_numbers_is_refused() -> None:
    """There is no every value between 0.001 and 1."""
    with pytest.raises(
        SpaceError, match=r"a grid needs a list of values, but got a number in 0\.001\.\.1\.0"
    ):
        list(TOY.grid())


def test_an_unknown_space_is_refused_with_the_names_there_are() -> None:
    """A user who mistypes a space needs the list of them."""
    assert get_space("tiny-image") is SPACES["tiny-image"]
    with pytest.raises(
        SpaceError,
        match=r"^unknown space 'tiny'; the spaces are tiny-image, bag-of-sift, embedding, "
        r"cnn, toy, toy-folds$",
    ):
        get_space("tiny")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depth": 10}, "toy.depth must be a whole number in 1..9, but got 10"),
        ({"depth": None}, "toy.depth must be a whole number in 1..9, but got None"),
        ({"depth": True}, "toy.depth must be a whole number in 1..9, but got True"),
        ({"model": "d"}, "toy.model must be one of a, b, c, but got 'd'"),
        ({"width": 3}, "space toy has no parameter 'width'"),
    ],
)
def test_check_refuses_what_a_space_cannot_hold(change: dict[str, Any], message: str) -> None:
    """A configuration from a file or a person is held to the same rules as one from a sampler."""
    good = {"model": "c", "flag": True, "depth": 9}
    assert TOY.check(good) == good | {"rate": 0.5}
    with pytest.raises(SpaceError) as caught:
        TOY.check(good | change)
    assert str(caught.value) == message


def test_check_completes_and_overrides_what_does_not_apply() -> None:
    """Two ways to write the same configuration must end as one."""
    assert TOY.check({"model": "b", "flag": False, "depth": 7, "rate": 0.1}) == {
        "model": "b",
        "flag": False,
        "depth": 1,
        "rate": 0.5,
    }


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ((Parameter("a", Integer(1, 2), ""), Parameter("a", Integer(1, 2), "")), "a is repeated"),
        (
            (
                Parameter("a", Integer(1, 2), "", when={"b": (1,)}, otherwise=1),
                Parameter("b", Integer(1, 2), ""),
            ),
            "stands before {'b'}",
        ),
        (
            (
                Parameter("a", Integer(1, 2), ""),
                Parameter("b", Integer(1, 2), "", when={"a": (1,)}),
            ),
            "b needs a value for otherwise",
        ),
    ],
)
def test_a_space_cannot_be_built_wrong(parameters: tuple[Parameter, ...], message: str) -> None:
    """A mistake in a space must show when it is written, not in the trial that meets it."""
    with pytest.raises(SpaceError, match=message):
        Space("wrong", "", parameters)


def test_a_configuration_from_before_a_parameter_existed_means_what_it_meant() -> None:
    """Runs and bundles of released versions say nothing of parameters that came later."""
    old = {
        "step": 4, "bin_size": 4, "fast": True, "transform": "raw", "vocabulary_step": 8,
        "vocabulary_size": 100,
        "metric": "cityblock", "norm": "l1", "k": 1, "vote": "uniform",
    }  # fmt: skip
    later = {"scales": 1, "assignment": "hard", "regions": "none", "idf": False, "mirrored": False}
    assert SPACES["bag-of-sift"].check(old) == old | later


def test_a_range_holds_both_its_ends() -> None:
    """A grid of k from 1 to 3 that leaves 3 out never tries it."""
    assert Integer(1, 3).values() == (1, 2, 3)
    assert (
        [value in Integer(1, 3) for value in (0, 1, 3, 4)]
        == [value in Float(1, 3) for value in (0, 1, 3, 4)]
        == [False, True, True, False]
    )
    space = Space("ks", "one parameter", (Parameter("k", Integer(2, 4), "neighbours"),))
    assert [config["k"] for config in space.grid()] == [2, 3, 4]
