"""Probabilities that mean something: of the images that are given a class with 0.8, eight of ten
have it.

One mapping serves every kind of classifier: a share s of a class becomes (s + floor) ** power, and
those of an image are scaled to sum to 1. Without a floor it is the temperature of a network (Guo,
Pleiss, Sun & Weinberger, 2017); with one, votes of k neighbours that all agree are no certainty.
Both are chosen for the likelihood of the true classes. What is left of the error of the largest is
put right by a curve that only rises (isotonic regression; Zadrozny & Elkan, 2002), where half of
the images say that it makes the other half likelier: three neighbours give few shares, and those of
discriminant analysis have tails of their own. Which class is largest never changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from analysis.run.records import Count, Share

BINS = 15
FLOORS, POWERS = (1e-6, 1.0), (0.02, 50.0)
POINTS, LOWEST, APART = 40, -2.0, 0.4
"""Of the curve: how many at most, and for which log odds of the largest class."""
Odds = Annotated[float, Field(ge=-50, le=50)]
TILT = 0.01
"""By which the curve rises from the least sure image to the surest beside what was seen of them:
where it stood still, sets would hold all of those images or none, whatever was asked.
"""
ROUNDED = 2.0**-10
"""Shares were kept in 11 bits: what a classifier gives may differ by so much of what was kept."""
KEPT = 2000
"""Shares of true classes that a calibration keeps, at most."""
CELLS = 500_000
"""Shares that the two numbers are fitted to, about: more make neither better and take longer."""
Floats = npt.NDArray[np.floating[Any]]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]
Curve = tuple[tuple[float, float], ...]
LEAST = 1e-9


class Calibration(BaseModel):
    """A mapping of shares to probabilities, and how it did on the validation images.

    Attributes:
        curve: (log odds of the largest class, its probability) at points between which it is
            straight; the others share the rest as before.
        before, after: expected calibration error, each half of the images mapped as the other says.
        images: validation images.
        truth: probability that the true class had, of as many of them as are kept, in random order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    floor: Annotated[float, Field(ge=0, le=FLOORS[1])]
    power: Annotated[float, Field(ge=POWERS[0], le=POWERS[1])]
    curve: tuple[tuple[Odds, Share], ...] = Field(default=(), max_length=POINTS)
    before: Share
    after: Share
    images: Count
    truth: tuple[Share, ...] = Field(max_length=KEPT)

    def of(self, shares: Floats) -> Float64:
        """(n, classes) probabilities of (n, classes) shares."""
        return mapped(shares, self.floor, self.power, self.curve)

    def threshold(self, coverage: float) -> float:
        """Probability from which on a class belongs to a set that holds the true class with
        ``coverage``; 0 where there are too few images to say.
        """
        return _threshold(self.truth, coverage)

    def seen(self, coverage: float) -> float:
        """Share of the validation images whose sets held the true class, each half with the
        threshold of the other.
        """
        halves = self.truth[::2], self.truth[1::2]
        held = [
            sum(share >= _threshold(other, coverage) for share in half)
            for half, other in zip(halves, halves[::-1], strict=True)
        ]
        return sum(held) / max(1, len(self.truth))


def _threshold(truth: Sequence[float], coverage: float) -> float:
    rank = int((len(truth) + 1) * (1 - coverage) + 1e-9)
    return sorted(truth)[rank - 1] if rank else 0.0


def mapped(shares: Floats, floor: float, power: float, curve: Curve = ()) -> Float64:
    """(n, classes) probabilities, which sum to 1 a row."""
    logs = power * np.log(np.maximum(shares.astype(np.float64) + floor, 1e-12))
    found = np.exp(logs - logs.max(axis=1, keepdims=True))
    found = np.asarray(found / found.sum(axis=1, keepdims=True))
    if not curve or not len(found):
        return found
    others, rest, odds = log_odds(found)
    second = others.max(axis=1)
    wanted = np.interp(odds, *np.array(curve).T)
    given = np.maximum(wanted, second / (rest + second) * (1 + LEAST))  # it stays the largest
    top = found.argmax(axis=1)
    found = others * ((1 - given) / rest)[:, None]
    found[np.arange(len(found)), top] = given
    return np.asarray(found / found.sum(axis=1, keepdims=True))


def calibrate(shares: Floats, labels: Int64) -> Calibration:
    """The mapping for (n, classes) shares of images of (n,) true classes."""
    order = np.random.default_rng(0).permutation(len(labels))
    halves = np.sort(order[::2]), np.sort(order[1::2])
    plain = shares.astype(np.float64)
    curved = plain.copy()
    for rows, others in (halves, halves[::-1]):
        if len(others):
            floor, power = fitted(shares[others], labels[others])
            curve = risen(mapped(shares[others], floor, power), labels[others])
            plain[rows] = mapped(shares[rows], floor, power)
            curved[rows] = mapped(shares[rows], floor, power, curve)
    floor, power = fitted(shares, labels)
    better = _likelihood(curved, labels) > _likelihood(plain, labels)
    curve = risen(mapped(shares, floor, power), labels) if better else ()
    truth = mapped(_lowered(shares, labels), floor, power, curve)[np.arange(len(labels)), labels]
    return Calibration(
        floor=floor,
        power=power,
        curve=curve,
        before=calibration_error(shares, labels),
        after=calibration_error(curved if better else plain, labels),
        images=len(labels),
        # down, or what is exactly at a threshold would lie below it
        truth=tuple(int(share * 1e6) / 1e6 for share in truth[order[:KEPT]]),
    )


