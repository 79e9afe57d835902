"""The parameters that both kNN spaces share: how feature vectors are compared and voted on."""

from __future__ import annotations

from spaces.domain import Choice, Integer, Parameter

MAX_K = 50
"""Neighbours kept for each image, so the largest k that can be asked for."""

SIGNED_METRICS = ("euclidean", "cityblock", "cosine")
"""Metrics that are defined for negative numbers too."""

HISTOGRAM_METRICS = ("chi-squared", "hellinger", "histogram-intersection", "bray-curtis")
"""Metrics that are defined for histograms, which have no negative numbers."""

METRIC = Parameter(
    "metric",
    Choice(SIGNED_METRICS + HISTOGRAM_METRICS),
    "distance between two feature vectors",
)

K = Parameter(
    "k",
    Integer(1, 30),
    "neighbours that vote (at most the training images there are)",
    allowed=Integer(1, MAX_K),
)

VOTE = Parameter(
    "vote",
    Choice(("uniform", "distance")),
    "weight of a neighbour's vote: 1, or 1 / its distance",
    when={"k": tuple(range(2, MAX_K + 1))},
    otherwise="uniform",
)

MIRRORED = Parameter(
    "mirrored",
    Choice((False, True)),
    "the mirror images of the training images vote too",
    before=False,
)


def norm(options: tuple[str, ...]) -> Parameter:
    """The norm each vector is divided by; the cosine distance is blind to it."""
    return Parameter(
        "norm",
        Choice(options),
        "norm that each vector is divided by",
        when={"metric": tuple(metric for metric in METRIC.domain.values() if metric != "cosine")},
        otherwise="none",
    )
