"""The commands that look into what was found: which trials are best, who is confused with whom, and
which parameters mattered.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from trainables.audit.entries import Entry
    from trainables.audit.look import Look

from search.cli.options import RUNS, Json, RunName, RunsDir
from search.cli.results import Runs
from spaces.errors import echo, shortened, shown

WIDEST = 40
"""Characters of a class's name in a table."""
LISTED, MOST_NAMED = 20, 8
"""Groups of images that a terminal shows of one finding."""
JUDGED = ("auto", "leave-one-out", "k-fold", "hold-out")


def confusion(
    run: RunName,
    trial: Annotated[
        str | None, typer.Option(help="Trial to look at, N or SPACE/N; the best by default.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="By default confusion.png in the run's report."),
    ] = None,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """Draw the confusion matrix of one of the best trials; with precision and recall of each class,
    and who is confused most.
    """
    from analysis.figures.drawing import confusion as draw
    from analysis.figures.drawing import to_png
    from analysis.ranking.confusion import confusion_of
    from analysis.ranking.leaderboard import chosen_record, ranked
    from analysis.run.directory import RunError
    from analysis.run.finding import find_run
    from analysis.run.trial_files import PREDICTIONS
    from trainables.io.files import write_whole

    folder = find_run(run, runs_dir)
    plan = folder.plan()
    records = folder.records()
    none = (
        f"run {folder.name} has no complete trial yet; visiontune status {run} says how it stands"
    )
    record = chosen_record(records, plan.objective, trial, none)
    order = ranked(records, plan.objective)
    found = confusion_of(folder, record, plan.class_order, plan.abbreviations)
    if found is None:
        if PREDICTIONS in record.digests:
            raise RunError(f"the predictions of {record.key} cannot be compared with the images")
        kept = [r.key for r in order if folder.predictions(r) is not None]
        there = f"there are those of {', '.join(kept)}" if kept else "there are none in this run"
        raise RunError(
            f"the predictions of {record.key} were not kept, only those of trials that were "
            f"among the best; {there}"
        )
    best = bool(order) and record.key == order[0].key
    path = out or folder.report / (
        "confusion.png" if best else f"confusion-{record.space}-{record.number}.png"
    )
    write_whole(path, to_png(draw(found.counts, found.names, found.title)))
    if json_:
        print(json.dumps({"file": str(path), **found.facts()}, ensure_ascii=False))
        return
    print(f"{shown(path)}: {found.title}")
    names = {name: shortened(shown(name), WIDEST) for name in found.classes}
    width = max(map(len, names.values()))
    print(f"{'class':{width}}  images  predicted  precision  recall")
    for row in found.by_class():
        precision, recall = (
            "–" if row[name] is None else f"{row[name]:.4f}" for name in ("precision", "recall")
        )
        print(
            f"{names[row['class']]:{width}}  {row['images']:6}  {row['predicted']:9}  "
            f"{precision:>9}  {recall:>6}"
        )
    for pair in found.pairs():
        print(
            f"{names[pair['true']]} taken for {names[pair['predicted']]}: {pair['count']}, the "
            f"other way {pair['reverse']}"
        )
    if found.mistakes:
        print(
            f"asymmetry {found.asymmetry:.3f} (0 symmetric, 1 one-sided; by chance "
            f"{found.asymmetry_by_chance:.3f})"
        )


def importance(run: RunName, runs_dir: RunsDir = RUNS, json_: Json = False) -> None:
    """Which parameters mattered, space by space, as Optuna judges it; and which could not be
    judged, and why.
    """
    from analysis.run.finding import find_run
    from search.study.importance import importances

    folder = find_run(run, runs_dir)
    found = importances(folder, folder.plan())
    if json_:
        print(json.dumps([item.facts() for item in found], ensure_ascii=False))
        return
    for item in found:
        print(item.headline)
        for name, share in item.shares.items():
            some = (
                f"  (applied in {item.applied[name]})" if item.applied[name] < item.trials else ""
            )
            print(f"  {name:22} {share:6.1%}  {'█' * round(share * 40)}{some}")
        for line in item.lines:
            print(f"  not judged: {line}")


def _looked(spec: str, validation: str, folds: int, hold_out: float) -> Look:
    from search.screen.console import progress_bar
    from trainables.audit.look import look_at
    from trainables.data.validation import Validation

    how = Validation("k-fold", folds) if validation == "k-fold" else None
    part = hold_out if validation == "hold-out" else 0.0
    with progress_bar() as say:
        return look_at(spec, how, part, lambda what, done, of: say(done, of))


def _named(entry: Entry) -> str:
    said = f" ({entry.label}; {entry.remark})" if entry.remark else ""
    return shortened(shown(f"{entry.place}{said}"))


def check(
    spec: Annotated[
        str | None,
        typer.Argument(metavar="[SPEC]", help="SPEC of the images; see visiontune datasets."),
    ] = None,
    run: Annotated[
        str | None,
        typer.Option(help="Run whose best trials say which labels are probably wrong."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Write a page there that shows the images."),
    ] = None,
    validation: Annotated[
        str, typer.Option(help="How a search would judge: auto, leave-one-out, k-fold or hold-out.")
    ] = "auto",
    folds: Annotated[int, typer.Option(min=2, max=100, help="Of k-fold.")] = 5,
    hold_out: Annotated[float, typer.Option(help="Share that hold-out sets aside.")] = 0.2,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """Look at the images of a data set before a search: copies and near copies, also across train
    and test, pictures under two labels, classes with few images or many, odd sizes, damaged files,
    wrong endings, orientation tags. With --run, after a search: labels that are probably wrong.
    """
    from analysis.report.check_page import facts, write_check_page

    if validation not in JUDGED:
        raise typer.BadParameter(
            f"--validation must be one of {', '.join(JUDGED)}, but got {echo(validation)}"
        )
    if not 0 < hold_out < 1:
        raise typer.BadParameter(f"--hold-out must be between 0 and 1, but got {hold_out:g}")
    if (spec is None) == (run is None):
        raise typer.BadParameter("give a SPEC of images, or --run NAME")
    pictures = None
    if run:
        from analysis.run.finding import find_run
        from search.driver.reporting import doubted

        folder = find_run(run, runs_dir)
        look, pictures = doubted(folder, folder.plan())
    else:
        look = _looked(str(spec), validation, folds, hold_out)
    if out:
        write_check_page(look, out, pictures)
    if json_:
        print(json.dumps(facts(look) | ({"file": str(out)} if out else {}), ensure_ascii=False))
        return
    sizes = ", ".join(f"{size:,} {name}" for name, size in look.sizes.items())
    print(f"{shown(look.spec)}: {len(look.classes)} classes; images: {sizes}")
    for line in (*look.notes, *look.unseen):
        print(shown(line))
    for finding in look.findings:
        print(shortened(shown(finding.said)))
        for group in finding.groups[:LISTED]:
            rest = len(group) - MOST_NAMED
            more = f"  and {rest:,} more" if rest > 0 else ""
            print("  " + "  =  ".join(_named(entry) for entry in group[:MOST_NAMED]) + more)
        if len(finding.groups) > LISTED:
            print(f"  and {len(finding.groups) - LISTED:,} more; --json and --out name them")
    if not look.findings:
        print("nothing found")
    if out:
        print(f"page       {shown(out)}")


def leaderboard(
    run: Runs,
    top: Annotated[int, typer.Option(min=1, help="How many of each space and model.")] = 3,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """The best trials of one run or of several, space by space and model by model."""
    from search.cli.several_runs import compared, say_row, warn

    found = compared(run, runs_dir)
    if json_:
        print(json.dumps(found.facts(top), ensure_ascii=False))
        return
    warn(found)
    if not found.rows:
        print("no trial is complete yet")
    for name, board in found.boards.items():
        print(name)
        for row in board[:top]:
            say_row(row["run"], row, found.objective)


COMMANDS = (check, confusion, importance, leaderboard)
