"""The report of one run: leaderboard, accuracy against k, learning curves, confusion matrix, and
all of it in one HTML file.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from analysis.figures import drawing as figures
from analysis.figures.curves import schedule_figure
from analysis.plan.changed import Changed
from analysis.ranking.calibration import before_and_after, calibrate
from analysis.ranking.confusion import Confusion, classes_csv, confusion_of, to_csv
from analysis.ranking.corrected import corrected
from analysis.ranking.importance import Importance
from analysis.ranking.leaderboard import passed, ranked, readable, rows, short_config
from analysis.ranking.leaderboard import to_csv as leaderboard_csv
from analysis.ranking.looks import looks
from analysis.ranking.schedule import Stretch, changing, shown_schedule
from analysis.ranking.shares import shares_of
from analysis.ranking.significance import first_against_next, intervals
from analysis.report.networks import best_networks, model_table, network_files
from analysis.report.search_files import SearchPart, search_part
from analysis.report.templates import data_uri, rendered
from analysis.run.directory import RunDirectory
from analysis.run.records import TrialRecord
from spaces.objectives import METRICS
from trainables.io.files import write_whole

Pictures = Callable[[Sequence[int]], Mapping[int, bytes]]
"""Gives JPEG pictures of validation images by their row, as far as they can be had."""
EXAMPLES = 3
"""Pictures that are shown of each pair of classes that are confused."""
SHOWN = 15
"""Rows of the leaderboard that the HTML report shows; the CSV has all."""

MISTAKES_PAGE = "mistakes.html"
"""Beside the report, of an exported trial: why it was wrong."""


@dataclass(frozen=True)
class ReportSettings:
    """What of a plan decides how a report looks.

    Attributes:
        objective: what the leaderboard is sorted by.
        reference: named lines to compare with.
        class_order: order in which classes are shown, if not alphabetical.
        abbreviations: class to its short name, in matrices.
        tradeoff: further objectives; the trials on the Pareto front come first then.
        image_size: side of what networks see, pixels.
        importances: which parameters mattered, where a study could be read.
        pictures: gives small pictures of validation images.
        changes: what was asked to be otherwise since the search began.
        fidelity: the parts of the images that trials saw, where they did not begin with all.
    """

    objective: str = "val_accuracy"
    reference: Mapping[str, float] = field(default_factory=dict)
    class_order: Sequence[str] = ()
    abbreviations: Mapping[str, str] = field(default_factory=dict)
    tradeoff: Sequence[str] = ()
    image_size: int = 32
    importances: Sequence[Importance] = ()
    pictures: Pictures = lambda rows: {}
    changes: Sequence[Changed] = ()
    fidelity: str = ""


def write_report(run: RunDirectory, settings: ReportSettings) -> list[Path]:
    """Write ``report/`` of a run, finished or not; returns the files written."""
    objective, reference, tradeoff = settings.objective, settings.reference, settings.tradeoff
    records = run.records()
    table = sorted(
        rows(records, objective, reference, tradeoff), key=lambda row: not row.get("front", False)
    )
    files: dict[str, str | bytes] = {
        "leaderboard.csv": leaderboard_csv(table),
        "leaderboard.json": json.dumps(table, indent=1, ensure_ascii=False),
    }
    best = ranked(records, objective)[:1]
    if best:
        files |= _best_by_space(records, objective, reference)
        files |= network_files(run, records, objective, reference, settings.image_size)
    way = shown_schedule(run, best[0]) if best else ()
    if way:
        files["schedule.png"] = figures.to_png(schedule_figure(way))
    found = (
        confusion_of(run, best[0], settings.class_order, settings.abbreviations) if best else None
    )
    if found:
        files |= _confusion_files(found) | _reliability(run, best[0])
    search = search_part(run.name, records, objective, reference, settings.importances)
    files |= search.files
    shown = _examples(run, best[0], found, settings.pictures) if found else []
    files["report.html"] = _html(run, settings, records, table, files, found, shown, search, way)
    for name, content in files.items():
        write_whole(run.report / name, content)
    return [run.report / name for name in files]


def _best_by_space(
    records: list[TrialRecord], objective: str, reference: Mapping[str, float]
) -> dict[str, str | bytes]:
    """Accuracy against k for the best trial of each space, as PNG and CSV."""
    best = {
        record.space: record
        for record in reversed(ranked(records, objective))
        if record.accuracy_by_k
    }
    if not best:
        return {}
    series = {
        f"{record.key} ({record.config['metric']}, {record.config['vote']})": record
        for record in best.values()
    }
    figure = figures.accuracy_by_k(
        {label: record.accuracy_by_k for label, record in series.items()},
        {label: int(record.config["k"]) for label, record in series.items()},
        reference,
    )
    lines = ["k," + ",".join(record.key for record in series.values())]
    longest = max(len(record.accuracy_by_k) for record in series.values())
    for k in range(longest):
        lines.append(
            f"{k + 1},"
            + ",".join(
                f"{r.accuracy_by_k[k]:.6f}" if k < len(r.accuracy_by_k) else ""
                for r in series.values()
            )
        )
    return {
        "accuracy_by_k.png": figures.to_png(figure),
        "accuracy_by_k.csv": "\n".join(lines) + "\n",
    }


def _confusion_files(found: Confusion) -> dict[str, str | bytes]:
    """The mistakes of a trial as PNG and CSV, and precision and recall of each class."""
    return {
        "confusion.png": figures.to_png(figures.confusion(found.counts, found.names, found.title)),
        "confusion.csv": to_csv(found.counts, found.classes),
        "confusion-classes.csv": classes_csv(found),
    }


def _reliability(run: RunDirectory, record: TrialRecord) -> dict[str, str | bytes]:
    """How far the probabilities of a trial can be believed, where what it gave was kept."""
    labels, classes = run.validation_labels(), len(run.data().classes)
    shares = None if labels is None else shares_of(run, record, len(labels), classes)
    if shares is None or labels is None:
        return {}
    drawn = figures.reliability(before_and_after(calibrate(shares, labels), shares, labels))
    return {"reliability.png": figures.to_png(drawn)}


def _examples(
    run: RunDirectory, record: TrialRecord, found: Confusion, pictures: Pictures
) -> list[list[str]]:
    """Of each pair that is confused most a few images, as data URIs; none where they cannot be
    had.
    """
    labels, given, classes = run.validation_labels(), run.predictions(record), run.data().classes
    assert labels is not None  # or there would be no confusion to show
    assert given is not None
    pairs = [
        (classes.index(pair["true"]), classes.index(pair["predicted"])) for pair in found.pairs()
    ]
    rows = [
        np.flatnonzero((labels == true) & (given == taken))[:EXAMPLES].tolist()
        for true, taken in pairs
    ]
    there = pictures([row for some in rows for row in some]) if pairs else {}
    return [[data_uri(there[row]) for row in some if row in there] for some in rows]


def _html(
    run: RunDirectory,
    settings: ReportSettings,
    records: list[TrialRecord],
    table: list[dict[str, Any]],
    files: Mapping[str, str | bytes],
    found: Confusion | None,
    examples: list[list[str]],
    search: SearchPart,
    way: Sequence[Stretch],
) -> str:
    objectives, reference = (settings.objective, *settings.tradeoff), settings.reference
    pictures = {
        name: data_uri(content, "png")
        for name, content in files.items()
        if isinstance(content, bytes)
    }
    counts = {
        state: sum(record.state == state for record in records)
        for state in ("COMPLETE", "PRUNED", "FAIL")
    }
    state = run.state()
    order = ranked(records, objectives[0])
    first = bool(table) and table[0]["rank"] == 1
    return rendered(
        "report.html.j2",
        run=run.name,
        state=state,
        data=run.data(),
        objectives=objectives,
        metrics=[
            (name, METRICS[name].digits)
            for name in METRICS
            if name != "seconds" and any(name in row for row in table)
        ],
        digits=METRICS[objectives[0]].digits,
        reference=[
            (name, value, bool(table) and name in table[0]["passes"])
            for name, value in reference.items()
        ],
        counts=counts,
        changes=settings.changes,
        infeasible=sum(record.infeasible for record in records),
        best=table[0] if table else None,
        table=table[:SHOWN],
        again=any("replicas" in row for row in table),
        hidden=max(0, len(table) - SHOWN),
        failures=[record for record in records if record.failure][:SHOWN],
        pictures=pictures,
        models=model_table(best_networks(records, objectives[0])),
        confusion=found,
        examples=examples,
        mistakes=MISTAKES_PAGE if (run.report / MISTAKES_PAGE).is_file() else "",
        search=search,
        way=way,
        fidelity=settings.fidelity,
        changing=changing(way),
        interval=intervals(run, order[table[0]["rank"] - 1 :][:1])[0] if table else None,
        against=first_against_next(run, order) if first else None,
        worth=corrected(run, order, objectives[0]) if first else "",
        looks=[(look, passed(reference, look["accuracy"])) for look in looks(run)],
        architecture=files.get("architecture.txt", ""),
        plan=run.plan_file.read_text(encoding="utf-8"),
        short_config=short_config,
        readable=readable,
    )
