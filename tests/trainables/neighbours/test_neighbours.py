"""Norms, distances, neighbours, votes and scores, each against its definition or another
library.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits

from spaces.ours.knn import DISTANCES, signed_metrics
from spaces.ours.knn import metric as metric_parameter
from trainables.data.scores import confusion, score
from trainables.neighbours.distances import distances
from trainables.neighbours.nearest import Neighbours, nearest_neighbours, votes_by_k
from trainables.neighbours.norms import normalised
from trainables.stages.stage import BLOCK

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


def brute_neighbours(
    queries: np.ndarray, gallery: np.ndarray, most: int, groups: np.ndarray | None = None
) -> list[list[int]]:
    found = []
    for row, query in enumerate(queries):
        others = [i for i in range(len(gallery)) if groups is None or groups[i] != groups[row]]
        found.append(sorted(others, key=lambda i: (np.abs(query - gallery[i]).sum(), i))[:most])
    return found


@pytest.mark.parametrize("most", [1, 5, 40, 50])
def test_neighbours_are_the_nearest_in_order_and_ties_keep_the_order_of_training(most: int) -> None:
    """Whole numbers in few values make many ties, and a tie broken by chance makes a score that
    cannot be repeated.
    """
    generator = np.random.default_rng(0)
    queries, gallery = (
        generator.integers(0, 3, (BLOCK + 9, 3)).astype(float),
        generator.integers(0, 3, (40, 3)).astype(float),
    )
    found = nearest_neighbours(queries, gallery, metric="cityblock", most=most)
    assert found["indices"].tolist() == brute_neighbours(queries, gallery, min(most, 40))
    gaps = np.abs(queries[:, None] - gallery[found["indices"]]).sum(axis=2)
    np.testing.assert_array_equal(found["distances"], gaps)


@pytest.mark.parametrize("most", [4, 60, 1000])
def test_leave_one_out_never_returns_the_image_itself(most: int) -> None:
    """An image that votes for itself is always right, and every score would be 1."""
    vectors = np.random.default_rng(0).integers(0, 2, (BLOCK + 6, 3)).astype(float)
    groups = np.arange(len(vectors))
    found = nearest_neighbours(vectors, vectors, groups, metric="cityblock", most=most)
    assert found["indices"].shape == (len(vectors), min(most, len(vectors) - 1))
    assert not (found["indices"] == groups[:, None]).any()
    assert found["indices"].tolist() == brute_neighbours(vectors, vectors, most, groups)
    assert np.isfinite(found["distances"]).all()


def test_folds_never_return_an_image_of_the_same_fold() -> None:
    """Folds may differ in size by one, and none may look into itself for want of others."""
    generator = np.random.default_rng(0)
    vectors, groups = generator.integers(0, 2, (31, 3)).astype(float), np.arange(31) % 3
    found = nearest_neighbours(vectors, vectors, groups, metric="cityblock", most=1000)
    assert found["indices"].shape == (31, 20)
    assert not (groups[found["indices"]] == groups[:, None]).any()
    assert found["indices"].tolist() == brute_neighbours(vectors, vectors, 20, groups)


@pytest.mark.parametrize("vote", ["uniform", "distance"])
def test_votes_are_those_of_scikit_learn_for_every_k(vote: str) -> None:
    """The accuracy of every k is read off one ordering, so each must be what a classifier with that
    k says.
    """
    generator = np.random.default_rng(0)
    gallery, labels = generator.normal(size=(60, 4)), generator.integers(0, 5, 60)
    # the last ten lie at distance 0
    queries = np.concatenate([generator.normal(size=(30, 4)), gallery[:10]])
    neighbours = nearest_neighbours(queries, gallery, metric="cityblock", most=25)
    predictions, shares = votes_by_k(neighbours, labels, 5, vote, 25)
    for k in range(1, 26):
        other = KNeighborsClassifier(k, weights=vote, metric="cityblock").fit(gallery, labels)
        np.testing.assert_array_equal(
            predictions[:, k - 1], other.predict(queries), err_msg=f"k={k}"
        )
    np.testing.assert_allclose(shares, other.predict_proba(queries), atol=1e-12)


def fixed(rows: list[tuple[list[int], list[float]]]) -> Neighbours:
    return {
        "indices": np.array([row[0] for row in rows]),
        "distances": np.array([row[1] for row in rows], float),
    }


def test_a_tied_vote_goes_to_the_first_class() -> None:
    """As in scikit-learn; by chance, the same search would not give the same score twice."""
    labels = np.array([2, 1, 0, 1])
    neighbours = fixed([([0, 1, 2, 3], [1, 1, 1, 1])])
    for vote in ("uniform", "distance"):
        assert votes_by_k(neighbours, labels, 3, vote, 4)[0].tolist() == [[2, 1, 0, 1]]


def test_neighbours_at_distance_0_outvote_all_others() -> None:
    """1 / 0 is no weight; an identical image decides, and two of them share the decision."""
    labels = np.array([1, 0, 0, 0])
    predictions, shares = votes_by_k(
        fixed([([0, 1, 2, 3], [0, 0.1, 0.1, 0.1]), ([1, 0, 2, 3], [0, 0, 0.1, 0.1])]),
        labels,
        2,
        "distance",
        4,
    )
    assert predictions.tolist() == [[1, 1, 1, 1], [0, 0, 0, 0]]
    assert shares.tolist() == [[0, 1], [0.5, 0.5]]


def test_k_is_at_most_the_neighbours_there_are() -> None:
    """Small datasets have fewer images than the largest k."""
    predictions, _ = votes_by_k(fixed([([0, 1], [1, 2])]), np.array([1, 0]), 2, "uniform", 50)
    assert predictions.shape == (1, 2)
    with pytest.raises(ValueError, match="vote must be uniform or distance, but got 'weighted'"):
        votes_by_k(fixed([([0], [1])]), np.array([0]), 1, "weighted", 1)


LABELS = np.random.default_rng(0).integers(0, 4, (2, 200))


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [
        (LABELS[0], LABELS[1]),
        (LABELS[0], LABELS[0]),
        (LABELS[0], (LABELS[0] + 1) % 4),
        (np.array([0, 0, 1, 1]), np.array([0, 3, 3, 1])),
        (np.array([3, 3, 1, 3]), np.array([3, 1, 1, 1])),
    ],
    ids=["random", "perfect", "all wrong", "a class only predicted", "classes that do not occur"],
)
def test_scores_are_those_of_scikit_learn(labels: np.ndarray, predictions: np.ndarray) -> None:
    """A score under a known name must be that score."""
    ours = score(labels, predictions, 5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of classes that are only predicted
        assert ours.accuracy == pytest.approx(
            sklearn_metrics.accuracy_score(labels, predictions), abs=1e-15
        )
        assert ours.balanced_accuracy == pytest.approx(
            sklearn_metrics.balanced_accuracy_score(labels, predictions), abs=1e-15
        )
        assert ours.macro_f1 == pytest.approx(
            sklearn_metrics.f1_score(labels, predictions, average="macro"), abs=1e-15
        )
    expected = sklearn_metrics.confusion_matrix(labels, predictions, labels=range(5))
    np.testing.assert_array_equal(confusion(labels, predictions, 5), expected)


def test_a_row_of_the_confusion_matrix_is_a_true_class() -> None:
    """Read the other way round it would blame the wrong class."""
    matrix = confusion(np.array([0, 0, 1]), np.array([1, 1, 2]), 3)
    assert {
        (row, column): int(matrix[row, column])
        for row, column in itertools.product(range(3), repeat=2)
        if matrix[row, column]
    } == {
        (0, 1): 2,
        (1, 2): 1,
    }


@pytest.mark.parametrize("metric", DISTANCES)
def test_neighbours_have_the_same_bits_whatever_threads_a_caller_allows(metric: str) -> None:
    """A bundle is checked against its search to the last bit, and the two may run on different
    cores.
    """
    counts = np.random.default_rng(0).poisson(0.2, (600, 400)).astype(np.float64)
    found = []
    for threads in (1, 2):
        with threadpool_limits(threads):
            found.append(nearest_neighbours(counts, counts, np.arange(600), metric=metric, most=20))
    assert np.array_equal(found[0]["indices"], found[1]["indices"])
    assert np.array_equal(found[0]["distances"], found[1]["distances"])


@pytest.mark.parametrize(
    "metric", ["cityblock", "bray-curtis", "histogram-intersection", "euclidean", "hellinger"]
)
def test_neighbours_nearer_than_float32_can_tell_are_told_apart(metric: str) -> None:
    """Bounds are computed roughly: what they leave out must be further away however close the race
    is.
    """
    for noise in (1e-7, 1e-6):
        generator = np.random.default_rng(0)
        query = generator.random((1, 200)) + 0.5
        gallery = np.repeat(query + 0.25 * generator.random((1, 200)), 300, axis=0)
        gallery += noise * generator.random((300, 200))
        found = nearest_neighbours(query, gallery, metric=metric, most=20)
        full = distances(query, gallery, metric)[0]
        assert found["indices"][0].tolist() == np.argsort(full, kind="stable")[:20].tolist()
