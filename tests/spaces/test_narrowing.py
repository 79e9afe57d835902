"""How a user narrows a space: to a value, a list or a range, or is refused in one line."""

from __future__ import annotations

from typing import Any

import pytest
from conditional_space import TOY

from spaces import SPACES, SpaceError
from spaces.domain import Choice, Domain, Float, Integer


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
