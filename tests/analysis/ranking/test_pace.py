"""How long a search will still take is told from what its trials took, and how wrong that may be
stands here.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from analysis.ranking.pace import Left, Pace, Running
from analysis.run.records import TrialRecord

RECORDED = json.loads(Path(__file__).with_name("costs.json").read_text())
"""Searches of 100 trials, in the order in which they ended: when each began, its seconds and its
prefix. ``reuse`` is what that sampler made of spaces whose prefixes cost 10 or 50 times a suffix,
with 3 and 9 workers; the others are drawn.
"""


def record(trial: list[Any], number: int) -> TrialRecord:
    began, seconds, prefix = trial
    facts = {"space": "s", "number": number, "state": "COMPLETE", "config": {"p": prefix}}
    return TrialRecord(**facts, started=1e9 + began, seconds=seconds)


def errors(kind: str, after: int) -> list[float]:
    """What was expected after so many trials, by what it came to."""
    found = []
    for trials in (search["trials"] for search in RECORDED if search["kind"] == kind):
        pace = Pace({"s": ("p",)} if kind == "reuse" else {}, 32.0 if kind == "reuse" else None)
        for number, trial in enumerate(trials[:after]):
            pace.count(record(trial, number))
        now = sum(trials[after - 1][:2])
        running = [Running("s", {"p": t[2]}, 1e9 + t[0]) for t in trials[after:] if t[0] <= now]
        left = pace.left(100 - after, math.inf, running, 1e9 + now)
        assert left is not None
        assert left.trials == 100 - after
        found.append(left.seconds / (sum(trials[-1][:2]) - now))
    return found


@pytest.mark.parametrize(
    ("kind", "worst", "typical"),
    [("constant", 1.2, 1.1), ("trending", 2.3, 2.0), ("two kinds", 2.5, 2.0), ("reuse", 2.2, 1.6)],
)
def test_after_five_trials_the_estimate_is_wrong_by_no_more_than_this(
    kind: str, worst: float, typical: float
) -> None:
    """The mean of the first five promises 3 to 27 times what a search with shared stages takes:
    they bought what the others share. Nobody plans a day by that.
    """
    wrong = sorted(max(ratio, 1 / ratio) for ratio in errors(kind, 5))
    assert wrong[-1] <= worst, wrong
    assert median(wrong) <= typical, wrong


def test_a_trend_is_followed() -> None:
    """Costs that rise as the sampler learns what is good are not averaged with the cheap beginning
    for ever.
    """
    wrong = [max(ratio, 1 / ratio) for ratio in errors("trending", 60)]
    assert max(wrong) <= 1.5, wrong


def test_nothing_is_told_of_too_few_and_no_more_than_the_time_allows() -> None:
    """Fewer than five trials say nothing; a time limit is kept, and the trials that fit it said."""
    pace = Pace({}, None)
    for number in range(5):
        assert pace.left(50, math.inf) is None
        pace.count(record([10.0 * number, 10.0, ""], number))
    assert pace.left(50, math.inf) == Left(pytest.approx(500.0), 50)
    assert pace.left(50, 100.0) == Left(100.0, 10)
    assert pace.left(50, -3.0) == Left(0.0, 0)
    assert pace.left(0, 100.0) == Left(0.0, 0)
    failed = record([50.0, 999.0, ""], 5).model_copy(update={"state": "FAIL"})
    pace.count(failed)
    assert pace.left(50, 100.0) == Left(100.0, 10)


def test_a_night_between_two_sessions_is_no_part_of_the_pace() -> None:
    """A search that is resumed the next day goes on as quickly as it did."""
    pace = Pace({}, None)
    for number in range(10):
        night = 40_000.0 if number > 4 else 0.0
        pace.count(record([10.0 * number + night, 10.0, ""], number))
    left = pace.left(10, math.inf)
    assert left is not None
    assert left.seconds == pytest.approx(100, rel=0.1)


def test_a_trial_that_runs_counts_for_what_it_still_needs() -> None:
    """The last training of ten minutes, nine of which are over, has a minute left."""
    pace = Pace({}, None)
    for number in range(5):
        pace.count(record([600.0 * number, 600.0, ""], number))
    running = [Running("s", {}, 1e9 + 3000)]
    left = pace.left(1, math.inf, running, 1e9 + 3540)
    assert left is not None
    assert left.seconds == pytest.approx(60)
