"""The report of a run, as its plan wants it."""

from __future__ import annotations

from pathlib import Path

from analysis.importance import Importance
from analysis.records import RunDirectory, RunError
from analysis.report import ReportSettings
from analysis.report import write_report as write
from search.plan import Plan


def write_report(run: RunDirectory, plan: Plan) -> list[Path]:
    """Write ``report/`` of a run, finished or not; returns the files written."""
    return write(
        run,
        ReportSettings(
            objective=plan.objective,
            reference=plan.reference,
            class_order=plan.class_order,
            abbreviations=plan.abbreviations,
            tradeoff=plan.tradeoff,
            image_size=plan.training.image_size,
            importances=_importances(run, plan),
        ),
    )


def _importances(run: RunDirectory, plan: Plan) -> list[Importance]:
    """Which parameters mattered; nothing where the study's database cannot be reached, since a report needs none."""
    from search.importance import importances

    try:
        return importances(run, plan)
    except RunError:
        return []
