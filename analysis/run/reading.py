"""How a run reads its images: as it did when it began, whatever has been learned about reading
since.
"""

from __future__ import annotations

from dataclasses import replace

from analysis.plan.plan import Plan
from analysis.run.records import DataFacts
from trainables.data import ReadOptions
from trainables.images.rule import FIRST


def options_of(plan: Plan, began: DataFacts | None) -> ReadOptions:
    """The plan's options, with the rule that the run noted when it began, and without the files
    that it left out.

    The first release noted no rule, and had one of its own.
    """
    options = plan.read_options()
    if began is None:
        return options
    return replace(
        options, rule=began.rule or FIRST, exactly=began.rule is None, left_out=began.skipped
    )
