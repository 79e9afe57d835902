"""The space ``tiny-image``: kNN on images shrunk to a few pixels (Torralba et al., 2008)."""

from __future__ import annotations

from dataclasses import dataclass

from spaces.domain import Choice, Integer, Parameter
from spaces.ours.knn import MIRRORED, VOTE, K, metric, norm, signed_metrics
from spaces.space import Space


@dataclass(frozen=True)
class TinyImageConfig:
    """One configuration of the space ``tiny-image``; the fields are its parameters."""

    metric: str
    size: int
    resampling: str
    centring: bool
    norm: str
    k: int
    vote: str
    mirrored: bool = False


def parameters() -> tuple[Parameter, ...]:
    """With the distances that there are now."""
    return (
        metric(),
        Parameter(
            "size",
            Choice((8, 12, 16, 20, 24, 32)),
            "side of the tiny image, pixels",
            allowed=Integer(2, 64),
        ),
        Parameter(
            "resampling",
            Choice(("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")),
            "filter that shrinks the image (Pillow's)",
        ),
        Parameter(
            "centring",
            Choice((False, True)),
            "subtract each tiny image's own mean",
            when={"metric": signed_metrics()},
            otherwise=False,
        ),
        norm(("none", "l1", "l2", "matrix-1")),
        K,
        VOTE,
        MIRRORED,
    )


TINY_IMAGE = Space(
    "tiny-image",
    "kNN on images shrunk to size × size grey pixels",
    parameters(),
    config=lambda config: TinyImageConfig(**config),
)
