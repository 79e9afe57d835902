"""From one configuration to its stages, and from their answers to predictions."""

from __future__ import annotations

import numpy as np

from spaces.ours.embedding import EmbeddingConfig
from trainables.data.dataset import Int64
from trainables.data.source import DataSource
from trainables.data.validation import Validation, validation_groups
from trainables.embedding.features import BATCH, Float32, chosen, network_features
from trainables.embedding.heads import Float64, fit
from trainables.pretrained.backbones import BACKBONES
from trainables.stages.stage import Stage


def features_stage(
    config: EmbeddingConfig, data: DataSource, split: str, mirrored: bool = False
) -> Stage:
    """What the backbone sees in the images of one split, or in their mirror images."""
    parameters = {
        "backbone": config.backbone,
        "weights": BACKBONES[config.backbone].sha256,
        "side": config.side,
        "crop": config.crop,
        "mirrored": mirrored,
    }
    return Stage(
        network_features, parameters, (data.pictures(split),), data.sizes[split], grain=BATCH
    )


def seen_stage(config: EmbeddingConfig, data: DataSource, split: str) -> Stage:
    """The (n, d) features of one split, of all layers and poolings, by the views that the
    configuration says.
    """
    plain = features_stage(config, data, split)
    if config.views == "one":
        return plain
    return Stage(mean_of_views, {}, (plain, features_stage(config, data, split, mirrored=True)))


def mean_of_views(*views: Float32) -> Float32:
    """(n, d) mean of the features of several views; a stage of the search."""
    mean = np.mean(np.stack(views), axis=0, dtype=np.float64)
    return np.asarray(mean, np.float32)


def out_of_fold(
    config: EmbeddingConfig,
    features: Float32,
    labels: Int64,
    classes: int,
    validation: Validation,
) -> Float64:
    """(n, classes) scores of each training image, by a classifier that was fitted without its
    fold.
    """
    vectors = chosen(features, config.backbone, config.layer, config.pooling)
    folds = validation_groups(
        labels, scheme=validation.scheme, folds=validation.folds, seed=validation.seed
    )
    scores = np.empty((len(labels), classes))
    for fold in np.unique(folds):
        held = folds == fold
        fitted = fit(config, vectors[~held], labels[~held], classes)
        scores[held] = fitted.scores(vectors[held])
    return scores


def held_out(
    config: EmbeddingConfig,
    train: Float32,
    labels: Int64,
    judged: Float32,
    classes: int,
) -> Float64:
    """(m, classes) scores of other images, by a classifier that was fitted on all of ``train``."""
    pick = (config.backbone, config.layer, config.pooling)
    return fit(config, chosen(train, *pick), labels, classes).scores(chosen(judged, *pick))
