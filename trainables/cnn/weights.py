"""A trained network in one file: the weights that are judged, and what is needed to use them. No
pickle.

The facts travel in the file's own header, so that both appear together or not at all.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F  # noqa: N812
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor, nn

from spaces.errors import UserError, echo, on_one_line
from trainables.cnn.memory import evaluated_at_once
from trainables.cnn.steps.tuning import in_head
from trainables.cnn.use import NetworkUse
from trainables.io.remote import read_file, write_file

if TYPE_CHECKING:
    from trainables.cnn.data import Streamed

KEY = "visiontune"


class WeightsError(UserError):
    """Weights that are missing, damaged, or of another network."""


def pack(tensors: Mapping[str, Tensor], use: NetworkUse) -> bytes:
    """A network as the bytes of its file."""
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    return save(on_cpu, metadata={KEY: use.model_dump_json(exclude_defaults=True)})


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same on the host, which no later step changes."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def write(place: str | Path, tensors: Mapping[str, Tensor], use: NetworkUse) -> None:
    """Put a network at a path or URI, in place of one that is there; whole, whenever the process
    dies.
    """
    write_file(str(place), pack(tensors, use))


def read(place: str | Path) -> tuple[dict[str, Tensor], NetworkUse]:
    """The network at a path or URI.

    Raises:
        WeightsError: if there is none, or it cannot be read.
    """
    try:
        return parse(read_file(str(place)), str(place))
    except FileNotFoundError:
        raise WeightsError(f"{place}: no such weights") from None
    except OSError as error:
        raise WeightsError(f"{place}: cannot be read: {error}") from error


def parse(content: bytes, where: str) -> tuple[dict[str, Tensor], NetworkUse]:
    """The network in the bytes of a file.

    Raises:
        WeightsError: naming ``where``, if they are damaged.
    """
    try:
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        use = NetworkUse.model_validate_json(header["__metadata__"][KEY])
    except (KeyError, TypeError, ValueError, RecursionError, SafetensorError) as error:
        raise WeightsError(f"{where}: damaged weights: {on_one_line(error)}") from error
    if wrong := [
        name for name, tensor in tensors.items() if not bool(torch.isfinite(tensor).all())
    ]:
        raise WeightsError(
            f"{where}: weights must be finite numbers, but {echo(wrong[0])} holds others; use "
            "another epoch or trial"
        )
    return tensors, use


def begin_from(net: nn.Module, tensors: Mapping[str, Tensor], keep_head: bool) -> None:
    """Give ``net`` the weights of another network of the same architecture; its head stays new
    unless ``keep_head``.

    Raises:
        WeightsError: if they do not fit.
    """
    own = net.state_dict()
    head = in_head(net)  # what tells classes apart
    taken = {name: tensor for name, tensor in tensors.items() if keep_head or name not in head}
    if wrong := [
        name
        for name in own
        if name not in head and (name not in taken or taken[name].shape != own[name].shape)
    ]:
        raise WeightsError(
            f"the weights to start from are of another network: {wrong[0]} does not fit; keep "
            "architecture and image size"
        )
    net.load_state_dict({**own, **taken})


@torch.no_grad()
def class_scores(
    net: nn.Module,
    images: Tensor | Streamed,
    mean: Tensor,
    std: Tensor,
    dtype: torch.dtype,
    flip: bool,
    shift: int,
) -> Tensor:
    """Compute the scores of each class for images.

    Args:
        images: (n, 3, size, size) uint8.
        mean, std: (3, 1, 1) each, of the pixels.
        dtype: the number format that the network computes in.
        flip: whether the mirror image counts as a view too.
        shift: by how many pixels the image is moved for further views (``mean_over_views``); 0 for
            none.

    Returns:
        (n, classes) float32, the mean over the views.
    """
    net.eval()
    parts = []
    with torch.autocast(images.device.type, dtype, enabled=dtype is not torch.float32):
        step = evaluated_at_once(images)
        for start in range(0, len(images), step):
            batch = images[start : start + step]
            parts.append(mean_over_views(net, normalised(batch, mean, std), flip, shift))
    return torch.cat(parts)


def normalised(images: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Float32 images of mean 0 and variance 1 a channel, channels last in memory, from 0..255."""
    return ((images.float() - mean) / std).contiguous(memory_format=torch.channels_last)


def mean_over_views(net: nn.Module, images: Tensor, flip: bool, shift: int) -> Tensor:
    """(n, classes) float32 for (n, 3, size, size) normalised images, seen from several sides
    (Krizhevsky et al., 2012).

    Args:
        flip: each view counts as the mean over itself and its mirror image.
        shift: the image makes one half, and it moved by so many pixels down and right, and up and
            left, a quarter each; what comes in mirrors what stands at the edge. 0: the image alone.
    """

    def seen(view: Tensor) -> Tensor:
        scores: Tensor = net(view).float()
        return (scores + net(view.flip(3)).float()) / 2 if flip else scores

    scores = seen(images)
    if shift:
        size, padded = images.shape[-1], F.pad(images, (shift,) * 4, mode="reflect")
        first, second = (seen(_cut(padded, at, size)) for at in (0, 2 * shift))
        scores = scores / 2 + (first + second) / 4
    return scores


def _cut(images: Tensor, at: int, size: int) -> Tensor:
    return images[..., at : at + size, at : at + size].contiguous(memory_format=torch.channels_last)
