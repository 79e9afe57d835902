"""What the parts of a bag of SIFT cost on one core here, by the library that could do them.

    python benchmarks/parts.py --scenes DIR

Best of three runs each, one thread. Prints one line a figure.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
from scipy.spatial.distance import cdist
from threadpoolctl import threadpool_limits

from trainables.data import ReadOptions, read_dataset
from trainables.knn.encoding import nearest_words
from trainables.knn.sift import dense_sift, transformed
from trainables.knn.vocabulary import vocabulary
from trainables.neighbours.nearest import nearest_neighbours


def seconds(action: Callable[[], object], runs: int = 3) -> float:
    """The least of ``runs`` times."""
    found = []
    for _ in range(runs):
        began = time.perf_counter()
        action()
        found.append(time.perf_counter() - began)
    return min(found)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", required=True, type=Path)
    images = read_dataset(
        f"folder:{parser.parse_args().scenes}", ReadOptions(max_side=512)
    ).train.images
    chosen = [images[row] for row in range(0, len(images), 100)]
    faiss.omp_set_num_threads(1)
    with threadpool_limits(1):
        for step in (1, 3, 5, 8):
            cost = seconds(
                lambda step=step: [dense_sift(i, step=step, bin_size=4, fast=True) for i in chosen]
            ) / len(chosen)  # type: ignore[misc]
            print(f"dsift, step {step}: {1000 * cost:.1f} ms an image")
        raw = np.concatenate(
            [dense_sift(image, step=3, bin_size=4, fast=True) for image in chosen]
        )[:50_000]
        points = transformed(raw, "root")
        words = vocabulary(raw, size=400, transform="root", seed=0)
        index = faiss.IndexFlatL2(128)
        index.add(words)
        some = points[:20_000]
        print(
            "20,000 descriptors to 400 words: numpy "
            f"{seconds(lambda: nearest_words(some, words)):.4f} s",
            end="",
        )
        print(
            f", faiss {seconds(lambda: index.search(some, 1)):.4f} s, scipy "
            f"{seconds(lambda: cdist(some, words).argmin(axis=1)):.4f} s"
        )
        means = faiss.Kmeans(128, 400, niter=20, seed=0, max_points_per_centroid=10**9)
        print(f"k-means, {len(points):,} points, 400 words, 20 rounds: ", end="")
        print(
            "scikit-learn "
            f"{seconds(lambda: vocabulary(raw, size=400, transform='root', seed=0)):.2f} s",
            end="",
        )
        print(f", faiss {seconds(lambda: means.train(points)):.2f} s")
        for size in (400, 8400):
            features = np.random.default_rng(0).random((1500, size)).astype(np.float32)
            features *= np.random.default_rng(1).random((1500, size)) < 0.3
            few = features[:192]
            for metric in ("cityblock", "euclidean"):
                ours = seconds(
                    lambda few=few, all_=features, m=metric: nearest_neighbours(
                        few, all_, np.arange(1500), metric=m, most=50
                    ),
                    2,
                )  # type: ignore[misc]
                plain = seconds(
                    lambda few=few, all_=features, m=metric: np.argsort(
                        cdist(few, all_, m), kind="stable"
                    ),
                    2,
                )  # type: ignore[misc]
                print(
                    f"50 neighbours of 192 in 1,500 vectors of {size}, {metric}: ours "
                    f"{ours:.3f} s, scipy and a sort {plain:.3f} s"
                )


if __name__ == "__main__":
    main()
