"""Distances through torch, for a CUDA device: what ``bounds`` and ``chi_squared`` do on the cores.

torch is loaded by the functions, since nothing else here needs it.
"""

from __future__ import annotations

from collections.abc import Callable

from trainables.neighbours.norms import Float32, Floats


def city_block(gallery: Float32, device: str) -> Callable[[Float32], Float32]:
    """A function from (m, d) queries to the (m, n) sums of |x - y|, in float32."""
    import torch

    there = torch.tensor(gallery, device=device)

    def sums(queries: Float32) -> Float32:
        found: Float32 = torch.cdist(torch.tensor(queries, device=device), there, p=1).cpu().numpy()
        return found

    return sums


def products(gallery: Floats, device: str) -> Callable[[Floats], Floats]:
    """A function from (m, d) queries to the (m, n) inner products, in the type of both."""
    import torch

    there = torch.tensor(gallery, device=device)

    def inner(queries: Floats) -> Floats:
        found: Floats = (torch.tensor(queries, device=device) @ there.T).cpu().numpy()
        return found

    return inner
