"""The report of a run, as its plan wants it."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from analysis.bundle.bundle import read_bundle
from analysis.explain.reasons import explains
from analysis.plan.plan import Plan
from analysis.plan.settings import NO_DATASET
from analysis.ranking.doubtful import doubtful_labels
from analysis.ranking.importance import Importance
from analysis.ranking.shares import shares_of
from analysis.report.check_page import SHOWN
from analysis.report.examples import Int64, KnownSplit
from analysis.report.page import MISTAKES_PAGE, ReportSettings
from analysis.report.page import write_report as write
from analysis.report.why_page import Asked, explained, write_why_page
from analysis.run.directory import RunDirectory, RunError
from analysis.run.records import DataFacts, TrialRecord
from spaces.errors import UserError
from spaces.kinds import function_of
from trainables.audit.entries import Entry
from trainables.audit.findings import Finding
from trainables.audit.look import Look
from trainables.data.spec import reader_of
from trainables.data.validation import validation_groups

MISTAKES = 12
"""Images that the page of mistakes shows."""


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
            changes=plan.changes,
            fidelity=plan.said_of_parts,
        ),
    )


def _pictures(run: RunDirectory, plan: Plan, rows: Sequence[int]) -> dict[int, bytes]:
    """Small pictures of validation images by their row, as far as the dataset is there."""
    labels, data = run.validation_labels(), run.data()
    if labels is None or plan.dataset == NO_DATASET:
        return {}
    return _judged(data, plan, labels).thumbnails(rows)


def _judged(data: DataFacts, plan: Plan, labels: Int64) -> KnownSplit:
    """The images that were validated, whose classes are ``labels``."""
    options, split = data.as_read(plan.read_options()), plan.validation_for(data.sizes).split
    return KnownSplit(data.spec, options, data.skipped, split, labels)


def write_mistakes(run: RunDirectory, plan: Plan, bundle: Path, record: TrialRecord) -> bool:
    """Write the report's page of the validation images that a trial is surest and wrong about, and
    why, by the bundle that was made of it; whether there are any to show.

    Args:
        bundle: at hand because it was just exported: a report alone makes no classifier again.
    """
    labels, given, data = run.validation_labels(), run.predictions(record), run.data()
    model = read_bundle(bundle)
    if labels is None or given is None or not explains(model):
        return False
    shares = shares_of(run, record, len(labels), len(data.classes))
    if shares is None:
        shares = np.eye(len(data.classes), dtype=np.float32)[given]
    wrong = np.flatnonzero(given != labels)
    rows = wrong[np.argsort(-shares[wrong, given[wrong]], kind="stable")][:MISTAKES]
    validation = plan.validation_for(data.sizes)
    there = _judged(data, plan, labels).images([int(row) for row in rows])
    alone = validation.scheme == "val"
    groups = None if alone else validation_groups(labels, None, **asdict(validation))
    asked = [
        Asked(
            name,
            pixels,
            shares[row].astype(np.float64),
            int(given[row]),
            int(labels[row]),
            None if groups is None else (row, groups),
        )
        for row, (name, pixels) in there.items()
    ]
    if asked:
        headline = f"Worst mistakes of trial {record.key}"
        found = explained(model, asked)
        write_why_page(run.report / MISTAKES_PAGE, model.facts, found, headline)
    return bool(asked)


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
        labels = run.validation_labels()
        if reader.files and labels is not None:
            judged = _judged(data, plan, labels)
            listed = function_of(reader.files)(data.spec, place, judged.options)
            files = judged.files(listed)
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
