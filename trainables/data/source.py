"""A dataset as stages see it: its facts, and stages that read its splits."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from trainables.data.dataset import Dataset, Images, Int64
from trainables.data.options import ReadOptions
from trainables.data.spec import read_dataset
from trainables.images.rule import PLAIN, Rule
from trainables.stages.device import CORES
from trainables.stages.stage import Stage


@dataclass(frozen=True)
class DataSource:
    """A dataset known by its facts, before its pixels are needed.

    Attributes:
        stage: reads it.
        classes: class names, in label order.
        sizes: images by split.
        pixels: of all images of a split together, by split.
        fingerprint: of the dataset.
        skipped: files that were left out as unreadable.
        rule: how what is not 8-bit grey or RGB was read.
        notes: what whoever uses it should know, a line each.
        largest_class: training images of the class that has the most.
        square: side of the squares that images are packed as; 0 where they keep their shapes.
        groups: of training images that must not be parted; 0 where each stands for itself.
        shorter: median of the training images' shorter sides, pixels.
        device: where stages compute that can do so on a GPU; the driver says it.
    """

    stage: Stage
    classes: tuple[str, ...]
    sizes: dict[str, int]
    pixels: dict[str, int]
    fingerprint: str
    skipped: tuple[str, ...] = ()
    rule: Rule = PLAIN
    notes: tuple[str, ...] = ()
    largest_class: int = 0
    shorter: int = 0
    groups: int = 0
    square: int = 0
    device: str = CORES

    def images(self, split: str) -> Stage:
        """Of one split, in grey."""
        return Stage(split_images, {"split": split}, (self.stage,))

    def pictures(self, split: str) -> Stage:
        """Of one split, as they are read."""
        return Stage(split_pictures, {"split": split}, (self.stage,))

    def labels(self, split: str) -> Stage:
        return Stage(split_labels, {"split": split}, (self.stage,), light=True)

    def folded_by(self) -> tuple[Stage, ...]:
        """What folds of the training images are made from: labels, and groups where there are."""
        together = Stage(split_groups, {"split": "train"}, (self.stage,), light=True)
        return (self.labels("train"), together) if self.groups else (self.labels("train"),)


def data_source(dataset: Dataset, options: ReadOptions) -> DataSource:
    """The facts of a dataset, with a stage that reads it again if its pixels are lost."""
    parameters = {
        "spec": dataset.spec,
        "options": asdict(options),
        "fingerprint": dataset.fingerprint,
    }
    stage = Stage(load_dataset, parameters, content=dataset.fingerprint, light=True)
    sizes = {name: len(part) for name, part in dataset.splits().items()}
    pixels = {name: part.images.area for name, part in dataset.splits().items()}
    most = int(np.bincount(dataset.train.labels).max(initial=0))
    return DataSource(
        stage,
        dataset.classes,
        sizes,
        pixels,
        dataset.fingerprint,
        dataset.skipped,
        dataset.rule,
        dataset.notes,
        most,
        shorter_side(dataset.train.images),
        0 if dataset.train.groups is None else len(np.unique(dataset.train.groups)),
        dataset.square,
    )


def shorter_side(images: Images) -> int:
    """Median of the shorter sides, pixels."""
    return int(np.median(images.shapes[:, :2].min(axis=1)))


def load_dataset(*, spec: str, options: dict[str, Any], fingerprint: str) -> Dataset:
    """The dataset, if it still is what it was when the search began.

    Raises:
        ValueError: if its content has changed since.
    """
    dataset = read_dataset(spec, ReadOptions(**options | {"rule": Rule(**options["rule"])}))
    if dataset.fingerprint != fingerprint:
        raise ValueError(
            f"{spec}: the images have changed since this search began; start a new search"
        )
    return dataset


def split_images(dataset: Dataset, *, split: str) -> Images:
    return dataset.splits()[split].images.grey()


def split_pictures(dataset: Dataset, *, split: str) -> Images:
    return dataset.splits()[split].images


def split_groups(dataset: Dataset, *, split: str) -> Int64:
    found = dataset.splits()[split].groups
    assert found is not None  # asked for where there are some
    return found


def split_labels(dataset: Dataset, *, split: str) -> Int64:
    return dataset.splits()[split].labels
