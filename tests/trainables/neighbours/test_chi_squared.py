"""χ² distances by matrix products: never further off than they say, and so the same neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from trainables.neighbours import chi_squared
from trainables.neighbours.bounds import bounds_of
from trainables.neighbours.distances import distances
from trainables.neighbours.nearest import nearest_neighbours

RNG = np.random.default_rng(8)


def histograms(rows: int, columns: int, density: float, scale: float = 1.0) -> np.ndarray:
    """Counts, of which many are 0, and a row of zeros."""
    counts = RNG.poisson(3.0, (rows, columns)) * (RNG.random((rows, columns)) < density)
    counts[1] = 0
    return (scale * counts).astype(np.float32)


def test_the_error_of_each_term_is_below_the_one_stated() -> None:
    """All candidates follow from it: one that is too small loses neighbours without a word."""
    ratio = np.linspace(0.0, 60.0, 400_001)  # log x / y; beyond, the function is 1 to the last bit
    wave = 1.0 / np.cosh(ratio / 2)
    period = chi_squared.PERIOD
    found = chi_squared.CONSTANT + wave * sum(
        each * np.cos(at * period * ratio) for at, each in enumerate(chi_squared.WAVES)
    )
    error = np.abs(np.tanh(ratio / 2) ** 2 - found).max()
    assert 0.99 * chi_squared.ERROR < error < chi_squared.ERROR


@pytest.mark.parametrize("kind", ["sparse", "dense", "small", "large", "far apart"])
def test_the_distance_lies_between_its_bounds(kind: str) -> None:
    """Whatever histograms are compared, whole counts and shares alike."""
    x = {
        "sparse": lambda: histograms(40, 300, 0.1),
        "dense": lambda: histograms(40, 300, 1.0),
        "small": lambda: histograms(40, 30, 0.5, 1e-20),
        "large": lambda: histograms(40, 30, 0.5, 1e8),
        "far apart": lambda: np.exp(RNG.uniform(-30, 30, (40, 30))).astype(np.float32),
    }[kind]()
    exact = distances(x[:15], x, "chi-squared")
    with bounds_of(x, "chi-squared") as bounds:
        low, high = bounds(x[:15])
    spare = 1e-12 * exact.max()
    assert (low <= exact + spare).all()
    assert (exact <= high + spare).all()
    sums = x.sum(axis=1, dtype=np.float64)
    assert (high - low).max() < 4 * chi_squared.ERROR * sums.max()


@pytest.mark.parametrize("density", [0.1, 1.0])
def test_the_neighbours_are_those_of_every_distance_computed(
    density: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To the last bit, ties included; also of a gallery whose features would take too much."""
    x = histograms(200, 40, density)
    x[50:60] = x[:10]
    found = [nearest_neighbours(x, x, np.arange(200), metric="chi-squared", most=20)]
    monkeypatch.setattr(chi_squared, "TILE_BYTES", 4 * 5 * 40 * 33)  # 33 rows at a time
    found.append(nearest_neighbours(x, x, np.arange(200), metric="chi-squared", most=20))
    exact = distances(x, x, "chi-squared")
    np.fill_diagonal(exact, np.inf)
    nearest = np.argsort(exact, axis=1, kind="stable")[:, :20]
    for each in found:
        assert each["indices"].tolist() == nearest.tolist()
        assert each["distances"].tobytes() == np.take_along_axis(exact, nearest, 1).tobytes()
