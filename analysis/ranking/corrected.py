"""What the winner of a search is worth on new images: its score, corrected for having been chosen.

The best of many trials was lucky on the images that it was chosen by. So the choice is made again
and again: images drawn with replacement choose among all trials as the search did, by its own
objective, and the images that were not drawn judge the one that they chose. The mean is what
"search, then take the best" is worth, and the percentiles are its interval (bootstrap
bias-corrected cross-validation: Tsamardinos, Greasidou & Borboudakis, Machine Learning 107, 2018).

Trials that were pruned, failed or break a constraint could not be chosen, and are left out. Those
that were run again with other seeds are chosen and judged by the mean over these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from analysis.ranking.leaderboard import ranked
from analysis.ranking.significance import interval
from analysis.run.directory import RunDirectory, RunError
from analysis.run.jobs import Job, read_jobs
from analysis.run.records import Count, TrialRecord
from analysis.run.trial_files import TrialFiles
from spaces.kinds import function_of
from spaces.objectives import METRICS
from trainables.data.scores import score

DRAWS = 1000
FEWER_DRAWS = 200
"""Of an objective that must be computed anew for each draw and trial."""
CELLS = 20_000_000
"""Predictions that are looked at, at most: of the best trials."""
MOST_COMPUTED = 50
"""The best trials, which are looked at where the objective is computed for each."""
SCORES = ("val_accuracy", "balanced_accuracy", "macro_f1")
DIGITS = 4
Finite = Annotated[float, Field(allow_inf_nan=False)]
Float64 = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


class Corrected(BaseModel):
    """What the best of a search is worth on new images like those that chose it.

    Attributes:
        metric: of what: the objective, or val_accuracy where that is no figure of predictions.
        estimate, low, high: of it, and its interval of 95 %.
        raw: what the winner had on the images that chose it.
        trials: among which it was chosen.
        images: that chose it.
        copies: what was said of copies among the images, which flatter this estimate too.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    metric: str
    estimate: Finite
    low: Finite
    high: Finite
    raw: Finite
    trials: Count
    images: Count
    copies: tuple[str, ...] = ()

    @property
    def figure(self) -> str:
        """The estimate with its interval."""
        return f"{self.estimate:.{DIGITS}f} ({self.low:.{DIGITS}f} to {self.high:.{DIGITS}f}, 95 %)"

    def __str__(self) -> str:
        among = f"the choice among {self.trials:,} trials" if self.trials > 1 else "no choice"
        return (
            f"{self.metric} {self.figure}, corrected for {among}; {self.raw:.{DIGITS}f} on the "
            f"{self.images:,} images that chose it"
        )


