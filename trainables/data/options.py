"""How a dataset is read."""

from __future__ import annotations

from dataclasses import dataclass

from trainables.images.rule import PLAIN, Color, Rule

MIN_SIZE = 32
"""Pixels; the networks pool anything smaller away."""
MOST_CHOSEN = 224
"""Pixels: the largest side that is taken unasked, which networks for photographs were made for."""


@dataclass(frozen=True)
class ReadOptions:
    """How a dataset is read; part of its fingerprint through what it changes.

    Attributes:
        color: 8-bit grey (all that kNN needs) or RGB.
        max_side: larger pictures of ``folder:`` are shrunk so that no side is longer, pixels.
        skip_unreadable: leave out and count files that cannot be read, instead of refusing them.
        hold_out: set this fraction of train aside as val; 0 leaves the splits as they are.
        hold_out_from: training images from which on anything is set aside.
        keep_val: hold nothing out where the dataset has a val split of its own.
        seed: of the held-out draw.
        left_out: files of a ``folder:`` that are not read even if they could be now, relative to
            it, where files may be left out.
        rule: how what is not 8-bit grey or RGB becomes that; what it does not say is decided by the
            dataset.
        exactly: take files and arrays as the first release did, which passed over all but the exact
            names of the splits.
        judged_only: the images are to be judged, not learned from: any part will do, and any number
            of classes.
        shards: folder that images are packed into which memory should not hold
            (``trainables.images.packing``); None never packs.
        square: packed images become squares of this side, 0 for the side that fits them; None to
            keep their shapes.
        packed: pack them however few they are, as it was done when a run began.
        unmade: of images that would be packed, say only what is known before files are read.
    """

    color: Color = "grey"
    max_side: int = 512
    skip_unreadable: bool = False
    hold_out: float = 0.0
    hold_out_from: int = 0
    keep_val: bool = False
    seed: int = 0
    left_out: tuple[str, ...] = ()
    rule: Rule = PLAIN
    exactly: bool = False
    judged_only: bool = False
    shards: str | None = None
    square: int | None = None
    packed: bool = False
    unmade: bool = False


def fitting_size(shorter: int) -> int:
    """Side for images whose shorter side is ``shorter`` pixels: a multiple of 32 that they fill."""
    return max(MIN_SIZE, min(MOST_CHOSEN, shorter // 32 * 32))
