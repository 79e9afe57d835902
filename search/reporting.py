"""The report of a run, as its plan wants it."""

from __future__ import annotations

from pathlib import Path

from analysis.records import RunDirectory
from analysis.report import ReportSettings
from analysis.report import write_report as write
from search.plan import Plan


def write_report(run: RunDirectory, plan: Plan) -> list[Path]:
    """Write ``report/`` of a run, finished or not; returns the files written."""
    settings = ReportSettings(plan.objective, plan.reference, plan.class_order, plan.abbreviations, plan.tradeoff, plan.training.image_size)
    return write(run, settings)
