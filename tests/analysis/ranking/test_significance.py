"""How far the best trial can be trusted."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from program import typed
from samples import run_with
from scipy.stats import binom, binomtest

from analysis.ranking.significance import coin_test, compare, interval

RIGHT = [0] * 4 + [1] * 4 + [2] * 2


def test_the_interval_is_what_a_bootstrap_draws() -> None:
    """It is computed without drawing, so drawing must agree."""
    right = np.arange(400) < 330
    drawn = np.random.default_rng(0).choice(right, (20_000, 400)).mean(axis=1)
    assert interval(330, 400) == pytest.approx(np.quantile(drawn, [0.025, 0.975]), abs=0.003)


def test_without_a_mistake_the_interval_still_has_a_width() -> None:
    """Ten of ten right is no proof of a perfect classifier, though every draw of a bootstrap is."""
    assert interval(10, 10) == pytest.approx((0.025 ** (1 / 10), 1.0))
    assert interval(0, 10) == pytest.approx((0.0, 1 - 0.025 ** (1 / 10)))


@pytest.mark.parametrize("n", [1, 7, 100, 1500, 50_000])
def test_intervals_and_tests_are_those_of_scipy(n: int) -> None:
    """They are written out so that ``best`` need not load scipy, and must not differ from it."""
    for right in sorted({0, 1, n // 3, n // 2, n - 1, n}):
        exact = binomtest(right, n).proportion_ci(0.95)
        drawn = binom.ppf((0.025, 0.975), n, right / n) / n
        expected = (exact.low, exact.high) if right in (0, n) else tuple(drawn)
        assert interval(right, n) == pytest.approx(expected, abs=1e-9)
        assert coin_test(right, n) == pytest.approx(binomtest(right, n).pvalue, rel=1e-9)
    assert coin_test(0, 0) == 1.0


@pytest.mark.parametrize(
    ("only_first", "only_other", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (6, 0, 2 / 2**6), (8, 2, 2 * (1 + 10 + 45) / 2**10)],
)
def test_mcnemars_test_is_a_coin_thrown_for_each_image_only_one_has_right(
    only_first: int, only_other: int, p: float
) -> None:
    """The exact test is small enough to be written out."""
    first = np.array([True] * (only_first + 3) + [False] * only_other)
    other = np.array([False] * only_first + [True] * (3 + only_other))
    found = compare(first, other, "x/1")
    assert (found.only_first, found.only_other) == (only_first, only_other)
    assert found.p == pytest.approx(p)
    assert found.decisive == (p <= 0.05)


def test_best_says_how_sure_it_is(tmp_path: Path) -> None:
    """The first of a leaderboard is often first by chance, which nobody sees in its accuracy."""
    run_with(tmp_path, {1: RIGHT, 2: [0] * 10, 3: [0, 0, 1, 1, 1, 1, 1, 0, 0, 1]})
    first, second = json.loads(
        typed("best", "made", "--top", 2, "--runs-dir", tmp_path, "--json").stdout
    )
    assert first["interval"] == pytest.approx([0.025 ** (1 / 10), 1.0])
    assert first["against_next"] == {
        "trial": "tiny-image/3",
        "only_first": 5,
        "only_other": 0,
        "p": 2 / 2**5,
    }
    assert second["interval"] == [0.2, 0.8]
    assert "against_next" not in second
    shown = typed("best", "made", "--runs-dir", tmp_path).stdout
    assert "(accuracy 0.6915 to 1.0000, 95 %)" in shown
    assert (
        "it alone has 5 images right, and tiny-image/3, the next, 0: no more than chance would "
        "often do"
    ) in shown
