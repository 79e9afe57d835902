"""The registries: what is added through one door is found by its name, and by nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from spaces import registry
from spaces.errors import UserError
from spaces.registry import Registry, add


@dataclass(frozen=True)
class Fruit:
    name: str


class Citrus(Fruit):
    """A kind of fruit."""


@pytest.fixture
def fruits() -> Iterator[Registry[Fruit]]:
    yield Registry(Fruit, "fruit")
    del registry._REGISTRIES[Fruit]


def test_things_are_found_by_name_in_the_order_they_came(fruits: Registry[Fruit]) -> None:
    """Help and messages list them so, and what derives from a kind is of that kind."""
    pear, lemon = add(Fruit("pear")), add(Citrus("lemon"), by="mine")
    assert list(fruits) == ["pear", "lemon"]
    assert fruits["pear"] is pear
    assert "lemon" in fruits
    assert "apple" not in fruits
    assert fruits.get("apple") is None
    assert fruits.module("pear") == __name__
    assert fruits.added_by("mine") == {"lemon": lemon}
    fruits.remove("lemon")
    assert list(fruits) == ["pear"]
    assert add(Fruit("lemon")) == Fruit("lemon")


@pytest.mark.parametrize("name", ["apple", "", "pear\n", "p" * 10_000])
def test_an_unknown_name_is_told_what_there_is(fruits: Registry[Fruit], name: str) -> None:
    """Whoever mistypes a name must read the right one, in one line."""
    fruits.add(Fruit("pear"))
    with pytest.raises(UserError, match=r"unknown fruit .*; the fruits are pear$") as error:
        fruits[name]
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_a_second_thing_of_a_name_is_refused(fruits: Registry[Fruit]) -> None:
    """Or a plug-in could replace what a finished run was searched with."""
    first = add(Fruit("pear"), by="ours")
    with pytest.raises(UserError, match=r"^theirs: there is a fruit 'pear' already, of ours;"):
        add(Fruit("pear"), by="theirs")
    assert fruits["pear"] is first


@pytest.mark.parametrize("name", ["", "a b", "../up", "mine:x", "-x", "x\n", "x" * 65, 3, None])
def test_a_name_that_cannot_stand_in_a_path_is_refused(
    fruits: Registry[Fruit], name: object
) -> None:
    """Names become folders and words of the command line."""
    with pytest.raises(UserError, match="name of a fruit must be") as error:
        add(Fruit(name))  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    assert not fruits


def test_a_thing_of_no_known_kind_is_refused(fruits: Registry[Fruit]) -> None:
    """A plug-in that adds what nobody asks for has a mistake in it."""
    with pytest.raises(UserError, match=r"^mine: what can be added is a .*Fruit, but got 3$"):
        add(3, by="mine")
