"""The report of a run, as its plan wants it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from analysis.plan.plan import Plan
from analysis.plan.settings import NO_DATASET
from analysis.ranking.doubtful import doubtful_labels
from analysis.ranking.importance import Importance
from analysis.report.check_page import SHOWN
from analysis.report.examples import thumbnails, validation_files
from analysis.report.page import ReportSettings
from analysis.report.page import write_report as write
from analysis.run.directory import RunDirectory, RunError
from spaces.errors import UserError
from spaces.kinds import function_of
from trainables.audit.entries import Entry
from trainables.audit.findings import Finding
from trainables.audit.look import Look
from trainables.data.spec import reader_of


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


def doubted(run: RunDirectory, plan: Plan) -> tuple[Look, dict[Entry, bytes]]:
    """The labels that the best trials contradict, as what a look found, with small pictures of
    them as far as the dataset is there.

    Raises:
        RunError: if the predictions of too few trials were kept.
    """
    found, trials = doubtful_labels(run, run.records(), plan.objective)
    data, names = run.data(), dict[int, str]()
    split = plan.validation_for(data.sizes).split
    with contextlib.suppress(UserError, OSError, KeyError):  # the dataset may be gone
        reader, place = reader_of(data.spec)
        labels, options = run.validation_labels(), data.as_read(plan.read_options())
        if reader.files and labels is not None:
            listed = function_of(reader.files)(data.spec, place, options)
            files = validation_files(listed, options, data.skipped, split, labels)
            names = {row: listed.name(file) for row, file in enumerate(files)}
    entries = {
        doubt.row: Entry(
            split,
            data.classes[doubt.label],
            names.get(doubt.row, str(doubt.row)),
            remark=f"{round(doubt.share * trials)} of {trials} trials say "
            f"{data.classes[doubt.said]}",
        )
        for doubt in found
    }
    said = (
        f"{len(found):,} of {sum(data.sizes.values()):,} images have a label that is probably "
        f"wrong: {trials} trials that never saw it say otherwise"
    )
    groups = tuple((entry,) for entry in entries.values())
    findings = (Finding("doubtful-labels", said, groups),) if entries else ()
    counts = {name: {"": size} for name, size in data.sizes.items()}
    pictures = _pictures(run, plan, list(entries)[:SHOWN])
    look = Look(data.spec, data.classes, counts, findings)
    return look, {entries[row]: content for row, content in pictures.items()}


def _importances(run: RunDirectory, plan: Plan) -> list[Importance]:
    """Which parameters mattered; nothing where the study's database cannot be reached, since a
    report needs none.
    """
    from search.study.importance import importances

    try:
        return importances(run, plan)
    except RunError:
        return []
