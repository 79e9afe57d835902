"""The space ``bag-of-sift``: kNN on histograms of visual words (Csurka et al., 2004)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from spaces.domain import Choice, Integer, Parameter
from spaces.ours.knn import MIRRORED, VOTE, K, metric, norm
from spaces.space import Space


@dataclass(frozen=True)
class BagOfSiftConfig:
    """One configuration of the space ``bag-of-sift``; the fields are its parameters."""

    step: int
    bin_size: int
    fast: bool
    transform: str
    vocabulary_step: int
    vocabulary_size: int
    metric: str
    norm: str
    k: int
    vote: str
    scales: int = 1
    assignment: str = "hard"
    regions: str = "none"
    idf: bool = False
    mirrored: bool = False


def parameters() -> tuple[Parameter, ...]:
    """With the distances that there are now."""
    return (
        Parameter(
            "step",
            Choice((4, 6, 8)),
            "distance between descriptors, pixels",
            allowed=Integer(1, 32),
            prefix=True,
        ),
        Parameter(
            "bin_size",
            Choice((4, 8)),
            "side of one of a descriptor's 4 × 4 bins, pixels",
            allowed=Integer(2, 16),
            prefix=True,
        ),
        Parameter(
            "fast",
            Choice((True,)),
            "flat instead of Gaussian window: about the same descriptors, 10 to 20 times sooner",
            allowed=Choice((True, False)),
            prefix=True,
        ),
        Parameter(
            "transform",
            Choice(("raw", "root")),
            "descriptors as they are, or RootSIFT (Arandjelović & Zisserman, 2012)",
            prefix=True,
        ),
        Parameter(
            "vocabulary_step",
            Choice((8, 16)),
            "distance between the descriptors the vocabulary is made from, pixels",
            allowed=Integer(1, 64),
            prefix=True,
        ),
        Parameter(
            "vocabulary_size",
            Choice((100, 200, 400)),
            "visual words in the vocabulary",
            allowed=Integer(2, 4096),
            prefix=True,
        ),
        metric(),
        norm(("none", "l1", "l2")),
        K,
        VOTE,
        Parameter(
            "scales",
            Choice((1, 3)),
            "bin sizes used together: bin_size, twice that, three times that and so on (Bosch "
            "et al., 2007)",
            allowed=Integer(1, 4),
            before=1,
            prefix=True,
        ),
        Parameter(
            "assignment",
            Choice(("hard",)),
            "a descriptor counts for its nearest word, or is shared out among all by their "
            "distance (van Gemert et al., 2010)",
            allowed=Choice(("hard", "soft")),
            before="hard",
            prefix=True,
        ),
        Parameter(
            "regions",
            Choice(("none", "2x2", "pyramid")),
            "words of the whole image, of its quarters, or of both and its 4 × 4 cells "
            "(Lazebnik et al., 2006)",
            before="none",
        ),
        Parameter(
            "idf",
            Choice((False, True)),
            "weigh words by how few training images have them (Sivic & Zisserman, 2003)",
            before=False,
        ),
        replace(MIRRORED, prefix=True),  # twice the descriptors
    )


BAG_OF_SIFT = Space(
    "bag-of-sift",
    "kNN on histograms of dense SIFT descriptors quantised to a vocabulary of visual words",
    parameters(),
    config=lambda config: BagOfSiftConfig(**config),
    # RootSIFT at three sizes (Bosch et al., 2007), 400 words in the cells of a pyramid, and what
    # two images have in common (Lazebnik et al., 2006)
    start={
        "step": 6,
        "bin_size": 4,
        "transform": "root",
        "vocabulary_step": 8,
        "vocabulary_size": 400,
        "scales": 3,
        "mirrored": True,
        "regions": "pyramid",
        "metric": "histogram-intersection",
        "norm": "l1",
        "k": 10,
        "vote": "distance",
    },
)
