"""Nearest neighbours and their votes, each against its definition or another library."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits

from spaces.ours.knn import DISTANCES
from trainables.neighbours.distances import distances
from trainables.neighbours.nearest import Neighbours, nearest_neighbours, votes_by_k
from trainables.stages.stage import BLOCK


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
