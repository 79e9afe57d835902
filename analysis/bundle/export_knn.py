"""The chosen kNN configuration as a classifier, and the check of what was written."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from analysis.bundle.knn import Int64, KnnModel
from analysis.bundle.source import Source, bundle_facts
from analysis.run.records import TrialRecord
from spaces import BagOfSiftConfig
from trainables.data import Dataset
from trainables.data.source import data_source
from trainables.data.validation import Validation, validation_groups
from trainables.knn.neighbours import nearest_neighbours
from trainables.knn.pipeline import CONFIG_TYPES, gallery_stage, weights_stage, words_stage
from trainables.stages.stage import compute


def make_knn(source: Source, record: TrialRecord, dataset: Dataset) -> KnnModel:
    """The trial's classifier, made again from the training images."""
    config = CONFIG_TYPES[record.space](**record.config)  # type: ignore[arg-type]
    data = data_source(dataset, source.options)
    memo = {data.stage.digest: dataset}
    features = compute(gallery_stage(config, data, source.seed), memo, cache=source.cache)
    vocabulary = weights = None
    if isinstance(config, BagOfSiftConfig):
        vocabulary = compute(words_stage(config, data, source.seed), memo, cache=source.cache)
        weights = (
            compute(weights_stage(config, data, source.seed), memo, cache=source.cache)
            if config.idf
            else None
        )
    # mirror images have their image's
    labels = np.tile(dataset.train.labels, len(features) // len(dataset.train.labels))
    return KnnModel(
        bundle_facts(source, record, dataset, "knn"), features, labels, vocabulary, weights
    )


def leave_out(model: KnnModel, validation: Validation, dataset: Dataset) -> tuple[Int64, Int64]:
    """True and predicted classes of the training images, each classified by the others, from the
    bundle's own arrays.
    """
    n = len(dataset.train)
    groups = validation_groups(
        model.labels[:n], **asdict(validation), copies=len(model.labels) // n
    )
    neighbours = nearest_neighbours(
        model.features[:n], model.features, groups, metric=model.config.metric, most=model.config.k
    )
    return model.labels[:n], model.vote(neighbours)[0]
