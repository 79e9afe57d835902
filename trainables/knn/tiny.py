"""Tiny images: a scene shrunk to a few pixels keeps enough of its layout to be recognised.

Torralba, Fergus & Freeman, "80 million tiny images", PAMI 2008.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainables.data import Images


def tiny_images(
    images: Images, *, size: int, resampling: str, mirrored: bool = False, start: int = 0
) -> npt.NDArray[np.float64]:
    """Grey images of any size, each shrunk to a square.

    Args:
        images: n grey images.
        size: side of the result, pixels.
        resampling: one of Pillow's filters, by name.
        mirrored: shrink the mirror images instead.

    Returns:
        (n, size, size) float64 in 0..255.
    """
    resample = Image.Resampling[resampling.upper()]
    seen = (np.ascontiguousarray(image[:, ::-1]) if mirrored else image for image in images)
    small = [np.asarray(Image.fromarray(image).resize((size, size), resample)) for image in seen]
    return np.array(small, np.float64).reshape(-1, size, size)
