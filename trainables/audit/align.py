"""Whether one small picture shows what another shows, shifted, cut or slightly turned: laid over
each other as well as they can be, then compared in their details.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

SIDE = 64
"""Pixels a side of the pictures that are compared."""
ROUGH, FINE = (6, 4, 2.0), (4, 2, 1.5)
"""Steps of an alignment, pixels between those that are looked at, and their blur, pixels."""
ALIKE = 0.85
"""Correlation of two pictures laid over each other roughly; others are not laid more finely."""
OVERLAP = 0.6
"""Share of the one picture that must lie on the other."""
MOVED = 0.15
"""Share of a side that an alignment may go away from where it began."""
QUIET = 0.25
"""How much of a picture's details there must be at a place for those there to count in full."""
CHUNK = 512
"""Pairs that are laid over each other at a time."""
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


class Pictures:
    """Pictures to be aligned: (n, SIDE, SIDE) float32, with the transforms that an alignment uses,
    computed once.
    """

    def __init__(self, plain: Float32) -> None:
        self.rough, self.fine = (_blurred(plain, blur) for *_, blur in (ROUGH, FINE))
        details = details_of(plain)
        # or one edge, such as a horizon, would be all that is compared
        around = np.sqrt(_blurred(details**2, 4.0))
        overall = np.sqrt((details**2).mean(axis=(1, 2), keepdims=True))
        self.details = details / np.maximum(around + QUIET * overall, 1e-3)


def details_of(plain: Float32) -> Float32:
    """What of (n, SIDE, SIDE) pictures is smaller than some pixels."""
    return _blurred(plain, 0.7) - _blurred(plain, 3.0)


def same_details(
    one: Pictures, ones: Int64, other: Pictures, others: Int64, windows: Float32
) -> Float32:
    """(m,) float32 correlation of the details of picture ``ones[i]`` and of the part of picture
    ``others[i]`` that it was found to show; 0 where they do not lie on each other well enough.

    Args:
        windows: (m, 3) where to begin: top and left of a square part of the other picture, and its
            side, as shares of the whole.
    """
    found = np.zeros(len(ones), np.float32)
    for start in range(0, len(ones), CHUNK):
        some = slice(start, start + CHUNK)
        found[some] = _same(one, ones[some], other, others[some], windows[some])
    return found


def _same(one: Pictures, ones: Int64, other: Pictures, others: Int64, windows: Float32) -> Float32:
    found = np.zeros(len(ones), np.float32)
    middle, half, (top, left, size) = (SIDE - 1) / 2, SIDE / 2, windows.T
    centre = middle * size + (size - 1) / 2
    nothing, whole = np.zeros_like(size), half * size
    # the affine map of each pair: (1, y, x) in -1..1 of the one to pixels of the other
    maps: Float32 = np.stack(
        [
            np.stack([top * SIDE + centre, whole, nothing], axis=1),
            np.stack([left * SIDE + centre, nothing, whole], axis=1),
        ],
        axis=1,
    )
    begun = maps.copy()
    alike = _align(one.rough, ones, other.rough, others, maps, ROUGH)
    left_over = np.flatnonzero(alike > ALIKE)
    if not len(left_over):
        return found
    ones, others = ones[left_over], others[left_over]
    maps, begun = maps[left_over], begun[left_over]
    _align(one.fine, ones, other.fine, others, maps, FINE)
    grid = _grid(1)
    there, inside = _sampled(other.details, others, maps @ grid)
    here = one.details[ones].reshape(len(ones), -1)
    close = _correlation(here, there, inside)
    moved = np.abs(maps - begun).max(axis=(1, 2)) / SIDE
    found[left_over] = np.where((inside.mean(axis=1) >= OVERLAP) & (moved <= MOVED), close, 0.0)
    return found


