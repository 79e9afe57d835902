"""Norms and distances, each against its definition or another library."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from spaces.ours.knn import DISTANCES, signed_metrics
from spaces.ours.knn import metric as metric_parameter
from trainables.neighbours.distances import distances
from trainables.neighbours.norms import normalised

SIGNED_METRICS = signed_metrics()
HISTOGRAM_METRICS = tuple(name for name in DISTANCES if name not in SIGNED_METRICS)
IMAGES = np.random.default_rng(1).normal(0, 50, (7, 6, 5))


@pytest.mark.parametrize("centring", [False, True])
@pytest.mark.parametrize(
    ("norm", "size"),
    [
        ("none", lambda image: 1.0),
        ("l1", lambda image: np.linalg.norm(image.ravel(), 1)),
        ("l2", lambda image: np.linalg.norm(image.ravel(), 2)),
        ("matrix-1", lambda image: np.linalg.norm(image, 1)),
    ],
)
def test_a_norm_is_what_numpy_says(
    norm: str, size: Callable[[np.ndarray], float], centring: bool
) -> None:
    """The report divides by ``np.linalg.norm(image, 1)``, which is no sum of all but a largest
    column.
    """
    for image, result in zip(IMAGES, normalised(IMAGES, norm=norm, centring=centring), strict=True):
        centred = image - image.mean() if centring else image
        np.testing.assert_allclose(
            result, (centred / size(centred)).ravel(), rtol=1e-12, atol=1e-12
        )


@pytest.mark.parametrize("norm", ["none", "l1", "l2", "matrix-1"])
def test_a_vector_without_length_stays_as_it_is(norm: str) -> None:
    """A black image, or an image without descriptors, must not become a row of not-a-number."""
    features = np.zeros((2, 3, 3))
    features[1] = 7.0
    assert not normalised(features, norm=norm)[0].any()
    assert not normalised(features, norm=norm, centring=True).any()
    assert features[1, 0, 0] == 7.0


@pytest.mark.parametrize(
    ("norm", "shape"), [("matrix-1", (2, 9)), ("l3", (2, 9)), ("L1", (2, 3, 3))]
)
def test_a_norm_that_does_not_exist_here_is_refused(norm: str, shape: tuple[int, ...]) -> None:
    """A histogram has no columns to sum, and a norm misread as none would pass unnoticed."""
    with pytest.raises(
        ValueError, match=f"norm must be none, l1, l2, or .* but got '{norm}' for shape"
    ):
        normalised(np.ones(shape), norm=norm)


Vector = Sequence[float]


def _cosine(x: Vector, y: Vector) -> float:
    lengths = math.sqrt(sum(a * a for a in x)) * math.sqrt(sum(b * b for b in y))
    return 1 - sum(a * b for a, b in zip(x, y, strict=True)) / lengths if lengths else 1.0


def _histogram_intersection(x: Vector, y: Vector) -> float:
    smaller = min(sum(x), sum(y))
    return 1 - sum(map(min, x, y)) / smaller if smaller else 1.0


def _bray_curtis(x: Vector, y: Vector) -> float:
    total = sum(x) + sum(y)
    return sum(abs(a - b) for a, b in zip(x, y, strict=True)) / total if total else 0.0


DEFINITIONS: dict[str, Callable[[Vector, Vector], float]] = {
    "euclidean": lambda x, y: math.sqrt(sum((a - b) ** 2 for a, b in zip(x, y, strict=True))),
    "cityblock": lambda x, y: sum(abs(a - b) for a, b in zip(x, y, strict=True)),
    "cosine": _cosine,
    "chi-squared": lambda x, y: (
        sum((a - b) ** 2 / (a + b) for a, b in zip(x, y, strict=True) if a + b) / 2
    ),
    "hellinger": lambda x, y: math.sqrt(
        sum((math.sqrt(a) - math.sqrt(b)) ** 2 for a, b in zip(x, y, strict=True)) / 2
    ),
    "histogram-intersection": _histogram_intersection,
    "bray-curtis": _bray_curtis,
}


def histograms(rows: int, seed: int) -> np.ndarray:
    """Non-negative vectors with zeros in them, one all zeros, two of them equal, of very different
    sizes.
    """
    generator = np.random.default_rng(seed)
    vectors = (
        generator.random((rows, 9))
        * generator.integers(0, 2, (rows, 9))
        * 10.0 ** generator.integers(-2, 3, (rows, 1))
    )
    vectors[0], vectors[-1] = 0.0, vectors[1]
    return vectors


def test_there_is_a_definition_of_every_metric_that_is_searched() -> None:
    """A metric that no test compares could be anything under its name."""
    assert (
        set(DISTANCES)
        == set(DEFINITIONS)
        == set(metric_parameter().domain.values())
        == {*SIGNED_METRICS, *HISTOGRAM_METRICS}
    )


@pytest.mark.parametrize("metric", sorted(DISTANCES))
@pytest.mark.parametrize("writable", [True, False])
def test_a_distance_is_what_its_definition_says(metric: str, writable: bool) -> None:
    """The fast form must be the published one, rows of zeros and read-only arrays of the object
    store included.
    """
    queries, gallery = histograms(12, 0), histograms(15, 1)
    gallery[5] = queries[3]
    queries.flags.writeable = gallery.flags.writeable = writable
    expected = [[DEFINITIONS[metric](x, y) for y in gallery.tolist()] for x in queries.tolist()]
    result = distances(queries, gallery, metric)
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("metric", SIGNED_METRICS)
def test_signed_metrics_take_negative_numbers(metric: str) -> None:
    """Centred images have them."""
    vectors = np.random.default_rng(0).normal(size=(8, 5))
    expected = [[DEFINITIONS[metric](x, y) for y in vectors.tolist()] for x in vectors.tolist()]
    np.testing.assert_allclose(distances(vectors, vectors, metric), expected, rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("metric", HISTOGRAM_METRICS)
@pytest.mark.parametrize("at_fault", [0, 1])
def test_histogram_metrics_refuse_negative_numbers(metric: str, at_fault: int) -> None:
    """They would give a number all the same, and it would mean nothing."""
    pair = [np.ones((2, 3)), np.ones((2, 3))]
    pair[at_fault][1, 1] = -0.001
    with pytest.raises(
        ValueError,
        match=f"metric {metric} is for histograms, but the features have negative numbers",
    ):
        distances(*pair, metric)


@pytest.mark.parametrize("metric", ["euclidean", "chi-squared", "cosine"])
def test_a_distance_that_is_no_number_is_refused(metric: str) -> None:
    """Not-a-number sorts last or first without a word, and the neighbours would be any."""
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=r"not finite|NaN|infinity"):
        distances(np.array([[1.0, np.nan]]), np.ones((2, 2)), metric)


def test_an_unknown_metric_is_refused_with_those_there_are() -> None:
    """Names differ between libraries."""
    with pytest.raises(
        ValueError,
        match=r"unknown distance 'manhattan'; the distances are euclidean, .*",
    ):
        distances(np.ones((1, 2)), np.ones((1, 2)), "manhattan")
