"""What the report that this program began with did differently, so that its tables can be made
again.
"""

from __future__ import annotations

import numpy as np

from trainables.knn.sift import Float32


def stretched_histograms(counts: Float32) -> Float32:
    """(n, size) float32 of (n, 16, size) word counts, as ``numpy.histogram(words, bins=size)`` bins
    them.

    Without a ``range`` its bins run from the first word that an image has to the last, so an
    image that lacks the first or last words of the vocabulary has all others shifted a little:
    the fewer descriptors, the more. With it the accuracy falls with the step as the report's
    Table 4 does; without it (``trainables.knn.regions``) it hardly does.
    """
    words = np.arange(counts.shape[2])
    out = np.zeros((len(counts), len(words)), np.float32)
    for row, image in enumerate(counts.sum(axis=1)):
        there = np.flatnonzero(image)
        if len(there):
            out[row], _ = np.histogram(
                words, bins=len(words), range=(there[0], there[-1]), weights=image
            )
    return out
