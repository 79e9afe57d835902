"""A network of a bundle as model.onnx, checked against torch in onnxruntime.

``images``: (n, 3, size, size) uint8 RGB, n free; ``scores``: (n, classes) float32, which sum to 1 a
row. Normalisation, the mirror image where the network is judged with one, and softmax are part of
the graph, which computes in float32; what stands on a pretrained network's features, in float64.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from analysis.bundle.classifier import CLASSIFIERS, Calibrated
from analysis.bundle.facts import BundleError
from analysis.ranking.calibration import Calibration
from analysis.run.directory import RunError
from analysis.run.records import TrialRecord
from trainables.io.files import temporary_name
from trainables.learners import LEARNERS

if TYPE_CHECKING:
    from analysis.bundle.cnn import CnnModel
    from analysis.bundle.embedding import EmbeddingModel

TOLERANCE = 1e-4
"""By which a score may differ from torch's in float32."""
BATCHES = (2, 7)
"""Images that the export traces, and another number that it is checked with."""
PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def check_onnx(record: TrialRecord, wanted: bool) -> None:
    """Refuse before anything is written.

    Raises:
        RunError: if the trial has no network, or the packages are missing.
    """
    if not wanted:
        return
    kind = LEARNERS[record.space].classifier
    why = CLASSIFIERS[kind].onnx(record.config) if kind else "has no classifier"
    if why:
        raise RunError(f"--onnx is for networks, but trial {record.key} {why}; leave it out")
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise RunError(f"--onnx needs {', '.join(missing)}; install visiontune[onnx]")


def write_onnx(folder: Path) -> float:
    """Write model.onnx into a bundle; returns by how much a score differs from torch's in float32,
    at most.

    Raises:
        BundleError: if onnxruntime gives other scores than torch; no file is left then.
    """
    import torch

    from analysis.bundle.bundle import read_bundle

    read = read_bundle(folder)
    # such models alone, see check_onnx
    inner = read.inner if isinstance(read, Calibrated) else read
    model: CnnModel | EmbeddingModel = inner  # type: ignore[assignment]
    if model.facts.kind == "embedding":
        judge, size = _features_judge(model), model.head.config.side  # type: ignore[arg-type, union-attr]
    else:
        judge, size = _judge(model), model.use.size  # type: ignore[arg-type, union-attr]
    if model.facts.calibration:
        judge = _calibrated(judge, model.facts.calibration)
    path = folder / "model.onnx"
    generator = np.random.default_rng(0)
    shape = (3, size, size)
    traced, other = (
        torch.from_numpy(generator.integers(0, 256, (n, *shape), dtype=np.uint8)) for n in BATCHES
    )
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its own exporter
        program = torch.onnx.export(
            judge,
            (traced,),
            dynamo=True,
            input_names=["images"],
            output_names=["scores"],
            dynamic_shapes=({0: "n"},),
            verbose=False,
        )
    assert program is not None  # it is where dynamo exports
    temporary = temporary_name(path)
    try:
        program.save(str(temporary), external_data=False)
        difference = max(_difference(temporary, judge, images) for images in (traced, other))
        if not difference <= TOLERANCE:
            raise BundleError(
                f"{path}: onnxruntime's scores differ from torch's by {difference:.1e}, more than "
                f"{TOLERANCE:g}; it was removed"
            )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return difference


def _judge(model: CnnModel):  # type: ignore[no-untyped-def]  # torch is loaded late
    import torch
    from torch import Tensor, nn

    from trainables.cnn.weights import mean_over_views

    class Judge(nn.Module):
        """Pixels to scores, as ``trainables.cnn.weights.class_scores`` and a softmax, in
        float32.
        """

        def __init__(self) -> None:
            super().__init__()
            self.net = model.net.cpu().float()
            self.views = model.views
            self.mean, self.std = (
                torch.tensor(values, dtype=torch.float32).view(3, 1, 1)
                for values in (model.use.mean, model.use.std)
            )

        def forward(self, images: Tensor) -> Tensor:
            return mean_over_views(
                self.net, (images.float() - self.mean) / self.std, *self.views
            ).softmax(1)

    return Judge().eval()


def _features_judge(model: EmbeddingModel):  # type: ignore[no-untyped-def]
    import torch
    from torch import Tensor, nn

    from trainables.embedding.features import names_of, seen_by

    config, weights = model.head.config, model.weights
    names = names_of(config.layer, config.pooling)

    class Judge(nn.Module):
        """Pixels to scores, as ``EmbeddingModel.scores_of`` with a linear head."""

        def __init__(self) -> None:
            super().__init__()
            self.net = model.net
            self.head = nn.ParameterDict(
                {
                    name: nn.Parameter(torch.from_numpy(array), requires_grad=False)
                    for name, array in model.head.arrays.items()
                }
            )

        def features(self, images: Tensor) -> Tensor:
            found = seen_by(self.net, weights, images, config.pooling == "own")
            return torch.cat([found[name] for name in names], 1).double()

        def forward(self, images: Tensor) -> Tensor:
            vectors = self.features(images)
            if config.views != "one":
                vectors = (vectors + self.features(images.flip(3))) / 2
            if config.norm == "l2":
                vectors = nn.functional.normalize(vectors)
            if "mean" in self.head:
                vectors = vectors - self.head["mean"]
            if "deviation" in self.head:
                vectors = vectors / self.head["deviation"]
            if "components" in self.head:
                vectors = vectors @ self.head["components"].T
            return (vectors @ self.head["weights"].T + self.head["bias"]).softmax(1).float()

    return Judge().eval()


def _calibrated(judge, calibration: Calibration):  # type: ignore[no-untyped-def]
    """The same with probabilities, as the bundle gives them."""
    from torch import Tensor, nn

    class Mapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.judge = judge

        def forward(self, images: Tensor) -> Tensor:
            shares = (self.judge(images) + calibration.floor).pow(calibration.power)
            return shares / shares.sum(1, keepdim=True)

    return Mapped().eval()


def _difference(path: Path, judge, images) -> float:  # type: ignore[no-untyped-def]
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (given,) = session.run(["scores"], {"images": images.numpy()})
    with torch.no_grad():
        wanted = judge(images).numpy()
    return float(np.abs(given - wanted).max())
