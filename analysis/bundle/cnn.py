"""A convolutional network as a bundle holds it: model.safetensors is the file of
``trainables.cnn.weights``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from analysis.bundle.facts import TOLERANCE, BundleError, BundleFacts
from analysis.bundle.knn import Float64, Int64
from spaces import CnnConfig
from spaces.errors import on_one_line
from spaces.ours.tuning import PRETRAINED
from trainables.cnn import weights
from trainables.cnn.data import Streamed
from trainables.cnn.images import stack
from trainables.cnn.models import build
from trainables.cnn.precision import DTYPES, device_name
from trainables.cnn.use import NetworkUse
from trainables.data import Images
from trainables.pretrained.network import loaded
from trainables.stages.allocation import keep_memory


@dataclass(frozen=True)
class CnnModel:
    """A network in memory.

    Attributes:
        file: the model file.
        net: on the device where it is used.
        use: what the file says beside the weights.
    """

    facts: BundleFacts
    file: bytes
    net: nn.Module
    use: NetworkUse

    batch = 500

    @property
    def how_tested(self) -> str:
        return f"epoch {self.use.epoch}" + (
            ", trained on all training images" if self.facts.refit else ""
        )

    @property
    def views(self) -> tuple[bool, int]:
        """Of an image, as ``trainables.cnn.weights`` takes them."""
        config = CnnConfig.of(self.facts.config)
        return config.test_flip, config.test_shift

    @property
    def tolerance(self) -> float:
        """By which its accuracy here may differ from what was recorded."""
        here = _device(self.use)
        same = (here.type, device_name(here)) == (self.use.device, self.use.card)
        return 0.0 if same else TOLERANCE

    def content(self) -> bytes:
        """The model file."""
        return self.file

    def scores_of(self, images: Images) -> tuple[Int64, Float64]:
        """(m,) predicted class and (m, classes) float64 probabilities of m images of any size."""
        use, device = self.use, _device(self.use)
        torch.set_num_threads(use.threads)  # the bits may depend on it
        keep_memory()
        pixels = (
            Streamed(images, device)
            if images.squares(use.size)
            else torch.tensor(stack(images, use.size), device=device)
        )
        mean, std = (
            torch.tensor(values, dtype=torch.float32, device=device).view(3, 1, 1)
            for values in (use.mean, use.std)
        )
        scores: Tensor = weights.class_scores(
            self.net, pixels, mean, std, DTYPES[use.dtype], *self.views
        )
        shares = scores.double().softmax(1).cpu().numpy()
        return scores.argmax(1).cpu().numpy().astype(np.int64), shares


def read_cnn(folder: Path, facts: BundleFacts, content: bytes) -> CnnModel:
    """The network in a model file.

    Raises:
        BundleError: if it does not fit bundle.json.
    """
    try:
        tensors, use = weights.parse(content, str(folder / "model.safetensors"))
        if (
            use.classes != len(facts.classes)
            or use.dtype not in DTYPES
            or use.size != facts.preprocessing.size
        ):
            raise BundleError(
                f"{folder}: model.safetensors does not fit bundle.json (classes, size or dtype)"
            )
        config = CnnConfig.of(facts.config)
        tweaks = config.tweaks()
        if facts.weights is not None and config.model == PRETRAINED:
            tweaks["backbone"] = facts.weights.architecture  # its name may be a file elsewhere
        net = loaded(partial(build, config.model, use.classes, use.size, tweaks), tensors)
    except (weights.WeightsError, RuntimeError) as error:
        raise BundleError(
            f"{folder}: model.safetensors does not fit bundle.json ({on_one_line(error)})"
        ) from error
    net = net.to(_device(use), memory_format=torch.channels_last)  # type: ignore[call-overload]
    return CnnModel(facts, content, net.eval(), use)


def _device(use: NetworkUse) -> torch.device:
    return torch.device("cuda" if use.device == "cuda" and torch.cuda.is_available() else "cpu")