def _lowered(shares: Floats, labels: Int64) -> Float64:
    """The shares where the true classes have the least that may have been rounded to these."""
    found, rows = shares.astype(np.float64), np.arange(len(labels))
    found *= 1 + ROUNDED
    found[rows, labels] *= (1 - ROUNDED) / (1 + ROUNDED)
    return found


def _likelihood(given: Float64, labels: Int64) -> float:
    return float(np.log(np.maximum(given[np.arange(len(labels)), labels], LEAST)).mean())


def risen(given: Float64, labels: Int64) -> Curve:
    """The curve from the log odds of the largest class to how often that is right, and a tilt."""
    from sklearn.isotonic import IsotonicRegression

    sure, right = given.max(axis=1), (given.argmax(axis=1) == labels).astype(np.float64)
    least = 1 / (len(labels) + 2)
    fitted_ = IsotonicRegression(y_min=least, y_max=1 - least, out_of_bounds="clip").fit_transform(
        sure, right
    )
    odds = log_odds(given)[2]
    points: list[tuple[float, float]] = []
    bins = np.clip((odds - LOWEST) / APART, 0, POINTS - 3).astype(np.int64)
    for inside in (bins == one for one in np.unique(bins)):
        x, y = float(odds[inside].mean()), float(fitted_[inside].mean())
        # never so steep that what onnxruntime rounds otherwise is another probability
        if not points or x - points[-1][0] > APART / 4:
            points.append((x, y))
    # two points are left for the ends
    least_sure, surest = float(odds.min()), float(odds.max())
    if points[0][0] - least_sure > APART / 4:
        points.insert(0, (least_sure, points[0][1]))
    if surest - points[-1][0] > APART / 4:
        points.append((surest, points[-1][1]))
    return tuple((x, (1 - TILT) * y + TILT * float((odds <= x).mean())) for x, y in points)


def log_odds(given: Float64) -> tuple[Float64, Float64, Float64]:
    """(n, classes) probabilities but for each row's largest, which is 0 there, (n,) their sum, and
    (n,) the log odds of the largest.
    """
    rows, top = np.arange(len(given)), given.argmax(axis=1)
    others = given.copy()
    others[rows, top] = 0
    rest = np.maximum(others.sum(axis=1), LEAST)
    return others, rest, np.log(given[rows, top] / rest)


def fitted(shares: Floats, labels: Int64) -> tuple[float, float]:
    """Fit the floor and the power that make the true classes likeliest.

    Args:
        shares: (n, classes) share of each class in each image.
        labels: (n,) true classes.

    Returns:
        (floor, power). Of many images a random part is taken, with about ``CELLS`` shares above 0.
    """
    from scipy.optimize import minimize

    low, high = np.log([FLOORS[0], POWERS[0]]), np.log([FLOORS[1], POWERS[1]])
    if (parts := 1 + int(np.count_nonzero(shares)) // CELLS) > 1:
        rows = np.random.default_rng(0).permutation(len(labels))[: len(labels) // parts]
        shares, labels = shares[rows], labels[rows]
    # of a thousand classes most have nothing, and count as one
    at, classes = np.nonzero(shares)
    some = shares[at, classes].astype(np.float64)
    none = shares.shape[1] - np.bincount(at, minlength=len(labels))
    top, true = (
        part.astype(np.float64)
        for part in (shares.max(axis=1), shares[np.arange(len(labels)), labels])
    )

    def loss(where: Float64) -> float:
        floor, power = np.exp(np.clip(where, low, high))
        most = np.log(top + floor)
        of_some = np.exp(power * (np.log(some + floor) - most[at]))
        all_of_it = np.bincount(at, of_some, len(labels))
        all_of_it += none * np.exp(power * (np.log(floor) - most))
        return float((np.log(all_of_it) - power * (np.log(true + floor) - most)).mean())

    starts = [np.log([floor, 1.0]) for floor in (1e-5, 0.02)]
    found = min(
        (minimize(loss, start, method="Nelder-Mead", options={"xatol": 0.01, "fatol": 1e-6})
         for start in starts),
        key=lambda one: float(one.fun),
    )  # fmt: skip
    floor, power = np.exp(np.clip(found.x, low, high))
    return float(np.clip(floor, *FLOORS)), float(np.clip(power, *POWERS))


def reliability(shares: Floats, labels: Int64) -> list[tuple[float, float, int]]:
    """(mean probability of the class that was given, share of it that is right, images) of each bin
    of that probability that has any.
    """
    sure, right = shares.max(axis=1), shares.argmax(axis=1) == labels
    bins = np.minimum((sure * BINS).astype(np.int64), BINS - 1)
    inside = [bins == one for one in np.unique(bins)]
    return [(float(sure[on].mean()), float(right[on].mean()), int(on.sum())) for on in inside]


def before_and_after(
    found: Calibration, shares: Floats, labels: Int64
) -> dict[str, list[tuple[float, float, int]]]:
    """The bins of ``reliability`` of shares as they are, and of what was made of them."""
    return {
        f"as it is, error {found.before:.3f}": reliability(shares, labels),
        f"calibrated, error {found.after:.3f}": reliability(found.of(shares), labels),
    }


def calibration_error(shares: Floats, labels: Int64) -> float:
    """Expected calibration error: by how much probability and truth differ, over the bins."""
    return sum(n * abs(sure - right) for sure, right, n in reliability(shares, labels)) / max(
        1, len(labels)
    )
