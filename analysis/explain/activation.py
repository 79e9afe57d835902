"""Class activation: where in an image a network finds what speaks for a class. Loads torch.

The activations of a layer times the gradient of the class's score before the softmax, summed over
channels, and what is below 0 left out: HiResCAM (Draelos & Carin, 2020). Where features are
averaged over places and a linear layer follows, that is the class activation map of Zhou et al.
(2016), to the bit of a factor, and Grad-CAM (Selvaraju et al., 2017) too; elsewhere it counts a
place for what it gave, as Grad-CAM does not.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from analysis.graphs.judges import Judge, Pixels

METHOD = "class activation (HiResCAM; Draelos & Carin, 2020)"
LEAST = 4
"""Rows and columns of places that a layer must have to show where something is; the last such layer
is taken, or the last of all that have more than one.
"""


def activation(judge: Judge, pixels: Pixels, label: int) -> npt.NDArray[np.float64]:
    """(rows, columns), 0 to 1, of one image of (1, 3, side, side); all 0 where no place speaks for
    the class.
    """
    layers: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, given: object, made: object) -> None:
        # a network that looks twice, at the mirror image too, is asked about its first look
        if isinstance(made, Tensor) and made.requires_grad:
            layers.setdefault(module, made)

    hooks = [
        module.register_forward_hook(keep)
        for module in judge.modules()
        if not isinstance(module, nn.Dropout | nn.Softmax)  # of attention: no places
    ]
    try:
        with torch.enable_grad():
            images = torch.from_numpy(pixels).float().requires_grad_()
            score = judge.decision(images)[0, label]
            outputs = list(layers.values())
            gradients = torch.autograd.grad(score, outputs, allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    prefix = max((int(getattr(m, "num_prefix_tokens", 0) or 0) for m in judge.modules()), default=0)
    best = np.zeros((1, 1))
    for output, gradient in zip(outputs, gradients, strict=True):
        if gradient is None or (places := _places(output, gradient, prefix)) is None:
            continue
        if min(places.shape) >= min(LEAST, *best.shape):
            best = places
    best = best.clip(0)
    return best / (best.max() or 1.0)


def _places(output: Tensor, gradient: Tensor, prefix: int) -> npt.NDArray[np.float64] | None:
    """(rows, columns) of a layer's output for one square image; None where it has no places, or
    none that the score depends on.
    """
    product = (output * gradient).detach().double()
    if output.ndim == 3 and len(output) == 1:  # tokens, the first of which may be no places
        product = product[0, prefix:].sum(1)
        side = int(len(product) ** 0.5)
        if side * side != len(product):
            return None
        product = product.reshape(side, side)
    elif output.ndim == 4 and len(output) == 1 and output.shape[2] == output.shape[3]:
        product = product[0].sum(0)
    elif output.ndim == 4 and len(output) == 1 and output.shape[1] == output.shape[2]:
        product = product[0].sum(2)
    else:
        return None
    places = product.numpy()
    return places if places.shape[0] > 1 and places.any() else None
