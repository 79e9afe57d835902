"""What a pretrained network sees in images: features of two layers, pooled in two ways, from one
pass.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from spaces.errors import on_one_line
from trainables.data.dataset import Images, UInt8
from trainables.pretrained.facts import BackboneError, Weights
from trainables.pretrained.network import Arrays, own_side, shape_of, with_arrays
from trainables.stages.allocation import kept_memory
from trainables.stages.device import CORES

if TYPE_CHECKING:
    from torch import Tensor, nn

Float32 = npt.NDArray[np.float32]
Features = dict[str, Float32]
"""(n, d) by layer and pooling: ``last average``, ``blocks gem`` and so on."""
BATCH = 16
"""Images that the network sees at a time; always so many, so that an image's features are the same
bits whoever stands beside it.
"""
GEM = 3.0
"""Exponent of the generalised mean (Radenović, Tolias, Chum, 2019)."""
LAYERS = ("last", "blocks")
MARGIN = 0.875
"""Share of the shorter side that a centre crop keeps, as such networks were judged."""


def network_features(
    images: Images,
    arrays: Arrays,
    *,
    weights: dict[str, Any],
    side: int,
    crop: str,
    mirrored: bool,
    own: bool,
    start: int = 0,
    device: str = CORES,
) -> Features:
    """What the network sees in images; a stage of the search.

    Args:
        arrays: the network's tensors (``trainables.pretrained.network.read_arrays``).
        weights: their ``content``, by which this result is known.
        side: of the square that the network sees, pixels.
        crop: ``squash``, ``centre`` or ``pad``.
        mirrored: of the mirror images.
        own: of the last layer also what the network itself makes of it for its classifier.
        device: of torch, on which the network computes.
    """
    with seeing():
        net, of = _network(weights, arrays, side)
        return features_of(net.to(device), of, images, side, crop, mirrored, own)


_KEPT: dict[str, tuple[nn.Module, Weights]] = {}
"""The network that this process was last asked for."""


def _network(content: dict[str, Any], arrays: Arrays, side: int) -> tuple[nn.Module, Weights]:
    key = json.dumps([content, side], sort_keys=True)
    if key not in _KEPT:
        weights = Weights(name=content["architecture"], **content)
        _KEPT.clear()
        _KEPT[key] = with_arrays(weights, arrays, side), weights
    return _KEPT[key]


@contextmanager
def seeing() -> Iterator[None]:
    """For whoever asks for features: one thread, as their bits depend on it and the cores have
    other parts, and memory that is there for the next batch.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with kept_memory():
            yield
    finally:
        torch.set_num_threads(threads)


def features_of(
    net: nn.Module,
    weights: Weights,
    images: Images,
    side: int,
    crop: str,
    mirrored: bool,
    own: bool,
) -> Features:
    """As ``network_features``, with a network that is there; within ``seeing``."""
    import torch

    parts = []
    for start in range(0, max(1, len(images)), BATCH):
        some = images[start : start + BATCH]
        pixels = np.zeros((BATCH, side, side, 3), np.uint8)
        for row, image in enumerate(some):
            seen = square(image, side, crop)
            pixels[row] = seen[:, ::-1] if mirrored else seen
        with torch.inference_mode():
            found = seen_by(net, weights, torch.from_numpy(pixels).permute(0, 3, 1, 2), own)
        parts.append({name: one[: len(some)].cpu().numpy() for name, one in found.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def names_of(layer: str, pooling: str) -> list[str]:
    """What the features of a layer, or of ``both``, and of a pooling are called."""
    return [f"{one} {pooling}" for one in (LAYERS if layer == "both" else (layer,))]


def chosen(features: Features, layer: str, pooling: str) -> Float32:
    """(n, d) features of one layer, or of ``both``, and one pooling.

    Raises:
        BackboneError: if the network has no such layer.
    """
    names = names_of(layer, pooling)
    if missing := [name for name in names if name not in features]:
        raise BackboneError(f"the network gives {', '.join(features)}, but not {missing[0]}")
    return np.concatenate([features[name] for name in names], axis=1)


def mean_of_views(*views: Features) -> Features:
    """(n, d) mean of the features of several views; a stage of the search."""
    both = {name: [one[name] for one in views] for name in views[0]}
    return {
        name: np.asarray(np.mean(parts, axis=0, dtype=np.float64), np.float32)
        for name, parts in both.items()
    }


def seen_by(net: nn.Module, weights: Weights, pixels: Tensor, own: bool) -> dict[str, Tensor]:
    """(n, d) float32 features by layer and pooling, of (n, 3, side, side) uint8 pixels."""
    import torch

    mean, std = (
        torch.tensor(values).view(3, 1, 1) * 255.0 for values in (weights.mean, weights.std)
    )
    batch = ((pixels.float() - mean) / std).contiguous(memory_format=torch.channels_last)
    last, blocks, whole = maps_of(net, batch.to(next(net.parameters()).device))
    found = {"last average": _average(last), "last gem": _generalised_mean(last)}
    if blocks is not None:
        found |= {"blocks average": _average(blocks), "blocks gem": _generalised_mean(blocks)}
    if own:
        found["last own"] = net.forward_head(whole, pre_logits=True)  # type: ignore[operator]
        if blocks is not None:
            found["blocks own"] = found["blocks average"]
    return found


def maps_of(net: nn.Module, batch: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
    """(n, channels, places) of the last layer and of the blocks before it, if there are any; and
    the last layer as the network has it.

    Raises:
        BackboneError: if it sees no such images, or gives no features that are places of an image.
    """
    width = net.num_features
    try:
        whole, between = net.forward_intermediates(batch, indices=2)  # type: ignore[operator]
        if whole.ndim == 3:  # tokens, the first of which may be no places
            last = whole[:, getattr(net, "num_prefix_tokens", 0) or 0 :].transpose(1, 2)
        else:
            last = whole.movedim(-1, 1) if whole.shape[1] != width else whole
            last = last.flatten(2)
        # the last of the blocks may be the last layer itself
        blocks = [one for one in between[-1:] if one.shape[1] != last.shape[1]] or between[-2:-1]
        return last, (blocks[0].flatten(2) if blocks else None), whole
    except Exception as error:  # each network has assertions of its own
        name, side, own = net.pretrained_cfg["architecture"], batch.shape[-1], own_side(net)  # type: ignore[index]
        raise BackboneError(
            f"{name} gives no features of images of {side} pixels "
            f"({on_one_line(error)[:120]}); "
            + (f"its own are of {own}: --set side={own}" if side != own else "choose another")
        ) from error


def check_seen(weights: Weights, sides: Iterable[int], layers: Iterable[str]) -> None:
    """Find out, without weights or images, whether a network can be asked for this.

    Raises:
        BackboneError: if it sees no images of a side, or has not a layer.
    """
    import torch

    for side in sides:
        net = shape_of(weights.architecture, 0, side).eval()
        with torch.inference_mode(), torch.device("meta"):
            _, blocks, _ = maps_of(net, torch.empty(1, 3, side, side))
        if blocks is None and set(layers) != {"last"}:
            raise BackboneError(
                f"{weights.name} has no blocks before its last layer; --set layer=last asks for "
                "that alone"
            )


def _average(maps: Tensor) -> Tensor:
    return maps.mean(2)


def _generalised_mean(maps: Tensor) -> Tensor:
    return maps.clamp(min=1e-6).pow(GEM).mean(2).pow(1 / GEM)


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
