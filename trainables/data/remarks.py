"""What a look at the pixels of a dataset says to whoever uses it: how deep values were read, images
of next to nothing, copies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from trainables.data.dataset import Dataset, Images, Int64, UInt8
from trainables.stages.shards import Shards
from trainables.stages.stage import Stage

LEVELS = 16
"""An image whose values, from the darkest to the brightest, span fewer levels of 256 uses under a
sixteenth of the range.
"""
PROBED = 64
"""Pixels of an image that are looked at first: most span the levels, and its others need no
look.
"""
SPANNED = 8192
"""Images that are looked at together."""
MANY = 0.1
"""Share of the images of a split that is worth a warning."""
WHOSE = {"train": "training", "val": "validation", "test": "test"}


def remarks(dataset: Dataset) -> Iterator[str]:
    """Say what is odd about a dataset, one line at a time; warnings begin with ``warning: ``."""
    yield from dataset.rule.lines()
    for name, part in dataset.splits().items():
        ranges = spans(part.images)
        narrow, flat = int((ranges < LEVELS).sum()), int((ranges == 0).sum())
        if narrow and narrow >= MANY * len(part):
            of_one = f" ({flat:,} of them one colour all over)" if flat else ""
            yield (
                f"warning: {narrow:,} of {len(part):,} {WHOSE[name]} images use under a "
                "sixteenth of the range from black to white"
                f"{of_one}, so there is next to nothing to see in them; look at how they were saved"
            )
    yield from _copies(dataset)


def with_kept_remarks(dataset: Dataset) -> Dataset:
    """A data set of packed images with its remarks and its fingerprint, which need a look at every
    pixel: taken once, and kept beside them.
    """
    pixels = dataset.train.images.pixels
    assert isinstance(pixels, Shards)
    stage = Stage(remarked, {"images": _identity(dataset)})
    found = pixels.cache.read(stage)
    if found is None:
        known = {"fingerprint": dataset.fingerprint, "notes": [*remarks(dataset)]}
        found = np.frombuffer(json.dumps(known).encode(), np.uint8)
        pixels.cache.write(stage, found)
    said = json.loads(found.tobytes())
    told = replace(dataset, notes=(*dataset.notes, *said["notes"]))
    told.__dict__["fingerprint"] = said["fingerprint"]  # as the cached property would
    return told


def remarked(**parameters: Any) -> Any:
    """The stage function under whose digest the remarks on a dataset are kept; it is never run."""
    raise NotImplementedError


def _identity(dataset: Dataset) -> str:
    """A digest of all that decides remarks and fingerprint, without a look at a pixel."""
    digest = hashlib.sha256(repr((dataset.classes, dataset.rule)).encode(errors="backslashreplace"))
    for name, part in dataset.splits().items():
        pixels = part.images.pixels
        assert isinstance(pixels, Shards)
        digest.update(repr((name, [stage.digest for stage in pixels.stages])).encode())
        for numbers in (part.images.shapes, part.images.offsets, part.labels, part.groups):
            digest.update(b"none" if numbers is None else np.ascontiguousarray(numbers).data)
    return digest.hexdigest()


def spans(images: Images) -> Int64:
    """(n,) from the least to the greatest value of each image, of its channel with the most; of a
    few pixels where those span enough.
    """
    shapes = images.shapes
    if len(images) > SPANNED:
        starts = range(0, len(images), SPANNED)
        return np.concatenate([spans(images[start : start + SPANNED]) for start in starts])
    if (
        len(images)
        and (shapes == shapes[0]).all()
        and (np.diff(images.offsets) == shapes[0].prod()).all()
        and not images.as_grey
    ):
        start, size = int(images.offsets[0]), int(shapes[0].prod())
        return _spans(
            images.pixels[start : start + size * len(images)].reshape(
                len(images), -1, int(shapes[0, 2])
            )
        )
    stacks = (image.reshape(1, -1, image.shape[2] if image.ndim == 3 else 1) for image in images)
    return np.array([_spans(stack)[0] for stack in stacks], np.int64)


def _spans(stack: UInt8) -> Int64:
    """The same of (n, pixels, channels)."""
    few = stack[:, :: max(1, stack.shape[1] // PROBED)]
    found = (few.max(axis=1).astype(np.int64) - few.min(axis=1)).max(axis=1)
    rest = found < LEVELS
    if few.shape != stack.shape and rest.any():
        whole = stack[rest]
        found[rest] = (whole.max(axis=1).astype(np.int64) - whole.min(axis=1)).max(axis=1)
    return np.asarray(found)


def _copies(dataset: Dataset) -> Iterator[str]:
    """Images that judge and are also learned from, pixel by pixel."""
    if dataset.val is None and dataset.test is None:
        return
    known = set(_marks(dataset.train.images))
    if dataset.val is not None:
        own = list(_marks(dataset.val.images))
        if count := sum(mark in known for mark in own):
            yield (
                f"warning: {_of(count, len(own), 'validation')} also training images, pixel "
                "by pixel, so that what is chosen is flattered"
            )
        known |= set(own)
    if dataset.test is not None and (
        count := sum(mark in known for mark in _marks(dataset.test.images))
    ):
        learned = "training images" if dataset.val is None else "training or validation images"
        yield (
            f"warning: {_of(count, len(dataset.test), 'test')} also {learned}, pixel by "
            "pixel, so that the test flatters"
        )


def leaked(dataset: Dataset) -> npt.NDArray[np.bool_]:
    """(n,) which of the test images are also training or validation images, pixel by pixel."""
    if dataset.test is None:
        return np.zeros(0, bool)
    parts = (dataset.train, *([dataset.val] if dataset.val is not None else []))
    known = {mark for part in parts for mark in _marks(part.images)}
    return np.array([mark in known for mark in _marks(dataset.test.images)], bool)


def _of(count: int, total: int, whose: str) -> str:
    return f"{count:,} of {total:,} {whose} images {'is' if count == 1 else 'are'}"


def _marks(images: Images) -> Iterator[bytes]:
    """A digest of shape and pixels of each image."""
    for image in images:
        digest = hashlib.sha256(repr(image.shape).encode())
        digest.update(np.ascontiguousarray(image).data)
        yield digest.digest()
