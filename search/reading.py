"""How a run reads its images: as it did when it began, whatever has been learned about reading since."""

from __future__ import annotations

from dataclasses import replace

from analysis.records import DataFacts
from search.plan import Plan
from trainables.data import ReadOptions
from trainables.data.rule import FIRST


def options_of(plan: Plan, began: DataFacts | None) -> ReadOptions:
    """The plan's options, with the rule that the run noted when it began; the first release noted none, and had one of its own."""
    options = plan.read_options()
    return options if began is None else replace(options, rule=began.rule or FIRST, exactly=began.rule is None)
