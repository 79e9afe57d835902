"""Nearest words and distances through torch give what NumPy and faiss give; on CUDA too, where
there is a device.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainables.knn.descriptors import Descriptors
from trainables.knn.encoding import word_counts
from trainables.knn.sift import transformed
from trainables.neighbours.nearest import nearest_neighbours

GENERATOR = np.random.default_rng(5)
WORDS = (GENERATOR.random((30, 128)) / 8).astype(np.float32)
FOUND = Descriptors(
    GENERATOR.integers(0, 200, (9000, 128), dtype=np.uint8),
    GENERATOR.integers(0, 16, 9000, dtype=np.uint8),
    np.array([8500, 8500, 9000]),
)
TORCH = [
    "cpu:0",  # torch on the cores: "cpu" alone means NumPy and faiss
    pytest.param(
        "cuda",
        marks=[
            pytest.mark.gpu,
            pytest.mark.skipif(
                not torch.cuda.is_available(),
                reason="no CUDA device here: words and distances on it were not tested",
            ),
        ],
    ),
]


def equals() -> int:
    """Descriptors whose two nearest words are equally near as far as 32 bits can tell, whose
    rounding differs from product to product.
    """
    descriptors, words = (
        transformed(FOUND.values, "root").astype(np.float64),
        WORDS.astype(np.float64),
    )
    score = np.sort(descriptors @ words.T - (words * words).sum(axis=1) / 2, axis=1)
    return int(
        (score[:, -1] - score[:, -2] < 8 * np.finfo(np.float32).eps * np.abs(score[:, -1])).sum()
    )


@pytest.mark.parametrize("device", TORCH)
@pytest.mark.parametrize("assignment", ["hard", "soft"])
def test_torch_counts_the_same_words(device: str, assignment: str) -> None:
    """A search on a GPU must find what one without would."""
    expected = word_counts(FOUND, WORDS, transform="root", assignment=assignment)
    counts = word_counts(FOUND, WORDS, transform="root", assignment=assignment, device=device)
    assert counts.dtype == np.float32
    assert counts[1].sum() == 0, "an image without descriptors has no words"
    assert counts.sum() == pytest.approx(9000)
    # one that goes to the other of two equals moves 1 from a count to another
    if assignment == "hard":
        assert np.abs(counts - expected).sum() <= 2 * equals() < 40
    else:
        np.testing.assert_allclose(counts, expected, atol=0.01)


@pytest.mark.parametrize("device", TORCH)
@pytest.mark.parametrize(
    "metric",
    ["cityblock", "histogram-intersection", "bray-curtis", "euclidean", "hellinger", "chi-squared"],
)
def test_neighbours_through_torch_are_the_same_to_the_last_bit(device: str, metric: str) -> None:
    """Only bounds come from the device; what may be among the nearest is compared exactly, ties
    included.
    """
    vectors = np.random.default_rng(6).integers(0, 4, (150, 12)).astype(np.float32)
    groups = np.arange(150) // 2
    expected = nearest_neighbours(vectors, vectors, groups, metric=metric, most=20)
    found = nearest_neighbours(vectors, vectors, groups, metric=metric, most=20, device=device)
    assert found["indices"].tolist() == expected["indices"].tolist()
    assert found["distances"].tobytes() == expected["distances"].tobytes()
