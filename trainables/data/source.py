"""A dataset as stages see it: its facts, and stages that read its splits."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.data.dataset import Dataset, Images, Int64
from trainables.data.options import ReadOptions
from trainables.data.spec import read_dataset
from trainables.data.validation import comes_in
from trainables.images.rule import PLAIN, Rule
from trainables.stages.device import CORES
from trainables.stages.stage import Stage, join

Float64 = npt.NDArray[np.float64]


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
        largest_class: training images of the class that has the most, in the smallest part that is
            judged; ``groups`` likewise.
        square: side of the squares that images are packed as; 0 where they keep their shapes.
        groups: of training images that must not be parted; 0 where each stands for itself.
        shorter: median of the training images' shorter sides, pixels.
        device: where stages compute that can do so on a GPU; the driver says it.
        rungs: shares of the training images that trials are judged on, one after the other, the
            last of which is all of them; none where they are judged on all at once.
        counts: training images of each of these parts, of which each lies within the next.
        drawn: seed by which it was drawn which images come first.
        part: which of the parts ``labels``, ``rows`` and ``by_pieces`` are of, from 1; 0 for all
            images.
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
    rungs: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    drawn: int = 0
    part: int = 0

    @property
    def steps(self) -> int:
        """In how many steps a trial is judged on them."""
        return max(1, len(self.rungs))

    def at(self, step: int) -> DataSource:
        """As a trial sees them in a step, from 0."""
        return replace(self, part=step + 1) if self.rungs else self

    def rows(self, split: str) -> int:
        """Images of one split, or of the part."""
        return self.counts[self.part - 1] if self._parted(split) else self.sizes[split]

    def _parted(self, split: str) -> bool:
        """Whether not all of the split's images are seen."""
        return split == "train" and 0 < self.part < len(self.rungs)

    def order(self) -> Stage:
        """The share of the training images from which on each of them is seen."""
        return Stage(comes_in, {"seed": self.drawn}, replace(self, part=0).folded_by(), light=True)

    def by_pieces(
        self, split: str, images: Stage, make: Callable[[Stage, int, int], Stage], large: int
    ) -> Stage:
        """What is made of each image alone, for all that are seen of one split; of a part only
        what it has beside the part before is made for it, and shared by all later ones.

        Args:
            images: all of the split's.
            make: of images, how many they are, and how many pixels they have together.
            large: bytes that it takes for an image.
        """
        size, pixels = self.sizes[split], self.pixels[split]
        if split != "train" or not self.part:
            return make(images, size, pixels)
        order, pieces = self.order(), []
        bounds = (0.0, *self.rungs[: self.part])
        counts = (0, *self.counts)
        for number in range(self.part):
            rows = counts[number + 1] - counts[number]
            if rows:
                span = {"low": bounds[number], "high": bounds[number + 1]}
                piece = Stage(piece_of, span, (images, order), light=True)
                pieces.append(make(piece, rows, pixels * rows // max(1, size)))
        spans = {"bounds": list(bounds)}
        return Stage(in_order, spans, (order, *pieces), large=large * counts[self.part], quick=True)

    def images(self, split: str) -> Stage:
        """Of one split, in grey."""
        return Stage(split_images, {"split": split}, (self.stage,))

    def pictures(self, split: str) -> Stage:
        """Of one split, as they are read."""
        return Stage(split_pictures, {"split": split}, (self.stage,))

    def labels(self, split: str) -> Stage:
        return self._seen(split, Stage(split_labels, {"split": split}, (self.stage,), light=True))

    def _seen(self, split: str, of_all: Stage) -> Stage:
        """What there is of each image, for those that are seen."""
        if not self._parted(split):
            return of_all
        below = {"share": self.rungs[self.part - 1]}
        return Stage(part_of, below, (of_all, self.order()), light=True)

    def folded_by(self) -> tuple[Stage, ...]:
        """What folds of the training images are made from: labels, and groups where there are."""
        together = Stage(split_groups, {"split": "train"}, (self.stage,), light=True)
        labels = self.labels("train")
        return (labels, self._seen("train", together)) if self.groups else (labels,)


def data_source(
    dataset: Dataset, options: ReadOptions, rungs: tuple[float, ...] = ()
) -> DataSource:
    """The facts of a dataset, with a stage that reads it again if its pixels are lost; seen in
    parts of these shares, if there are any.
    """
    parameters = {
        "spec": dataset.spec,
        "options": asdict(options),
        "fingerprint": dataset.fingerprint,
    }
    stage = Stage(load_dataset, parameters, content=dataset.fingerprint, light=True)
    sizes = {name: len(part) for name, part in dataset.splits().items()}
    pixels = {name: part.images.area for name, part in dataset.splits().items()}
    most, groups, counts = smallest_part(dataset, rungs, options.seed)
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
        groups,
        dataset.square,
        rungs=rungs,
        counts=counts,
        drawn=options.seed,
    )


def smallest_part(
    dataset: Dataset, rungs: tuple[float, ...], seed: int
) -> tuple[int, int, tuple[int, ...]]:
    """Images of the class that has the most and number of groups (0 where there are none), both in
    the smallest part that is judged; and the images of each part.
    """
    train, counts = dataset.train, tuple[int, ...]()
    labels, groups = train.labels, train.groups
    if rungs:
        order = comes_in(labels, groups, seed=seed)
        counts = tuple(int((order < rung).sum()) for rung in rungs)
        first = order < rungs[0]
        labels, groups = labels[first], None if groups is None else groups[first]
    most = int(np.bincount(labels).max(initial=0))
    return most, 0 if groups is None else len(np.unique(groups)), counts


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


def piece_of(images: Images, order: Float64, *, low: float, high: float) -> Images:
    """The training images that come in from one share on up to another, without the others."""
    taken = images.take(np.flatnonzero((low <= order) & (order < high)))
    return taken if images.packed else Images.from_arrays(taken)


def part_of(each: Int64, order: Float64, *, share: float) -> Int64:
    """Of one value for each training image, those of the part that is ``share`` of them."""
    return each[order < share]


def in_order(order: Float64, *pieces: Any, bounds: list[float]) -> Any:
    """What was made piece by piece, in the order of the training images."""
    rows = [
        np.flatnonzero((low <= order) & (order < high)) for low, high in itertools.pairwise(bounds)
    ]
    place, made = np.argsort(np.concatenate(rows)), join(list(pieces))
    if isinstance(made, Mapping):
        return {name: one[place] for name, one in made.items()}
    return made[place]
