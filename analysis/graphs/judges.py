"""What a bundle computes as one torch module, from pixels to scores. Loads torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from analysis.bundle.classifier import Calibrated, Model
from analysis.bundle.cnn import CnnModel
from analysis.bundle.embedding import EmbeddingModel
from analysis.ensemble.model import EnsembleModel
from analysis.ranking.calibration import LEAST, Calibration
from trainables.cnn.weights import mean_over_views
from trainables.data import Images
from trainables.embedding.features import names_of, seen_by, square

Pixels = npt.NDArray[np.uint8]
View = tuple[int, str]
"""How an image becomes pixels: side, and crop as ``trainables.embedding.features.square`` has
it.
"""


class Judge(nn.Module):
    """Of (n, 3, side, side) pixels, 0..255, for each of ``views``: (n, classes) float32 scores,
    which sum to 1 a row.
    """

    views: tuple[View, ...]

    def decision(self, *images: Tensor) -> Tensor:
        """(n, classes) from which a softmax makes scores."""
        raise NotImplementedError

    def forward(self, *images: Tensor) -> Tensor:
        return self.decision(*images).softmax(1).float()


class NetworkJudge(Judge):
    """As ``CnnModel.scores_of``, in float32."""

    def __init__(self, model: CnnModel) -> None:
        super().__init__()
        self.views = ((model.use.size, "squash"),)
        self.net = model.net.cpu().float()
        self.seen = model.views
        self.mean, self.std = (
            torch.tensor(values, dtype=torch.float32).view(3, 1, 1)
            for values in (model.use.mean, model.use.std)
        )

    def decision(self, *images: Tensor) -> Tensor:
        return mean_over_views(self.net, (images[0].float() - self.mean) / self.std, *self.seen)


class FeaturesJudge(Judge):
    """As ``EmbeddingModel.scores_of`` with a linear head, which computes in float64."""

    def __init__(self, model: EmbeddingModel) -> None:
        super().__init__()
        self.config, self.weights = model.head.config, model.weights
        self.views = ((self.config.side, self.config.crop),)
        self.net = model.net
        self.head = nn.ParameterDict(
            {
                name: nn.Parameter(torch.from_numpy(array), requires_grad=False)
                for name, array in model.head.arrays.items()
            }
        )

    def _features(self, images: Tensor) -> Tensor:
        found = seen_by(self.net, self.weights, images, self.config.pooling == "own")
        names = names_of(self.config.layer, self.config.pooling)
        return torch.cat([found[name] for name in names], 1).double()

    def decision(self, *images: Tensor) -> Tensor:
        vectors = self._features(images[0])
        if self.config.views != "one":
            vectors = (vectors + self._features(images[0].flip(3))) / 2
        if self.config.norm == "l2":
            vectors = nn.functional.normalize(vectors)
        if "mean" in self.head:
            vectors = vectors - self.head["mean"]
        if "deviation" in self.head:
            vectors = vectors / self.head["deviation"]
        if "components" in self.head:
            vectors = vectors @ self.head["components"].T
        return vectors @ self.head["weights"].T + self.head["bias"]


class CalibratedJudge(Judge):
    """Another's scores as probabilities, as a bundle gives them."""

    def __init__(self, judge: Judge, calibration: Calibration) -> None:
        super().__init__()
        self.judge, self.views, self.calibration = judge, judge.views, calibration

    def forward(self, *images: Tensor) -> Tensor:
        shares = (self.judge(*images) + self.calibration.floor).pow(self.calibration.power)
        shares = shares / shares.sum(1, keepdim=True)
        if not self.calibration.curve:
            return shares
        top = nn.functional.one_hot(shares.argmax(1), shares.shape[1]).to(shares.dtype)
        others = shares * (1 - top)
        sure, second = shares.amax(1, keepdim=True), others.amax(1, keepdim=True)
        rest = others.sum(1, keepdim=True).clamp(min=LEAST)
        points, odds = self.calibration.curve, (sure / rest).log()
        wanted = torch.full_like(sure, points[0][1])
        for (x0, y0), (x1, y1) in pairwise(points):
            wanted = wanted + (odds.clamp(x0, x1) - x0) * ((y1 - y0) / (x1 - x0))
        given = torch.maximum(wanted, second / (rest + second))
        shares = others * ((1 - given) / rest) + top * given
        return shares / shares.sum(1, keepdim=True)


class MeanJudge(Judge):
    """The mean of several, each given the views that it wants."""

    def __init__(self, judges: Sequence[Judge], times: Sequence[int]) -> None:
        super().__init__()
        self.judges, self.times = nn.ModuleList(judges), times
        self.views = tuple(dict.fromkeys(view for judge in judges for view in judge.views))
        self.taken = [[self.views.index(view) for view in judge.views] for judge in judges]

    def forward(self, *images: Tensor) -> Tensor:
        members = zip(self.judges, self.times, self.taken, strict=True)
        total = sum(n * judge(*(images[i] for i in taken)) for judge, n, taken in members)
        assert isinstance(total, Tensor)  # there is at least one
        return total / sum(self.times)


def judge_of(model: Model) -> Judge:
    """The module of a model whose kind has one (``Classifier.onnx`` says which)."""
    if isinstance(model, Calibrated):
        assert model.facts.calibration is not None
        return CalibratedJudge(judge_of(model.inner), model.facts.calibration).eval()
    if isinstance(model, EnsembleModel):
        members = [judge_of(member) for member in model.members]
        return MeanJudge(members, model.times.tolist()).eval()
    judge = NetworkJudge(model) if isinstance(model, CnnModel) else FeaturesJudge(_embedded(model))
    return judge.eval()


def _embedded(model: Model) -> EmbeddingModel:
    assert isinstance(model, EmbeddingModel), model.facts.kind
    return model


def pixels_of(images: Images, view: View) -> Pixels:
    """(n, 3, side, side) uint8 of n images, grey or RGB."""
    seen = [square(image, *view) for image in images]
    return np.ascontiguousarray(np.stack(seen).transpose(0, 3, 1, 2))
