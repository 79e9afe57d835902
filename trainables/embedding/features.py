"""What a pretrained network sees in images: features of two layers, pooled in two ways, from one
pass.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainables.data.dataset import Images, UInt8
from trainables.pretrained.backbones import BACKBONES, network

if TYPE_CHECKING:
    from torch import Tensor, nn

Float32 = npt.NDArray[np.float32]
BATCH = 16
"""Images that the network sees at a time; always so many, so that an image's features are the same
bits whoever stands beside it.
"""
GEM = 3.0
"""Exponent of the generalised mean (Radenović, Tolias, Chum, 2019)."""
LAYERS, POOLINGS = ("last", "blocks"), ("average", "gem")
MARGIN = 0.875
"""Share of the shorter side that a centre crop keeps, as such networks were judged."""


def network_features(
    images: Images,
    *,
    backbone: str,
    weights: str,
    side: int,
    crop: str,
    mirrored: bool,
    start: int = 0,
) -> Float32:
    """(n, d) float32: for each layer the features of each pooling, side by side; a stage of the
    search.

    Args:
        weights: SHA-256 of the backbone's file, by which this result is known.
        side: of the square that the network sees, pixels.
        crop: ``squash``, ``centre`` or ``pad``.
        mirrored: of the mirror images.
    """
    with one_thread():
        return features_of(network(backbone), backbone, images, side, crop, mirrored)


@contextmanager
def one_thread() -> Iterator[None]:
    """For whoever asks for features: their bits depend on it, and the cores have other parts."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def features_of(
    net: nn.Module, backbone: str, images: Images, side: int, crop: str, mirrored: bool
) -> Float32:
    """As ``network_features``, with a network that is there; within ``one_thread``."""
    import torch

    with torch.inference_mode():
        return np.concatenate(
            [
                _batch(net, backbone, images[start : start + BATCH], side, crop, mirrored)
                for start in range(0, len(images), BATCH)
            ]
            or [np.empty((0, width(backbone)), np.float32)]
        )


def width(backbone: str) -> int:
    """How many features ``network_features`` gives an image."""
    return len(POOLINGS) * sum(BACKBONES[backbone].features)


def chosen(features: Float32, backbone: str, layer: str, pooling: str) -> Float32:
    """(n, d) features of one layer, or of ``both``, and one pooling."""
    parts, start = [], 0
    for name, size in zip(LAYERS, BACKBONES[backbone].features, strict=True):
        for pooled in POOLINGS:
            if layer in (name, "both") and pooled == pooling:
                parts.append(features[:, start : start + size])
            start += size
    return np.concatenate(parts, axis=1)


def _batch(
    net: nn.Module, backbone: str, images: Images, side: int, crop: str, mirrored: bool
) -> Float32:
    import torch

    pixels = np.zeros((BATCH, side, side, 3), np.uint8)
    for row, image in enumerate(images):
        seen = square(image, side, crop)
        pixels[row] = seen[:, ::-1] if mirrored else seen
    known = BACKBONES[backbone]
    mean, std = (torch.tensor(values) * 255.0 for values in (known.mean, known.std))
    batch = ((torch.from_numpy(pixels).float() - mean) / std).permute(0, 3, 1, 2)
    maps = _maps(net, batch.contiguous(memory_format=torch.channels_last))
    pooled = [
        pool for layer in maps for pool in (layer.mean((2, 3)), _generalised_mean(layer))
    ]  # in the order of LAYERS and POOLINGS
    found: Float32 = torch.cat(pooled, dim=1)[: len(images)].numpy()
    return found


def _maps(net: nn.Module, batch: Tensor) -> tuple[Tensor, Tensor]:
    """(n, channels, height, width) of the last layer, and of the blocks before it."""
    blocks = net.blocks(net.bn1(net.conv_stem(batch)))  # type: ignore[operator]
    return net.bn2(net.conv_head(blocks)), blocks  # type: ignore[operator]


def _generalised_mean(maps: Tensor) -> Tensor:
    return maps.clamp(min=1e-6).pow(GEM).mean((2, 3)).pow(1 / GEM)


def square(image: UInt8, side: int, crop: str) -> UInt8:
    """(side, side, 3) uint8 of an image of any shape, grey or RGB (Pillow's bicubic).

    Raises:
        ValueError: for another crop.
    """
    picture = Image.fromarray(image).convert("RGB")
    size = (side, side)
    if crop == "squash":
        return np.asarray(picture.resize(size, Image.Resampling.BICUBIC))
    if crop == "centre":
        kept = MARGIN * min(picture.size)
        left, top = ((length - kept) / 2 for length in picture.size)
        box = (left, top, left + kept, top + kept)
        return np.asarray(picture.resize(size, Image.Resampling.BICUBIC, box=box))
    if crop == "pad":
        scale = side / max(picture.size)
        inner = tuple(max(1, round(length * scale)) for length in picture.size)
        out = Image.new("RGB", size, (128, 128, 128))
        at = tuple((side - length) // 2 for length in inner)
        out.paste(picture.resize(inner, Image.Resampling.BICUBIC), at)  # type: ignore[arg-type]
        return np.asarray(out)
    raise ValueError(f"crop must be squash, centre or pad, but got {crop!r}")
