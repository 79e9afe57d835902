"""Near copies: pictures that show the same, one of them saved again, made brighter or smaller,
mirrored, turned or cut a little.

A hash of some bits (imagehash's and others) finds copies that were saved again, not those that were
cut: cutting a tenth changes a quarter of the bits, as many as another picture of the same scene
does. So low frequencies of pictures and of parts of pictures only say which pairs may be near
copies, and those are laid over each other (``trainables.audit.align``) and compared in details,
which other pictures of the same scene do not share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from trainables.audit.align import SIDE, Float32, Int64, Pictures, details_of, same_details
from trainables.images.rule import UInt8

LEAST_SIDE = 24
"""Smaller pictures have too few details to tell copies by."""
LEAST_DEVIATION = 2.0
"""A picture whose values deviate less has nothing to be known by."""
LEAST_FINE, FINE = 0.1, 16
"""Share of a picture's frequencies from ``FINE`` on, each as much as it is high: one that was blown
up, such as a digit of 8 x 8 pixels, has less of them, and looks like any of its kind.
"""
LEAST_FILLED = 0.4
"""Share of a picture in which there are details: a plain shape on a plain ground is like any."""
FREQUENCIES = 8
"""Of each direction, that a pair is found by."""
MAY_BE = 0.7
"""Cosine of the frequencies of two pictures that are worth a second look."""
NEAR = 0.75
"""Correlation of details from which two pictures are near copies: benchmarks/near_copies.py."""
CUT = 0.1
WINDOWS = np.array(
    [
        (0, 0, 1),
        (CUT / 2, CUT / 2, 1 - CUT),
        *((top, left, 1 - CUT) for top in (0, CUT) for left in (0, CUT)),
    ],
    np.float32,
)
"""Parts of a picture that another may show: top, left and side, as shares."""
ROWS = 512
Turn = tuple[bool, int, int]
TURNS: tuple[Turn, ...] = tuple(
    (swapped, down, across) for swapped in (False, True) for down in (1, -1) for across in (1, -1)
)
"""All ways to turn and mirror a square: y and x exchanged, and the direction of each."""
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Near:
    """Two near copies, by their rows, and how well their details correlate."""

    one: int
    other: int
    likeness: float


def small(image: UInt8) -> UInt8 | None:
    """(SIDE, SIDE) uint8 of an (H, W) or (H, W, 3) picture, by which its near copies are found;
    None where there is too little to see.
    """
    if min(image.shape[:2]) < LEAST_SIDE:
        return None
    picture = Image.fromarray(image).convert("L")
    shrinks = min(picture.size) >= SIDE
    how = Image.Resampling.BOX if shrinks else Image.Resampling.BICUBIC
    found = np.asarray(picture.resize((SIDE, SIDE), how))
    return found if _telling(found.astype(np.float32)) else None


def _telling(picture: Float32) -> bool:
    """Whether there is enough in a picture for it to be known again."""
    if picture.std() < LEAST_DEVIATION:
        return False
    from scipy.fft import dctn

    heights = np.arange(SIDE)
    high = np.hypot(heights[:, None], heights)
    power = (dctn(picture, norm="ortho") * high) ** 2
    details = np.abs(details_of(picture[None]))
    filled = float((details > details.std() / 4).mean())
    return filled >= LEAST_FILLED and power[high >= FINE].sum() >= LEAST_FINE * power.sum()


def near_copies(
    pictures: UInt8, most: int | None = None, say: Progress = lambda done, of: None
) -> list[Near]:
    """The pairs of near copies among (n, SIDE, SIDE) pictures, the likest first.

    Args:
        most: pairs that are looked at again, the likest at first sight.
        say: told after each step: done, of.
    """
    plain = pictures.astype(np.float32)
    seen = np.stack([_frequencies(part) for part in _parts(plain)])
    whole = seen[0].reshape(len(plain), FREQUENCIES, FREQUENCIES)
    turned = np.stack([_turned_frequencies(whole, turn) for turn in TURNS])
    pairs = _candidates(turned, seen, most, say)
    if not len(pairs):
        return []
    how = _best_way(turned, seen, pairs)
    found = np.zeros(len(pairs), np.float32)
    others = Pictures(plain)
    for number, turn in enumerate(TURNS):
        mine = np.flatnonzero(how // len(WINDOWS) == number)
        if not len(mine):
            continue
        rows, ones = np.unique(pairs[mine, 0], return_inverse=True)
        found[mine] = same_details(
            Pictures(_turned(plain[rows], turn)),
            ones,
            others,
            pairs[mine, 1],
            WINDOWS[how[mine] % len(WINDOWS)],
        )
        say(len(plain), len(plain))
    order = np.argsort(-found, kind="stable")
    return [
        Near(int(min(pairs[i])), int(max(pairs[i])), float(found[i]))
        for i in order
        if found[i] >= NEAR
    ]


def _parts(plain: Float32) -> Iterator[Float32]:
    """Each picture, and each part of it, at the same size."""
    for top, left, size in WINDOWS:
        if size == 1:
            yield plain
            continue
        along = (np.arange(SIDE) + 0.5) * size - 0.5
        part = plain
        for axis, begin in ((1, top), (2, left)):
            place = np.clip(along + begin * SIDE, 0, SIDE - 1)
            low = np.minimum(place.astype(np.int64), SIDE - 2)
            share = (place - low).astype(np.float32).reshape((-1, 1) if axis == 1 else (1, -1))
            before, after = (np.take(part, low + more, axis) for more in (0, 1))
            part = before + (after - before) * share
        yield part


def _frequencies(pictures: Float32) -> Float32:
    """(n, FREQUENCIES²) float32 of length 1: the lowest, each as large as it is high, since
    pictures have less of the high ones.
    """
    from scipy.fft import dctn

    found = np.concatenate(
        [
            dctn(pictures[start : start + ROWS], axes=(1, 2), norm="ortho")[
                :, :FREQUENCIES, :FREQUENCIES
            ]
            for start in range(0, len(pictures), ROWS)
        ]
    )
    heights = np.arange(FREQUENCIES)
    found = (found * np.hypot(heights[:, None], heights)).reshape(len(pictures), -1)
    return np.asarray(
        found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-6), np.float32
    )


def _turned(pictures: Float32, turn: Turn) -> Float32:
    swapped, down, across = turn
    return np.ascontiguousarray(
        (pictures.transpose(0, 2, 1) if swapped else pictures)[:, ::down, ::across]
    )


def _turned_frequencies(whole: Float32, turn: Turn) -> Float32:
    """(n, FREQUENCIES²) of the turned pictures: a mirror changes the sign of every second one."""
    swapped, down, across = turn
    signs = (-1.0) ** np.arange(FREQUENCIES, dtype=np.float32)
    found = whole.transpose(0, 2, 1) if swapped else whole
    if down < 0:
        found = found * signs[:, None]
    if across < 0:
        found = found * signs
    return np.ascontiguousarray(found).reshape(len(whole), -1)


def _candidates(turned: Float32, seen: Float32, most: int | None, say: Progress) -> Int64:
    """(m, 2) rows of a picture and of another that it may show a part of; each pair one way."""
    n = seen.shape[1]
    rows, columns, values = list[Int64](), list[Int64](), list[Float32]()
    for start in range(0, n, ROWS):
        best = np.full((len(seen[0][start : start + ROWS]), n), -1, np.float32)
        product = np.empty_like(best)
        for turn in turned:
            for part in seen:
                np.matmul(turn[start : start + ROWS], part.T, out=product)
                np.maximum(best, product, out=best)
        row, column = np.nonzero(best > MAY_BE)
        rows.append(row + start)
        columns.append(column)
        values.append(best[row, column])
        say(min(start + ROWS, n), n)
    row, column, value = np.concatenate(rows), np.concatenate(columns), np.concatenate(values)
    order = np.argsort(-value, kind="stable")
    row, column = row[order], column[order]
    pair = np.minimum(row, column) * n + np.maximum(row, column)
    _, first = np.unique(pair, return_index=True)  # the way in which it is the likelier
    first = np.sort(first[row[first] != column[first]])[:most]
    return np.stack([row[first], column[first]], axis=1)


def _best_way(turned: Float32, seen: Float32, pairs: Int64) -> Int64:
    """(m,) turn times part of each pair, by which it is likest."""
    found = np.empty(len(pairs), np.int64)
    for start in range(0, len(pairs), ROWS):
        one, other = pairs[start : start + ROWS].T
        likeness = np.einsum("tmf,wmf->mtw", turned[:, one], seen[:, other])
        found[start : start + ROWS] = likeness.reshape(len(one), -1).argmax(axis=1)
    return found
