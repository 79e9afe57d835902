"""The parameters that both kNN spaces share: how feature vectors are compared and voted on."""

from __future__ import annotations

from spaces.domain import Choice, Integer, Parameter
from spaces.kinds import Distance
from spaces.registry import Registry

MAX_K = 50
"""Neighbours kept for each image, so the largest k that can be asked for."""

DISTANCES = Registry(Distance, "distance")
for _distance in (
    Distance("euclidean", "trainables.neighbours.distances:euclidean", signed=True),
    Distance("cityblock", "trainables.neighbours.distances:city_block", signed=True),
    Distance("cosine", "trainables.neighbours.distances:cosine", signed=True, blind=True),
    Distance("chi-squared", "trainables.neighbours.distances:chi_squared"),
    Distance("hellinger", "trainables.neighbours.distances:hellinger"),
    Distance("histogram-intersection", "trainables.neighbours.distances:histogram_intersection"),
    Distance("bray-curtis", "trainables.neighbours.distances:bray_curtis"),
):
    DISTANCES.add(_distance)
OURS = tuple(DISTANCES)
"""Tried by default; one that a plug-in adds is tried where ``metric`` names it."""

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


def signed_metrics() -> tuple[str, ...]:
    """Those that are defined for negative numbers too."""
    return tuple(name for name, distance in DISTANCES.items() if distance.signed)


def metric() -> Parameter:
    """The distance between two feature vectors."""
    names, doc = tuple(DISTANCES), "distance between two feature vectors"
    return Parameter("metric", Choice(OURS), doc, allowed=Choice(names) if names != OURS else None)


def norm(options: tuple[str, ...]) -> Parameter:
    """The norm each vector is divided by, which some distances are blind to."""
    sees = tuple(name for name, distance in DISTANCES.items() if not distance.blind)
    return Parameter(
        "norm",
        Choice(options),
        "norm that each vector is divided by",
        when={"metric": sees},
        otherwise="none",
    )
