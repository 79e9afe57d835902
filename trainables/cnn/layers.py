"""The table of a network's layers, in the layout and numbering of torchsummary, which the report
used.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import torch
from torch import nn

MIB = 2**20
UNLISTED = (nn.Sequential, nn.ModuleList, nn.Dropout, nn.Dropout2d)
"""No rows of their own. Dropout changes neither shape nor parameters; the report's table leaves it
out too.
"""


@dataclass(frozen=True)
class Layer:
    """One row: the layer's class and its place in the order of evaluation, what it gives for one
    image, its own parameters.
    """

    name: str
    output_shape: tuple[int, ...]
    parameters: int


@dataclass(frozen=True)
class LayerTable:
    """All rows, and the sizes that stand under them."""

    layers: tuple[Layer, ...]
    total_parameters: int
    trainable_parameters: int
    input_shape: tuple[int, int, int]

    @property
    def size_mb(self) -> float:
        """Of the parameters as float32, MiB."""
        return self.total_parameters * 4 / MIB

    def __str__(self) -> str:
        line, double = "-" * 64, "=" * 64
        rows = [
            f"{layer.name:>20}  {_shape(layer.output_shape):>25} {layer.parameters:>15,}"
            for layer in self.layers
        ]
        inputs = math.prod(self.input_shape) * 4 / MIB
        # forward and backward, float32
        outputs = 2 * sum(math.prod(layer.output_shape) for layer in self.layers) * -4 / MIB
        return "\n".join(
            [
                line,
                f"{'Layer (type)':>20}  {'Output Shape':>25} {'Param #':>15}",
                double,
                *rows,
                double,
                f"Total params: {self.total_parameters:,}",
                f"Trainable params: {self.trainable_parameters:,}",
                f"Non-trainable params: {self.total_parameters - self.trainable_parameters:,}",
                line,
                f"Input size (MB): {inputs:.2f}",
                f"Forward/backward pass size (MB): {outputs:.2f}",
                f"Params size (MB): {self.size_mb:.2f}",
                f"Estimated Total Size (MB): {inputs + outputs + self.size_mb:.2f}",
                line,
            ]
        )


def layer_table(net: nn.Module, size: int) -> LayerTable:
    """The layers of ``net`` in the order in which one (3, size, size) image meets them; shapes
    begin with -1 for the batch.

    A network on the meta device is described without computing anything. A layer that is met twice
    has two rows.
    """
    rows: list[Layer] = []

    def note(module: nn.Module, _: object, output: torch.Tensor) -> None:
        own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
        rows.append(Layer(f"{type(module).__name__}-{len(rows) + 1}", (-1, *output.shape[1:]), own))

    hooks = [
        m.register_forward_hook(note)
        for m in net.modules()
        if m is not net and not isinstance(m, UNLISTED)
    ]
    training = net.training
    try:
        with torch.no_grad():
            net.eval()(torch.zeros(2, 3, size, size, device=next(net.parameters()).device))
    finally:
        net.train(training)
        for hook in hooks:
            hook.remove()
    trainable = sum(p.numel() for p in net.parameters() if p.requires_grad)
    return LayerTable(
        tuple(rows), sum(p.numel() for p in net.parameters()), trainable, (3, size, size)
    )


def architecture(net: nn.Module) -> str:
    """``net`` as PyTorch prints it, without what newer versions add to batch norm, so that it reads
    as the report's.
    """
    return re.sub(r"(BatchNorm2d\(.*?affine=\w+), bias=\w+", r"\1", str(net))


def _shape(shape: tuple[int, ...]) -> str:
    return f"[{', '.join(str(n) for n in shape)}]"
