"""Norms that a feature vector is divided by."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Floats = npt.NDArray[np.floating[Any]]
"""float32 or float64."""


def normalised(features: Floats, *, norm: str, centring: bool = False) -> Floats:
    """Feature vectors, each centred if asked and divided by its own norm.

    Args:
        features: (n, d) histograms, or (n, H, W) tiny images.
        norm: ``none``, ``l1``, ``l2``, or ``matrix-1``: the largest absolute column sum of
            the 2-D image, which is what ``np.linalg.norm(image, 1)`` gives.
        centring: subtract each vector's own mean first.

    Returns:
        (n, d), of the same precision. A vector whose norm is 0 is left as it is.

    Raises:
        ValueError: for another norm, or ``matrix-1`` of vectors that are no images.
    """
    if centring:
        features = features - features.mean(axis=tuple(range(1, features.ndim)), keepdims=True)
    flat = features.reshape(len(features), -1)
    if norm == "none":
        return np.array(flat)
    if norm == "l1":
        sizes: Floats = np.abs(flat).sum(axis=1)
    elif norm == "l2":
        sizes = np.sqrt((flat * flat).sum(axis=1))
    elif norm == "matrix-1" and features.ndim == 3:
        sizes = np.abs(features).sum(axis=1).max(axis=1)
    else:
        raise ValueError(
            f"norm must be none, l1, l2, or (for images) matrix-1, but got {norm!r} for shape "
            f"{features.shape}"
        )
    return flat / np.where(sizes > 0, sizes, flat.dtype.type(1))[:, None]
