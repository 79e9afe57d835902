"""The head that a pretrained network begins with: a logistic regression on what the network sees in
the training images before it is trained, so that the first steps change what the weights know no
more than they must (linear probing, then fine-tuning: Kumar et al., 2022).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits
from torch import Tensor, nn

from trainables.cnn.steps.tuning import head_of
from trainables.pretrained.linear import ITERATIONS, estimated, of_all_classes

MOST = 20_000
"""Images that it is fitted on, of more evenly drawn ones: enough for one layer."""
STRENGTH = 10.0
"""Inverse of its penalty (scikit-learn's ``C``), for features of a mean squared length of 1."""
AT_ONCE = 16


@torch.no_grad()
def fit_head(
    net: nn.Module,
    seen: Callable[[Tensor], Tensor],
    rows: Tensor | None,
    labels: Tensor,
    classes: int,
) -> None:
    """Give the linear layers of the head of ``net`` their weights; other kinds stay as they are.

    Args:
        seen: images as the network sees them when it is judged, by their (m,) numbers.
        rows: (n,) of those it is fitted on; None for all.
        labels: of all images.
    """
    rows = torch.arange(len(labels), device=labels.device) if rows is None else rows
    rows = rows[:: -(-len(rows) // MOST)]
    labels = labels[rows].cpu()
    heads = [one for one in map(net.get_submodule, head_of(net)) if isinstance(one, nn.Linear)]
    if not heads:
        return
    met: list[list[Tensor]] = [[] for _ in heads]

    def kept(into: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda _, given: into.append(given[0].float().cpu())

    hooks = [
        head.register_forward_pre_hook(kept(into)) for head, into in zip(heads, met, strict=True)
    ]
    try:
        net.eval()
        for some in torch.split(rows, AT_ONCE):
            net(seen(some))
    finally:
        for hook in hooks:
            hook.remove()
    for head, parts in zip(heads, met, strict=True):
        vectors = torch.cat(parts)
        if vectors.ndim != 2:  # the layer is asked for places of an image, not for the image
            continue
        weights, bias = _regression(vectors.double().numpy(), labels.numpy(), classes)
        head.weight.copy_(torch.from_numpy(weights))
        if head.bias is not None:
            # one that has no image is as unlikely as the least likely one, which can be unlearned
            bias = np.maximum(bias, bias[np.unique(labels.numpy())].min())
            head.bias.copy_(torch.from_numpy(bias))


def _regression(
    vectors: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], classes: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    from sklearn.linear_model import LogisticRegression

    estimator = LogisticRegression(C=STRENGTH, max_iter=ITERATIONS)
    with threadpool_limits(1):  # the bits may depend on it
        return of_all_classes(
            lambda: estimated(estimator, vectors, labels), labels, classes, vectors.shape[1]
        )
