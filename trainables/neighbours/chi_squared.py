"""The χ² distance from matrix products: roughly, but with a known error.

With ω = log(x / y) the distance is ½ Σ (x + y) (1 - sech²(ω/2)). Of that function of ω,

    c + sech(ω/2) (a₀ + a₁ cos Lω + a₂ cos 2Lω)

is nowhere further than ``ERROR`` away, and (x + y) sech(ω/2) cos jLω, which is
2 √x √y (cos(jL log x) cos(jL log y) + sin(jL log x) sin(jL log y)), is a product of what x and y
alone give. That is the explicit feature map of additive kernels (Vedaldi & Zisserman, 2012), with
the coefficients by which the largest error is smallest, zeros and any x / y included.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from trainables.neighbours import on_device
from trainables.neighbours.norms import Float32, Float64, Floats
from trainables.stages.device import CORES

PERIOD = 0.56
"""L."""
CONSTANT, WAVES = 1.006573, (-0.540041, -0.385481, -0.074478)
"""c; a₀, a₁, a₂."""
ERROR = 0.00658
TILE_BYTES = 768 * 1024**2
"""Features of the gallery that are kept; if there are more, all are made again for every block of
queries.
"""


def features(vectors: Floats) -> list[Float32]:
    """Of (n, d) histograms the 5 arrays, (n, d), whose products with those of others are wanted:
    √x, and √x times cosine and sine of L log x and of 2L log x.
    """
    there = np.nonzero(vectors)
    values = vectors[there].astype(np.float64)
    roots, logs = np.sqrt(values), PERIOD * np.log(values)
    found = [roots]
    for wave in range(1, len(WAVES)):
        found += [roots * np.cos(wave * logs), roots * np.sin(wave * logs)]
    results = []
    for values in found:
        array = np.zeros(vectors.shape, np.float32)
        array[there] = values
        results.append(array)
    return results


def roughly(gallery: Floats, device: str = CORES) -> Callable[[Floats], tuple[Float64, Float64]]:
    """A function from (m, d) queries to their (m, n) χ² distances to ``gallery``, about, and by how
    much each may be wrong.

    Args:
        device: where the products are computed; one of torch, if not the cores.
    """
    each = 4 * (2 * len(WAVES) - 1) * max(1, gallery.shape[1])
    rows = max(1, TILE_BYTES // each)
    tiles = [gallery[first : first + rows] for first in range(0, len(gallery), rows)]
    kept = [_summed(tiles[0], device)] if len(tiles) == 1 else None
    sums = gallery.sum(axis=1, dtype=np.float64)
    # what float32 rounds in d products and their sum, of √x √y <= (x + y) / 2 each
    rounding = (gallery.shape[1] + 8) * float(np.finfo(np.float32).eps)
    error = ERROR + rounding * sum(abs(wave) for wave in WAVES)

    def distances(queries: Floats) -> tuple[Float64, Float64]:
        own = features(queries)
        waves = [summed(own) for summed in kept or (_summed(tile, device) for tile in tiles)]
        both = (queries.sum(axis=1, dtype=np.float64)[:, None] + sums[None, :]) / 2
        return CONSTANT * both + np.concatenate(waves, axis=1), error * both

    return distances


def _summed(gallery: Floats, device: str) -> Callable[[list[Float32]], Float64]:
    """A function from the features of queries to their weighed products with those of these."""
    there = [_product(array, device) for array in features(gallery)]

    def summed(own: list[Float32]) -> Float64:
        total = np.zeros(())
        for place, (array, product) in enumerate(zip(own, there, strict=True)):
            total = total + WAVES[(place + 1) // 2] * product(array).astype(np.float64)
        return total

    return summed


def _product(gallery: Float32, device: str) -> Callable[[Floats], Floats]:
    if device != CORES:
        return on_device.products(gallery, device)
    return lambda own: own @ gallery.T
