"""The commands that say what was found, export it and use it."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.options import RUNS, DropLeaked, Json, RunName, RunsDir
from spaces.errors import echo

if TYPE_CHECKING:
    from analysis.bundle.export import Exported
    from analysis.bundle.facts import Quantized

Runs = Annotated[
    list[str],
    typer.Argument(
        metavar="RUN...", help="Name of a run in the runs directory, or its path; or several."
    ),
]


def best(
    run: Runs,
    top: Annotated[int, typer.Option(min=1, help="How many.")] = 1,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """The best configurations of a run, by validation alone; with several objectives, the whole
    Pareto front. Of several runs: of all.
    """
    from analysis.ranking.corrected import corrected
    from analysis.ranking.leaderboard import ranked, rows, short_config
    from analysis.ranking.schedule import shown_schedule
    from analysis.ranking.significance import first_against_next, intervals
    from analysis.run.finding import find_run
    from spaces.objectives import METRICS

    if len(run) > 1:
        from search.cli.several_runs import best_of_several

        best_of_several(run, top, runs_dir, json_)
        return
    folder = find_run(run[0], runs_dir)
    plan = folder.plan()
    records = folder.records()
    order = ranked(records, plan.objective)
    table = rows(records, plan.objective, plan.reference, plan.tradeoff)
    table = [row for row in table if row["front"]] if plan.tradeoff else table[:top]
    spreads = intervals(folder, [order[row["rank"] - 1] for row in table])
    against = first_against_next(folder, order) if table else None
    first = bool(table) and table[0]["rank"] == 1
    worth = corrected(folder, order, plan.objective) if first else ""
    if json_:
        for row, spread in zip(table, spreads, strict=True):
            row["interval"] = spread
        if first:
            table[0]["against_next"] = asdict(against) if against else None
            table[0]["corrected"] = None if isinstance(worth, str) else worth.model_dump()
            table[0]["not_corrected"] = worth if isinstance(worth, str) else ""
        print(json.dumps(table, ensure_ascii=False))
        return
    if not table:
        print("no trial is complete yet")
    if first:
        print("on new images:", f"not known, as {worth}" if isinstance(worth, str) else worth)
        for line in () if isinstance(worth, str) else worth.copies:
            print(f"     but {line}")
    for row, spread in zip(table, spreads, strict=True):
        passes = f"  above {', '.join(row['passes'])}" if row["passes"] else ""
        scores = "  ".join(
            f"{name} {row[name]:.{METRICS[name].digits}f}"
            for name in dict.fromkeys((*plan.objectives, "val_accuracy"))
            if name in row
        )
        sure = f"  (accuracy {spread[0]:.4f} to {spread[1]:.4f}, 95 %)" if spread else ""
        if again := row.get("replicas"):
            scores = (
                f"mean {again['mean']:.4f} ± {again['spread']:.4f} of "
                f"{len(again['seeds'])} other seeds; {scores}"
            )
        print(
            f"{row['rank']:>3}  {row['trial']:<18} {scores}{sure}{passes}\n     "
            f"{short_config(row['config'], row['space'])}"
        )
        if "parent" in row:
            way = shown_schedule(folder, order[row["rank"] - 1])
            print(*(f"     {one}" for one in way), sep="\n")
        if against and row["rank"] == 1:
            print(f"     {against}")


def report(
    run: Runs,
    out: Annotated[
        Path | None,
        typer.Option(help="Where the page of several runs goes; by default comparison-…."),
    ] = None,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """Write leaderboard, curves, confusion matrix, how the search went, report.html and
    search.html; also while a search runs.

    Of several runs: one page that compares them, and says if their figures cannot be compared.
    """
    from analysis.run.finding import find_run
    from search.driver.reporting import write_report

    if len(run) > 1:
        from search.cli.several_runs import report_of_several

        files = report_of_several(run, out, runs_dir)
    else:
        folder = find_run(run[0], runs_dir)
        files = write_report(folder, folder.plan())
    print(
        json.dumps([str(file) for file in files])
        if json_
        else "\n".join(str(file) for file in files)
    )


def curves(
    run: RunName,
    trial: Annotated[
        list[str] | None,
        typer.Option(help="Network to draw, N or SPACE/N; may be given several times."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=10, help="How many of the best to draw.")] = 3,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", help="By default curves.png in the run's report."),
    ] = None,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """Draw accuracy and loss of networks, on training and validation images, epoch by epoch; also
    while they train.
    """
    from analysis.figures.curves import learning_curves
    from analysis.figures.drawing import to_png
    from analysis.report.networks import curves_of
    from analysis.run.finding import find_run
    from trainables.io.files import write_whole

    folder = find_run(run, runs_dir)
    plan = folder.plan()
    found = curves_of(folder, plan.objective, trial or (), top)
    path = out or folder.report / "curves.png"
    write_whole(path, to_png(learning_curves(found, plan.reference)))
    print(json.dumps({"file": str(path), "trials": found}) if json_ else path)


def export(
    run: RunName,
    out: Annotated[Path, typer.Option(help="Folder to make.")],
    trial: Annotated[
        str | None, typer.Option(help="Trial to export, N or SPACE/N; the best by default.")
    ] = None,
    no_test: Annotated[
        bool, typer.Option("--no-test", help="Do not score the test split.")
    ] = False,
    drop_leaked: DropLeaked = False,
    epoch: Annotated[
        str, typer.Option(help="A network as it was after its last or its best epoch.")
    ] = "last",
    refit: Annotated[
        bool,
        typer.Option(
            "--refit",
            help="Train the network again, on all training images, those included that chose it.",
        ),
    ] = False,
    refit_epochs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Epochs of --refit, its schedule laid over them; as many as in the search by "
            "default.",
        ),
    ] = None,
    ensemble: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            max=100,
            help="The mean of at most N trials, chosen so that each makes it better.",
        ),
    ] = None,
    onnx: Annotated[
        bool,
        typer.Option("--onnx", help="Write a network as model.onnx too, checked in onnxruntime."),
    ] = False,
    quantize: Annotated[
        str | None,
        typer.Option(
            metavar="int8",
            help="Write it in 8-bit integers beside model.onnx, as model-int8.onnx, and compare.",
        ),
    ] = None,
    register: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Register the bundle in MLflow under this name, with the alias best.",
        ),
    ] = None,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """Export the best configuration as a bundle, checked, and scored on the test split; the run's
    report tells of that score.
    """
    from analysis.bundle.bundle import read_facts
    from analysis.bundle.export import export as write
    from analysis.bundle.export import images_of
    from analysis.bundle.source import ExportRequest
    from analysis.ensemble.export import export_ensemble
    from analysis.graphs.onnx import check_onnx, write_onnx
    from analysis.ranking.leaderboard import chosen_record
    from analysis.run.finding import find_run
    from search.driver.exports import show_in_report, source_of
    from search.tracking.registered import Registry
    from trainables.stages.cache import stage_cache

    if epoch not in ("last", "best"):
        raise typer.BadParameter(f"--epoch must be last or best, but got {epoch!r}")
    if refit_epochs and not refit:
        raise typer.BadParameter("--refit-epochs is for --refit; add that")
    if ensemble and (trial or refit):
        raise typer.BadParameter("--ensemble goes without --trial and --refit")
    if quantize not in (None, "int8"):
        raise typer.BadParameter(f"--quantize must be int8, but got {echo(quantize)}")
    folder = find_run(run, runs_dir)
    plan = folder.plan()
    none = (
        f"run {folder.name} has no complete trial to export; visiontune status {run} says "
        "how it stands"
    )
    record = chosen_record(folder.records(), plan.objective, trial, none)
    cache = stage_cache(folder.path.parent, plan.cache_gib)
    option = "--quantize" if quantize else "--onnx"
    check = partial(check_onnx, option=option) if onnx or quantize else (lambda records: None)
    registry = Registry(folder, plan) if register else None
    drop = drop_leaked or plan.drop_leaked
    say = _say_epoch(time.monotonic())
    request = ExportRequest(not no_test, epoch, refit, refit_epochs, say, drop, check=check)
    source = source_of(folder, cache)
    done = (
        export_ensemble(source, ensemble, out, request)
        if ensemble
        else write(source, record, out, request)
    )
    difference = write_onnx(out) if onnx or quantize else None
    small = None
    if quantize:
        from analysis.graphs.quantized import quantize as quantized  # loads torch

        judges = ("val", "train") if no_test else ("val", "test", "train")
        small = quantized(out, images_of(source), judges)
    version = (
        registry.register(out, read_facts(out), record.key, register, max(record.steps - 1, 0))
        if registry and register
        else None
    )
    _say_exported(done, register, version, difference, small, json_)
    show_in_report(done, folder, None if ensemble else record)


def _say_exported(
    done: Exported,
    register: str | None,
    version: int | None,
    difference: float | None,
    small: Quantized | None,
    json_: bool,
) -> None:
    for line in done.notes:
        print(line, file=sys.stderr)
    if json_:
        facts = {
            "bundle": str(done.bundle),
            "trial": done.trial,
            "val_accuracy": done.val_accuracy,
            "test_accuracy": done.test_accuracy,
            "test_accuracy_all": done.whole_test_accuracy,
        }
        facts["notes"] = done.notes
        facts["quantized"] = small.model_dump() if small else None
        print(
            json.dumps(
                {**facts, "onnx_difference": difference, "registered": register, "version": version}
            )
        )
        return
    test = "not scored" if done.test_accuracy is None else f"{done.test_accuracy:.4f}"
    if done.whole_test_accuracy is not None:
        test += f" ({done.whole_test_accuracy:.4f} with the test images that are also in train)"
    print(
        f"{done.bundle}: trial {done.trial}, val_accuracy {done.val_accuracy:.4f}, "
        f"test_accuracy {test}"
    )
    if difference is not None:
        print(
            f"{done.bundle / 'model.onnx'}: scores differ from torch's by at most {difference:.1e}"
        )
    if small is not None:
        print(f"{done.bundle / 'model-int8.onnx'}: {small}")
    if version is not None:
        print(f"registered: models:/{register}/{version}, and as models:/{register}@best")


def _say_epoch(began: float) -> Callable[[int, int, Mapping[str, float]], None]:
    """Tells after each epoch of a refit how far it is."""

    def say(epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
        from search.screen.progress import clock

        gone = time.monotonic() - began
        left = f", about {clock(gone / epoch * (epochs - epoch))} left" if epoch < epochs else ""
        line = (
            f"refit: epoch {epoch}/{epochs}, train_accuracy {metrics['train_accuracy']:.4f}, "
            f"{clock(gone)} elapsed{left}"
        )
        print(line, file=sys.stderr, flush=True)

    return say


COMMANDS = (best, report, curves, export)