def _align(
    one: Float32,
    ones: Int64,
    other: Float32,
    others: Int64,
    maps: Float32,
    how: tuple[int, int, float],
) -> Float32:
    """Better each map in place by Gauss-Newton steps (Lucas and Kanade, 1981) on what brightness
    and contrast do not explain; (m,) correlations before the last of them.
    """
    steps, apart, _ = how
    grid = _grid(apart)
    here = one[ones][:, ::apart, ::apart].reshape(len(ones), -1)
    slopes = np.gradient(other, axis=1), np.gradient(other, axis=2)
    alike = np.zeros(len(ones), np.float32)
    ridge = np.eye(6, dtype=np.float32) * 1e-3
    for _ in range(steps):
        places = maps @ grid
        there, inside = _sampled(other, others, places)
        count = np.maximum(inside.sum(axis=1), 1)[:, None]
        wanted, (centred, spread) = _normed(here, inside), _centred(there, inside)
        got = centred / spread
        alike = (wanted * got).sum(axis=1) / count[:, 0]
        moves = [
            (_sampled(slope, others, places)[0] / spread * inside)[:, None] * grid
            for slope in slopes
        ]
        jacobian = np.concatenate(moves, axis=1)
        for known in (inside, got):  # which brightness and contrast change
            share = (jacobian * known[:, None]).sum(axis=2, keepdims=True) / count[..., None]
            jacobian = jacobian - share * known[:, None]
        hessian = jacobian @ jacobian.transpose(0, 2, 1) + ridge * count[..., None]
        step = np.linalg.solve(hessian, jacobian @ (wanted - got)[..., None])
        maps += np.clip(step.reshape(-1, 2, 3), -4, 4)
    return alike


def _grid(apart: int) -> Float32:
    """(3, q) of the q pixels that are looked at: 1, and their y and x in -1..1."""
    along = ((np.arange(0, SIDE, apart) - (SIDE - 1) / 2) / (SIDE / 2)).astype(np.float32)
    y, x = np.meshgrid(along, along, indexing="ij")
    return np.stack([np.ones(y.size, np.float32), y.ravel(), x.ravel()])


def _sampled(pictures: Float32, rows: Int64, places: Float32) -> tuple[Float32, Float32]:
    """(m, q) values at (m, 2, q) places, between pixels too; and whether each lies inside."""
    inside = ((places >= 0) & (places <= SIDE - 1)).all(axis=1).astype(np.float32)
    y, x = np.clip(places, 0, SIDE - 1.001).transpose(1, 0, 2)
    top, left = y.astype(np.int64), x.astype(np.int64)
    down, right = (y - top).astype(np.float32), (x - left).astype(np.float32)
    flat, at = pictures.reshape(-1), rows[:, None] * SIDE * SIDE + top * SIDE + left
    upper = flat[at] + (flat[at + 1] - flat[at]) * right
    lower = flat[at + SIDE] + (flat[at + SIDE + 1] - flat[at + SIDE]) * right
    values = upper + (lower - upper) * down
    return np.asarray(values, np.float32), np.asarray(inside, np.float32)


def _normed(values: Float32, inside: Float32) -> Float32:
    """Of mean 0 and deviation 1 inside, and 0 outside."""
    centred, spread = _centred(values, inside)
    return centred / spread


def _centred(values: Float32, inside: Float32) -> tuple[Float32, Float32]:
    """Of mean 0 inside, and 0 outside; and their (m, 1) deviations inside."""
    count = np.maximum(inside.sum(axis=1, keepdims=True), 1)
    centred = (values - (values * inside).sum(axis=1, keepdims=True) / count) * inside
    spread = np.maximum(np.sqrt((centred**2).sum(axis=1, keepdims=True) / count), 1e-3)
    return centred, spread


def _correlation(one: Float32, other: Float32, inside: Float32) -> Float32:
    products = _normed(one, inside) * _normed(other, inside)
    return np.asarray(products.sum(axis=1) / np.maximum(inside.sum(axis=1), 1), np.float32)


def _blurred(pictures: Float32, by: float) -> Float32:
    from scipy.ndimage import gaussian_filter

    return np.asarray(gaussian_filter(pictures, (0, by, by)), np.float32)