def corrected(run: RunDirectory, order: Sequence[TrialRecord], objective: str) -> Corrected | str:
    """What the first of a leaderboard is worth, or why nobody can tell.

    Args:
        order: all of it, best first.
    """
    labels = run.validation_labels()
    if not order:
        return "no trial is complete yet"
    if labels is None:
        return "the true classes of the validation images are not there"
    if len(labels) < 2:
        return "one validation image alone judges"
    if objective == "val_loss":
        return "it was chosen by val_loss, of which no share is kept for each image"
    rivals = [record for record in order if bool(record.replicas) == bool(order[0].replicas)]
    by_predictions = objective in SCORES or METRICS[objective].function is not None
    metric = objective if by_predictions else "val_accuracy"
    if metric not in order[0].metrics:
        return f"its {metric} was not measured"
    linear = metric in ("val_accuracy", "balanced_accuracy")
    if not by_predictions:
        rivals = rivals[:1]  # chosen by what no image has a say in
    most = max(MOST_COMPUTED, CELLS // len(labels)) if linear else MOST_COMPUTED
    files, again = run.trial_files, run.replicas.trial_files  # each reads the labels once
    jobs = read_jobs(run.replicas.path) if order[0].replicas else []
    given = [(record, _answers(record, files, again, jobs)) for record in rivals[:most]]
    known = [(record, some) for record, some in given if some]
    if not known or known[0][0] is not order[0]:
        return f"the predictions of trial {order[0].key} were not kept"
    # by their numbers, as equals are ranked: by rank, all images would have a say in who is first
    known.sort(key=lambda pair: (pair[0].space, pair[0].number))
    answers = [some for _, some in known]
    draw = _linear if linear else _computed
    chosen, out = draw(labels, answers, metric)
    records = [record for record, _ in known]
    if lost := _missed(records, rivals, chosen, objective):
        return (
            f"the predictions of {lost:,} of {len(rivals):,} trials were not kept, as older "
            "versions kept those of the best alone; search again, or score test images with "
            "visiontune export"
        )
    raw = order[0].value(metric)
    low, high = (float(value) for value in np.quantile(out, (0.025, 0.975)))
    estimate = float(out.mean())
    if metric == "val_accuracy":  # where few are wrong, draws tell less than they should
        plain = interval(round(estimate * len(labels)), len(labels))
        low, high = min(low, plain[0]), max(high, plain[1])
    return Corrected(
        metric=metric,
        estimate=estimate,
        low=low,
        high=high,
        raw=raw,
        trials=len(rivals),
        images=len(labels),
        copies=flattering(run),
    )


def corrected_of(run: RunDirectory, record: TrialRecord) -> Corrected | None:
    """What a trial is worth on new images, if it is the best of its search and that is known."""
    objective = run.plan().objective
    order = ranked(run.records(), objective)
    found = corrected(run, order, objective) if order and order[0].key == record.key else ""
    return None if isinstance(found, str) else found


def _answers(
    record: TrialRecord, files: TrialFiles, replicas: TrialFiles, jobs: Sequence[Job]
) -> list[Int64]:
    """(n,) predictions of a trial, or of each of its replicas; empty if any was not kept."""
    found = [files.predictions(record)]
    if record.replicas:
        again = [
            replicas.record(job.space, number)
            for number, job in enumerate(jobs)
            if (job.space, job.trial) == (record.space, record.number)
        ]
        found = [replicas.predictions(one) for one in again if one and one.state == "COMPLETE"]
    there = [one.astype(np.int64) for one in found if one is not None]
    return there if len(there) == len(found) else []


def _missed(
    known: Sequence[TrialRecord], rivals: Sequence[TrialRecord], chosen: Int64, objective: str
) -> int:
    """How many trials without predictions might have been chosen: those that lack less than twice
    what the worst lacked that ever was.
    """
    if len(known) == len(rivals):
        return 0
    best = rivals[0].value(objective)
    lacks = max(abs(best - known[row].value(objective)) for row in np.unique(chosen))
    there = {record.key for record in known}
    return sum(
        abs(best - record.value(objective)) <= 2 * lacks
        for record in rivals
        if record.key not in there
    )


def counts_of_draws(n: int, draws: int) -> Float32:
    """(draws, n) how often each of n images is drawn."""
    drawn = np.random.default_rng(0).integers(n, size=(draws, n))
    drawn += n * np.arange(draws)[:, None]
    return np.bincount(drawn.ravel(), minlength=draws * n).reshape(draws, n).astype(np.float32)


def _linear(labels: Int64, given: Sequence[Sequence[Int64]], metric: str) -> tuple[Int64, Float64]:
    """(draws,) the row that each draw chooses, and its score on the images that were not drawn,
    where that is a weighted mean over images.
    """
    order = np.argsort(labels, kind="stable")
    truth = labels[order]
    right = np.array(
        [np.mean([one[order] == truth for one in some], axis=0) for some in given], np.float32
    )
    starts = np.flatnonzero(np.diff(truth, prepend=-1))
    sizes = np.diff(starts, append=len(truth))

    def weights(counts: Float32) -> Float32:
        if metric == "balanced_accuracy":
            of_class = np.add.reduceat(counts, starts, axis=1)
            shares = 1 / np.maximum(of_class, 1)
            counts = counts * np.repeat(shares, sizes, axis=1)
        return counts

    def means(rows: Float32, counts: Float32) -> Float32:
        return rows / weights(counts).sum(axis=1)

    chosen, scores = [], []
    draws = int(np.clip(CELLS // len(labels), FEWER_DRAWS, DRAWS))
    counts = counts_of_draws(len(labels), draws)
    for start in range(0, draws, 100):
        some = counts[start : start + 100]
        some = some[(some == 0).any(axis=1)]  # or nobody judges
        out = (some == 0).astype(np.float32)
        best = np.round(means(right @ weights(some).T, some), 6).argmax(axis=0)
        chosen.append(best)
        scores.append(means(np.einsum("bn,bn->b", right[best], weights(out)), out))
    return np.concatenate(chosen), np.concatenate(scores).astype(np.float64)


def _computed(
    labels: Int64, given: Sequence[Sequence[Int64]], metric: str
) -> tuple[Int64, Float64]:
    """The same of any objective, computed for each draw."""
    classes = max(int(labels.max()), *(int(one.max()) for some in given for one in some)) + 1
    objective = METRICS[metric]

    def value(row: int, images: Int64) -> float:
        truth = labels[images]
        found = [
            float(function_of(objective.function)(truth, one[images], classes))
            if objective.function
            else astuple(score(truth, one[images], classes))[SCORES.index(metric)]
            for one in given[row]
        ]
        return float(np.mean(found))

    sign = 1.0 if objective.direction == "maximize" else -1.0
    chosen, scores = [], []
    for counts in counts_of_draws(len(labels), FEWER_DRAWS).astype(np.int64):
        images, out = np.repeat(np.arange(len(labels)), counts), np.flatnonzero(counts == 0)
        if len(out):
            best = int(np.argmax([sign * value(row, images) for row in range(len(given))]))
            chosen.append(best)
            scores.append(value(best, out))
    return np.array(chosen), np.array(scores)


def flatters(remark: str) -> bool:
    """Whether a remark on the images is of copies among those that choose: whatever these say of a
    classifier is too good then.
    """
    flattered = (
        "what is chosen is flattered",
        "more than once among the training images",  # each is judged by a model that saw the other
        "more than once among the validation images",
    )
    return any(words in remark for words in flattered)


def flattering(run: RunDirectory) -> tuple[str, ...]:
    """What was said of copies among the images that choose."""
    try:
        return tuple(line for line in run.data().notes if flatters(line))
    except RunError:
        return ()  # whoever needs the images says so
