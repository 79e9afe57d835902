"""Spaces: what may vary, when it applies, and how a user narrows it."""

from __future__ import annotations

import dataclasses
import itertools
import random
from typing import Any

import pytest

from spaces import SPACES, BagOfSiftConfig, Space, SpaceError, TinyImageConfig, get_space
from spaces.domain import Choice, Domain, Float, Integer, Parameter, Value
from spaces.ours.knn import MAX_K, signed_metrics

TOY = Space(
    "toy",
    "a space with a condition on a condition",
    (
        Parameter("model", Choice(("a", "b", "c")), "which"),
        Parameter(
            "flag", Choice((False, True)), "whether", when={"model": ("b", "c")}, otherwise=False
        ),
        Parameter(
            "depth",
            Integer(1, 3),
            "how deep",
            allowed=Integer(1, 9),
            when={"flag": (True,), "model": ("c",)},
            otherwise=1,
        ),
        Parameter(
            "rate",
            Float(0.001, 1.0, log=True),
            "how fast, per step",
            when={"model": ("a",)},
            otherwise=0.5,
        ),
    ),
)
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


@pytest.mark.parametrize(
    ("name", "setting", "expected"),
    [
        ("k", 5, Choice((5,))),
        ("k", "5", Choice((5,))),
        ("k", " 3, 5,8 ", Choice((3, 5, 8))),
        ("k", [3, "5", 3], Choice((3, 5))),
        ("k", "1..10", Integer(1, 10)),
        ("k", "2 .. 2", Integer(2, 2)),
        ("k", "50", Choice((50,))),
        ("k", "1e1", Choice((10,))),
        ("metric", "cosine,euclidean", Choice(("cosine", "euclidean"))),
        ("metric", ["chi-squared"], Choice(("chi-squared",))),
        ("centring", "true", Choice((True,))),
        ("centring", True, Choice((True,))),
        ("centring", "true,false", Choice((True, False))),
        ("size", 64, Choice((64,))),
        ("size", "2..64", Integer(2, 64)),
    ],
)
def test_a_space_is_narrowed_to_a_value_a_list_or_a_range(
    name: str, setting: Any, expected: Domain
) -> None:
    """The same words must work on the command line, where all is text, and in a plan, where it is
    not.
    """
    narrowed = SPACES["tiny-image"].narrow({name: setting})
    assert narrowed[name].domain == expected
    assert [type(value) for value in narrowed[name].domain.values()] == [
        type(value) for value in expected.values()
    ]
    others = [parameter for parameter in narrowed.parameters if parameter.name != name]
    assert others == [
        parameter for parameter in SPACES["tiny-image"].parameters if parameter.name != name
    ]


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("0.01..0.1", Float(0.01, 0.1, log=True)),
        ("0.5", Choice((0.5,))),
        (1, Choice((1.0,))),
        ([0.5, "0.25"], Choice((0.5, 0.25))),
        ("1e-3..1", Float(0.001, 1.0, log=True)),
    ],
)
def test_a_real_parameter_is_narrowed_and_keeps_its_scale(setting: Any, expected: Domain) -> None:
    """A learning rate narrowed by hand is still drawn by its order of magnitude."""
    assert TOY.narrow({"rate": setting})["rate"].domain == expected


BAD_SETTINGS = [
    ("k", 0, "a whole number in 1..50", "'0'"),
    ("k", 51, "a whole number in 1..50", "'51'"),
    ("k", "1..51", "a whole number in 1..50", "'1..51'"),
    ("k", "10..1", "a whole number in 1..50", "'10..1'"),
    ("k", "1..5..9", "a whole number in 1..50", "'1..5..9'"),
    ("k", "..5", "a whole number in 1..50", "'..5'"),
    ("k", 2.5, "a whole number in 1..50", "'2.5'"),
    ("k", "2.5", "a whole number in 1..50", "'2.5'"),
    ("k", "nan", "a whole number in 1..50", "'nan'"),
    ("k", float("inf"), "a whole number in 1..50", "'inf'"),
    ("k", True, "a whole number in 1..50", "'true'"),
    ("k", "", "a whole number in 1..50", "''"),
    ("k", [], "a whole number in 1..50", "'[]'"),
    ("k", None, "a whole number in 1..50", "'None'"),
    ("k", [3, 99], "a whole number in 1..50", "'[3, 99]'"),
    ("k", "3\n5", "a whole number in 1..50", "'3\\n5'"),
    ("k", {"low": 1}, "a whole number in 1..50", "\"{'low': 1}\""),
    ("metric", "manhattan", "one of euclidean, cityblock, cosine", "'manhattan'"),
    ("metric", "cosine..euclidean", "one of euclidean", "'cosine..euclidean'"),
    ("metric", 3, "one of euclidean", "'3'"),
    ("centring", 1, "one of false, true", "'1'"),
    ("centring", "yes", "one of false, true", "'yes'"),
    (
        "resampling",
        "Lanczos",
        "one of nearest, box, bilinear, hamming, bicubic, lanczos",
        "'Lanczos'",
    ),
]


@pytest.mark.parametrize(("name", "setting", "allowed", "got"), BAD_SETTINGS)
def test_a_setting_that_is_not_allowed_is_refused_in_one_line(
    name: str, setting: Any, allowed: str, got: str
) -> None:
    """Whoever mistypes a setting needs its name, what is allowed and what was read, and no
    traceback.
    """
    with pytest.raises(SpaceError) as caught:
        SPACES["tiny-image"].narrow({name: setting})
    message = str(caught.value)
    assert message.startswith(f"tiny-image.{name} must be {allowed}")
    assert message.endswith(f"but got {got}")
    assert "\n" not in message


@pytest.mark.parametrize("setting", ["0", "2", "0.5..2", "nan", "inf", True, "fast"])
def test_a_real_parameter_refuses_what_lies_outside(setting: Any) -> None:
    """Out-of-range points must not reach a sampler, which would use them."""
    with pytest.raises(SpaceError, match=r"^toy\.rate must be a number in 0\.001\.\.1\.0, but got"):
        TOY.narrow({"rate": setting})


def test_all_bad_settings_are_named_at_once() -> None:
    """One error a run would make a user run as often as there are errors."""
    with pytest.raises(
        SpaceError,
        match=r"tiny-image\.k must be .*; tiny-image\.size must be .*; space tiny-image has no "
        r"parameter 'step'",
    ):
        SPACES["tiny-image"].narrow({"k": 0, "size": 1, "step": 3, "metric": "cosine"})


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


def test_a_point_lies_within_what_is_searched() -> None:
    """A point that is allowed but not searched would be refused by the sampler, after the search
    has begun.
    """
    space = SPACES["tiny-image"].narrow({"k": "1..10"})
    assert space.point({"k": "10", "centring": "true"}) == {"k": 10, "centring": True}
    with pytest.raises(
        SpaceError,
        match=r"tiny-image\.k must be a whole number in 1\.\.10 in this search, but got '11'",
    ):
        space.point({"k": "11"})


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
