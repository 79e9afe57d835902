"""The report of a run, as its plan wants it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from analysis.plan.plan import Plan
from analysis.plan.settings import NO_DATASET
from analysis.ranking.importance import Importance
from analysis.report.examples import thumbnails
from analysis.report.page import ReportSettings
from analysis.report.page import write_report as write
from analysis.run.directory import RunDirectory, RunError


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
            image_size=plan.training.side,
            importances=_importances(run, plan),
            pictures=partial(_pictures, run, plan),
        ),
    )


def _pictures(run: RunDirectory, plan: Plan, rows: Sequence[int]) -> dict[int, bytes]:
    """Small pictures of validation images by their row, as far as the dataset is there."""
    labels, data = run.validation_labels(), run.data()
    if labels is None or plan.dataset == NO_DATASET:
        return {}
    return thumbnails(
        data.spec,
        data.as_read(plan.read_options()),
        data.skipped,
        plan.validation_for(data.sizes).split,
        labels,
        rows,
    )


def _importances(run: RunDirectory, plan: Plan) -> list[Importance]:
    """Which parameters mattered; nothing where the study's database cannot be reached, since a
    report needs none.
    """
    from search.study.importance import importances

    try:
        return importances(run, plan)
    except RunError:
        return []
