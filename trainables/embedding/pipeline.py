"""From one configuration to its stages, and from their answers to predictions."""

from __future__ import annotations

import numpy as np

from spaces.ours.embedding import EmbeddingConfig
from trainables.data.dataset import Int64
from trainables.data.source import DataSource
from trainables.data.validation import Validation, validation_groups
from trainables.embedding.features import (
    BATCH,
    Features,
    chosen,
    mean_of_views,
    network_features,
)
from trainables.embedding.heads import Float64, fit
from trainables.pretrained.facts import Weights
from trainables.pretrained.network import weights_stage
from trainables.stages.device import on
from trainables.stages.stage import Stage

MOST_BYTES = 4 * 4096
"""Of an image's features, about: of two layers, each pooled in two ways."""


def features_stage(
    config: EmbeddingConfig, weights: Weights, data: DataSource, split: str, mirrored: bool = False
) -> Stage:
    """What the backbone sees in the images of one split, or in their mirror images."""
    parameters = {
        "weights": weights.content,
        "side": config.side,
        "crop": config.crop,
        "mirrored": mirrored,
        "own": config.pooling == "own",
    } | on(data.device)

    def made(pictures: Stage, rows: int, pixels: int) -> Stage:
        inputs = (pictures, weights_stage(weights))
        return Stage(network_features, parameters, inputs, rows, grain=BATCH)

    return data.by_pieces(split, data.pictures(split), made, MOST_BYTES)


def seen_stage(config: EmbeddingConfig, weights: Weights, data: DataSource, split: str) -> Stage:
    """The (n, d) features of one split, of all layers and poolings, by the views that the
    configuration says.
    """
    plain = features_stage(config, weights, data, split)
    if config.views == "one":
        return plain
    mirror = features_stage(config, weights, data, split, mirrored=True)
    return Stage(mean_of_views, {}, (plain, mirror), quick=True)


def out_of_fold(
    config: EmbeddingConfig,
    features: Features,
    labels: Int64,
    classes: int,
    validation: Validation,
    together: Int64 | None = None,
) -> Float64:
    """(n, classes) scores of each training image, by a classifier that was fitted without its
    fold.
    """
    vectors = chosen(features, config.layer, config.pooling)
    folds = validation_groups(
        labels, together, scheme=validation.scheme, folds=validation.folds, seed=validation.seed
    )
    scores = np.empty((len(labels), classes))
    for fold in np.unique(folds):
        held = folds == fold
        fitted = fit(config, vectors[~held], labels[~held], classes)
        scores[held] = fitted.scores(vectors[held])
    return scores


def held_out(
    config: EmbeddingConfig,
    train: Features,
    labels: Int64,
    judged: Features,
    classes: int,
) -> Float64:
    """(m, classes) scores of other images, by a classifier that was fitted on all of ``train``."""
    pick = (config.layer, config.pooling)
    return fit(config, chosen(train, *pick), labels, classes).scores(chosen(judged, *pick))
