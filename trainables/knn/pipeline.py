"""From one configuration to its stages, and from their answers to its score."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from spaces import BagOfSiftConfig, TinyImageConfig
from spaces.ours.knn import MAX_K
from trainables.data.scores import MOST_SHARES, Scores, score
from trainables.data.source import DataSource
from trainables.data.validation import Validation, validation_groups
from trainables.knn.descriptors import dense_descriptors
from trainables.knn.encoding import streamed_word_counts, word_counts
from trainables.knn.regions import inverse_document_frequency, region_features
from trainables.knn.sift import DESCRIPTOR, GRID, sampled_descriptors
from trainables.knn.tiny import tiny_images
from trainables.knn.vocabulary import vocabulary
from trainables.neighbours.nearest import (
    Neighbours,
    nearest_neighbours,
    predicted_by_k,
    votes_by_k,
)
from trainables.neighbours.norms import Floats, normalised
from trainables.stages.device import CORES, on
from trainables.stages.stage import Stage

KnnConfig = TinyImageConfig | BagOfSiftConfig
VOCABULARY_DESCRIPTORS = 50_000
VOCABULARY_IMAGES = 600
"""A vocabulary is made from at most this many descriptors, of at most this many images."""
SHARED_BYTES = 1536 * 1024**2
"""Descriptors of more bytes than this are made, counted and dropped image by image for every
vocabulary.
"""

BAGS, DISTANCES = 2048, 4_000_000
"""Feature vectors made of word counts, and distances between images, that are worth a task of their
own: about a tenth of a second.
"""

Int64 = npt.NDArray[np.int64]


def words_stage(config: BagOfSiftConfig, data: DataSource, seed: int) -> Stage:
    """The vocabulary of a bag of SIFT, made from the training images alone; also of a part of them
    from all, of which it looks at a few hundred: so it is made once.
    """
    grid = {
        "step": config.vocabulary_step,
        "bin_size": config.bin_size,
        "fast": config.fast,
        "scales": config.scales,
    }
    limits = {
        "most": VOCABULARY_DESCRIPTORS,
        "most_images": VOCABULARY_IMAGES,
        "seed": seed,
        "total": data.sizes["train"],
    }
    sample = Stage(sampled_descriptors, grid | limits, (data.images("train"),), data.sizes["train"])
    return Stage(
        vocabulary,
        {"size": config.vocabulary_size, "transform": config.transform, "seed": seed},
        (sample,),
    )


def counts_of(
    config: BagOfSiftConfig, data: DataSource, split: str, words: Stage, mirrored: bool = False
) -> Stage:
    """The word counts of the images that are seen of one split, or of their mirror images."""

    def made(images: Stage, rows: int, pixels: int) -> Stage:
        return counts_stage(config, images, words, rows, pixels, mirrored, data.device)

    size = 4 * GRID * GRID * config.vocabulary_size
    return data.by_pieces(split, data.images(split), made, size)


def counts_stage(
    config: BagOfSiftConfig,
    images: Stage,
    words: Stage,
    rows: int,
    pixels: int,
    mirrored: bool = False,
    device: str = CORES,
) -> Stage:
    """The (rows, 16, size) word counts of ``rows`` images that have ``pixels`` in all, or of their
    mirror images.
    """
    grid = {
        "step": config.step,
        "bin_size": config.bin_size,
        "fast": config.fast,
        "scales": config.scales,
        "mirrored": mirrored,
    }
    encoding = {"transform": config.transform, "assignment": config.assignment}
    size = pixels * config.scales * DESCRIPTOR // config.step**2
    if size > SHARED_BYTES:
        return Stage(streamed_word_counts, grid | encoding, (images, words), rows)
    descriptors = Stage(dense_descriptors, grid, (images,), rows, large=max(1, size))
    return Stage(word_counts, encoding | on(device), (descriptors, words), rows)


def weights_stage(config: BagOfSiftConfig, data: DataSource, seed: int) -> Stage:
    """The weight of each word, from the training images alone."""
    counts = counts_of(config, data, "train", words_stage(config, data, seed))
    return Stage(inverse_document_frequency, {}, (counts,), quick=True)


def bag_stage(config: BagOfSiftConfig, counts: Stage, weights: Stage | None, rows: int) -> Stage:
    """Word counts as (rows, d) feature vectors."""
    inputs = (counts, weights) if weights else (counts,)
    size = 4 * rows * config.vocabulary_size * (1 + GRID + GRID * GRID)
    return Stage(
        region_features,
        {"regions": config.regions, "norm": config.norm},
        inputs,
        rows,
        BAGS,
        large=size,
        quick=True,
    )


def tiny_stage(config: TinyImageConfig, images: Stage, rows: int, mirrored: bool = False) -> Stage:
    """Tiny images as (rows, size²) feature vectors."""
    parameters = {"size": config.size, "resampling": config.resampling, "mirrored": mirrored}
    tiny = Stage(tiny_images, parameters, (images,), rows, quick=True)
    return Stage(
        normalised,
        {"norm": config.norm, "centring": config.centring},
        (tiny,),
        large=8 * rows * config.size**2,
        quick=True,
    )


def features_stage(
    config: KnnConfig, data: DataSource, split: str, seed: int, mirrored: bool = False
) -> Stage:
    """The (n, d) feature vectors of one split, or of its mirror images."""
    if isinstance(config, TinyImageConfig):
        small = config  # what is left of it knows that it is one

        def made(images: Stage, rows: int, pixels: int) -> Stage:
            return tiny_stage(small, images, rows, mirrored)

        return data.by_pieces(split, data.images(split), made, 8 * config.size**2)
    counts = counts_of(config, data, split, words_stage(config, data, seed), mirrored)
    weights = weights_stage(config, data, seed) if config.idf else None
    return bag_stage(config, counts, weights, data.rows(split))


def gallery_stage(config: KnnConfig, data: DataSource, seed: int) -> Stage:
    """The feature vectors that vote: of the training images and, if the configuration says so, of
    their mirror images after them.
    """
    features = features_stage(config, data, "train", seed)
    if not config.mirrored:
        return features
    other = features_stage(config, data, "train", seed, mirrored=True)
    return Stage(stacked, {}, (features, other), large=features.large + other.large, quick=True)


def stacked(*parts: Floats) -> Floats:
    return np.concatenate(parts)


def neighbours_stage(config: KnnConfig, data: DataSource, split: str, seed: int) -> Stage:
    """The training neighbours of each image of ``split``, another split than train."""
    gallery, queries = gallery_stage(config, data, seed), features_stage(config, data, split, seed)
    return _neighbours(config, data, (queries, gallery), split)


def _neighbours(
    config: KnnConfig, data: DataSource, inputs: tuple[Stage, ...], split: str
) -> Stage:
    grain = max(1, DISTANCES // data.rows("train"))
    return Stage(
        nearest_neighbours,
        {"metric": config.metric, "most": MAX_K} | on(data.device),
        inputs,
        data.rows(split),
        grain,
        quick=True,
    )


def validation_stage(
    config: KnnConfig, data: DataSource, validation: Validation, seed: int
) -> Stage:
    """The neighbours that ``validation`` compares configurations by."""
    if validation.scheme == "val":
        return neighbours_stage(config, data, "val", seed)
    parameters = asdict(validation) | {"copies": 2 if config.mirrored else 1}
    groups = Stage(validation_groups, parameters, data.folded_by(), quick=True)
    inputs = (
        features_stage(config, data, "train", seed),
        gallery_stage(config, data, seed),
        groups,
    )
    return _neighbours(config, data, inputs, "train")


@dataclass(frozen=True)
class Evaluation:
    """How well one configuration does on one set of images.

    Attributes:
        scores: at the configuration's own k.
        accuracy_by_k: accuracy for k = 1, 2, … with everything else as configured.
        predictions: (n,) int64 predicted class at the configuration's own k.
        shares: (n, classes) float64 of the vote there; None where they would be too many.
    """

    scores: Scores
    accuracy_by_k: tuple[float, ...]
    predictions: Int64
    shares: npt.NDArray[np.float64] | None = None


def evaluate(
    config: KnnConfig, neighbours: Neighbours, gallery_labels: Int64, labels: Int64, classes: int
) -> Evaluation:
    """The vote of ``neighbours`` against the true ``labels``; mirror images stand behind all images
    in the gallery.
    """
    gallery_labels = np.tile(gallery_labels, 2 if config.mirrored else 1)
    by_k = predicted_by_k(neighbours, gallery_labels, classes, config.vote, MAX_K)
    predictions = by_k[:, min(config.k, by_k.shape[1]) - 1]
    accuracies = (by_k == labels[:, None]).mean(axis=0)
    shares = None
    if len(labels) * classes <= MOST_SHARES:
        shares = votes_by_k(neighbours, gallery_labels, classes, config.vote, config.k)[1]
    return Evaluation(
        score(labels, predictions, classes),
        tuple(float(a) for a in accuracies),
        predictions,
        shares,
    )
