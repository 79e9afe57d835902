"""Several spaces in one search: which gets the next trial."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from analysis.plan.complaints import PlanError
from analysis.plan.plan import make_plan
from analysis.run.records import TrialRecord
from search.ledger.shares import Shares

SPACES = ("toy", "toy-folds", "tiny-image")
SECONDS = {"toy": 1.0, "toy-folds": 10.0, "tiny-image": 3.0}
"""That a trial of each takes."""


def searched(
    value: Callable[[str, int], float | None], limit: float = 600.0, **settings: Any
) -> tuple[Counter[str], Counter[str], list[str]]:
    """(trials, seconds, lines told) of a search, one trial at a time, whose trials come to
    ``value`` of space and number; None fails.
    """
    plan = make_plan({"spaces": SPACES, "limits": {"seconds": limit}, **settings})
    told: list[str] = []
    shares = Shares(plan, told.append)
    trials, seconds = Counter[str](), Counter[str]()
    while (now := sum(seconds.values())) < limit:
        name = shares.order(SPACES, trials, now, 10_000)[0]
        found, number = value(name, trials[name]), trials[name]
        shares.begin((name, number))
        trials[name] += 1
        seconds[name] += SECONDS[name]
        shares.count(
            TrialRecord(
                space=name,
                number=number,
                state="FAIL" if found is None else "COMPLETE",
                config={},
                metrics={} if found is None else {"val_accuracy": found},
                started=0.0,
                seconds=SECONDS[name],
            )
        )
    return trials, seconds, told


def settling(best: dict[str, float]) -> Callable[[str, int], float]:
    """Values that come closer to a space's best from trial to trial."""
    return lambda name, number: best[name] * (1 - 0.3 / (1 + number))


def test_spaces_take_turns_unless_the_plan_says_otherwise() -> None:
    """A plan of an earlier version must go on as it did: trials in turn, whatever they cost."""
    trials, _, _ = searched(settling({"toy": 0.9, "toy-folds": 0.5, "tiny-image": 0.5}))
    assert max(trials.values()) - min(trials.values()) <= 1


def test_fixed_shares_are_of_the_time() -> None:
    """Trials of one space may cost ten times those of another, and must not starve it."""
    shares = {"toy": 1, "toy-folds": 3, "tiny-image": 2}
    _, seconds, _ = searched(settling(dict.fromkeys(SPACES, 0.5)), shares=shares)
    whole = sum(seconds.values())
    assert {name: seconds[name] / whole for name in SPACES} == pytest.approx(
        {name: share / 6 for name, share in shares.items()}, abs=0.03
    )


@pytest.mark.parametrize("winner", SPACES)
def test_most_of_the_time_moves_to_what_wins(winner: str) -> None:
    """Whatever its trials cost, the space that is ahead must get most of a search, and what cannot
    catch up nothing more, with a word.
    """
    best = {name: 0.9 if name == winner else 0.4 for name in SPACES}
    trials, seconds, told = searched(settling(best), shares="moving")
    assert min(trials.values()) >= 2, "each is tried"
    assert seconds[winner] > 0.75 * sum(seconds.values())
    assert sorted(line.split()[0] for line in told) == sorted(set(SPACES) - {winner})


def test_a_space_that_begins_badly_and_improves_is_not_given_up() -> None:
    """The first trials say little of a space that learns: what may still win must get time."""

    def value(name: str, number: int) -> float:
        return {"toy": 0.7, "toy-folds": 0.3, "tiny-image": min(0.9, 0.5 + 0.03 * number)}[name]

    trials, seconds, _ = searched(value, shares="moving")
    assert trials["tiny-image"] > 14, "so that it came to 0.9"
    assert max(seconds, key=lambda name: seconds[name]) == "tiny-image"


def test_a_space_that_fails_does_not_hold_up_the_others() -> None:
    """One space that cannot run here must not cost the whole search."""
    _, seconds, told = searched(
        lambda name, number: None if name == "toy-folds" else 0.5 + number / 1000, shares="moving"
    )
    assert seconds["toy-folds"] < 0.2 * sum(seconds.values())
    assert any(line.startswith("toy-folds gets no more trials: none of its") for line in told)


def test_while_nothing_has_come_of_any_space_all_are_tried() -> None:
    """A search whose first trials fail must go on with each, and give none up."""
    trials, _, told = searched(lambda name, number: None, 120.0, shares="moving")
    assert min(trials.values()) >= 2
    assert told == []


def test_what_is_left_goes_on_where_a_space_has_no_more_combinations() -> None:
    """A winner with nothing left to try must not end the search of the others."""
    shares = Shares(make_plan({"spaces": SPACES, "shares": "moving"}))
    for number in range(9):
        for name in SPACES:
            shares.count(
                TrialRecord(
                    space=name,
                    number=number,
                    state="COMPLETE",
                    config={},
                    metrics={"val_accuracy": 0.9 if name == "toy" else 0.1},
                    started=0.0,
                    seconds=1.0,
                )
            )
    started = dict.fromkeys(SPACES, 9)
    assert shares.order(SPACES, started, 0.0, 100) == ["toy"]
    assert sorted(shares.order(SPACES[1:], started, 0.0, 100)) == sorted(SPACES[1:])


def test_first_results_come_one_after_the_other() -> None:
    """Stages of two spaces at once would take twice as long, and a short search end with nothing;
    networks have cores of their own.
    """
    spaces = ("tiny-image", "bag-of-sift", "embedding", "cnn")
    shares = Shares(make_plan({"spaces": spaces, "shares": "moving"}))
    started = dict.fromkeys(spaces, 0)

    def order() -> list[str]:
        return shares.order(spaces, started, 0.0, 100)

    assert order()[0] == "tiny-image"
    shares.begin(("tiny-image", 0))
    assert order() == ["cnn"]
    shares.begin(("cnn", 0))
    assert order() == []
    shares.count(
        TrialRecord(space="tiny-image", number=0, state="FAIL", config={}, started=0.0, seconds=1.0)
    )
    assert set(order()) == {"bag-of-sift", "embedding", "tiny-image"}
    shares.begin(("bag-of-sift", 0))
    assert order() == ["tiny-image"]


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ({"toy": 1}, "shares must name each of toy, toy-folds, tiny-image, but name 'toy'"),
        ({**dict.fromkeys(SPACES, 1), "cnn": 1}, "shares must name each"),
        (
            {**dict.fromkeys(SPACES, 1), "toy": 0},
            "shares: must be equal, moving, or a number above",
        ),
        ({**dict.fromkeys(SPACES, 1), "toy": True}, "shares: must be equal, moving, or a number"),
        ({**dict.fromkeys(SPACES, 1), "toy": float("inf")}, "shares: must be equal, moving, or"),
        (
            "most",
            "shares: must be equal, moving, or a number above 0 for each space, but got 'most",
        ),
        ({}, "shares: must be equal"),
        (["moving"], "shares: must be equal"),
    ],
)
def test_shares_that_make_no_sense_are_refused(shares: Any, said: str) -> None:
    """A share that is not understood would be found out when the time is over."""
    with pytest.raises(PlanError, match=said):
        make_plan({"spaces": SPACES, "shares": shares})
