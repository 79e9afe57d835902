"""The space ``embedding``: what a pretrained network sees in an image, and a simple classifier on
it.
"""

from __future__ import annotations

from dataclasses import dataclass

from spaces.domain import Choice, Float, Integer, Name, Parameter
from spaces.ours.knn import MAX_K, OURS
from spaces.space import Space

HEADS = ("logistic", "svm", "ridge", "lda", "knn")
"""Classifiers on the features: logistic regression, linear support vector machine, ridge
regression of the classes, linear discriminant analysis, nearest neighbours.
"""
BACKBONES = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
"""Pretrained networks by name (Tan & Le, 2019, in the variant without squeeze-and-excitation)."""


@dataclass(frozen=True)
class EmbeddingConfig:
    """One configuration of the space ``embedding``; the fields are its parameters."""

    backbone: str
    side: int
    crop: str
    views: str
    layer: str
    pooling: str
    norm: str
    components: int
    head: str
    C: float = 1.0
    alpha: float = 1.0
    shrinkage: float = 0.1
    metric: str = "cosine"
    k: int = 5
    vote: str = "distance"
    class_weight: str = "none"


EMBEDDING = Space(
    "embedding",
    "a linear classifier or kNN on the features of a pretrained network",
    (
        Parameter(
            "backbone",
            Choice(BACKBONES[:1]),
            "pretrained network",
            allowed=Name(f"{', '.join(BACKBONES)}, a network of timm's by name, or NETWORK@FILE"),
            prefix=True,
        ),
        Parameter(
            "side",
            Choice((224, 288)),
            "side of the image that the network sees, pixels",
            allowed=Integer(32, 512),
            prefix=True,
        ),
        Parameter(
            "crop",
            Choice(("squash", "centre")),
            "how an image becomes square: squashed, its centre cut out, or padded",
            allowed=Choice(("squash", "centre", "pad")),
            prefix=True,
        ),
        Parameter(
            "views",
            Choice(("one", "mirrored")),
            "the image alone, or the mean of its features and those of its mirror image",
            prefix=True,
        ),
        Parameter(
            "layer",
            Choice(("last", "both")),
            "features of the last layer, of the blocks before it, or of both side by side",
            allowed=Choice(("last", "blocks", "both")),
        ),
        Parameter(
            "pooling",
            Choice(("average", "gem")),
            "mean over the image, generalised mean with exponent 3 (Radenović et al., 2019), or "
            "what the network itself gives its classifier (a transformer's class token, say)",
            allowed=Choice(("average", "gem", "own")),
        ),
        Parameter(
            "norm",
            Choice(("none", "l2", "standard")),
            "each vector divided by its length, or each feature by its deviation",
        ),
        Parameter(
            "components",
            Choice((0, 256)),
            "principal components that are kept; 0 keeps the features as they are",
            allowed=Integer(0, 4096),
        ),
        Parameter("head", Choice(HEADS), "classifier on the features"),
        Parameter(
            "C",
            Float(0.01, 100.0, log=True),
            "inverse strength of the penalty of logistic regression and support vector machine",
            allowed=Float(1e-6, 1e6, log=True),
            when={"head": ("logistic", "svm")},
            otherwise=1.0,
        ),
        Parameter(
            "alpha",
            Float(0.01, 1000.0, log=True),
            "strength of the penalty of ridge regression",
            allowed=Float(1e-6, 1e6, log=True),
            when={"head": ("ridge",)},
            otherwise=1.0,
        ),
        Parameter(
            "shrinkage",
            Float(0.01, 1.0, log=True),
            "share of the identity in the covariance of discriminant analysis",
            allowed=Float(0.0001, 1.0, log=True),
            when={"head": ("lda",)},
            otherwise=0.1,
        ),
        Parameter(
            "class_weight",
            Choice(("none",)),
            "weight of a class's images: 1, or such that all classes weigh the same",
            allowed=Choice(("none", "balanced")),
            when={"head": ("logistic", "svm", "ridge", "lda")},
            otherwise="none",
            before="none",
            added=True,
        ),
        Parameter(
            "metric",
            Choice(("cosine", "euclidean", "cityblock")),
            "distance between two feature vectors",
            allowed=Choice(OURS),
            when={"head": ("knn",)},
            otherwise="cosine",
        ),
        Parameter(
            "k",
            Integer(1, 30),
            "neighbours that vote",
            allowed=Integer(1, MAX_K),
            when={"head": ("knn",)},
            otherwise=5,
        ),
        Parameter(
            "vote",
            Choice(("uniform", "distance")),
            "weight of a neighbour's vote: 1, or 1 / its distance",
            when={"head": ("knn",)},
            otherwise="distance",
        ),
    ),
    config=lambda config: EmbeddingConfig(**config),
    # logistic regression on vectors of length 1 (Kornblith et al., 2019, Radford et al., 2021), of
    # the last layer and of those before it (Evci et al., 2022), from images somewhat larger than
    # the network was trained on (Touvron et al., 2019) and from their mirror images
    start={
        "side": 288,
        "crop": "squash",
        "views": "mirrored",
        "layer": "both",
        "pooling": "average",
        "norm": "l2",
        "components": 0,
        "head": "logistic",
        "C": 10.0,
    },
)
