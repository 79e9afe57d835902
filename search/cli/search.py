"""The command that begins a search, and the words in which a search ends."""

from __future__ import annotations

import json
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.cli.options import (
    RUNS,
    Address,
    DropLeaked,
    Json,
    RunsDir,
    Submit,
    key_values,
    read_values,
    submit_job,
)
from search.screen.terminal import outlive_terminal

if TYPE_CHECKING:
    from search.ledger.status import Summary

ANY_TRIALS = 10_000
"""Trials of a search that its time ends."""


def run(
    plan: Annotated[
        Path | None,
        typer.Argument(metavar="[PLAN.yaml]", help="A plan; options below override what it says."),
    ] = None,
    space: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[,NAME…]", help="Spaces to search; may be given several times."),
    ] = None,
    shares: Annotated[
        str | None,
        typer.Option(
            metavar="equal|moving|NAME=N,…",
            help="What each of several spaces gets: trials in turn, time by how it does, or time "
            "by numbers.",
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.01, help="Search for so long; without --space, the spaces that fit are searched."
        ),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="SPEC of the images; see visiontune datasets.")
    ] = None,
    trials: Annotated[int | None, typer.Option(help="How many trials to finish.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Fix or narrow a parameter: k=5, step=4,6 or k=1..10.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    objective: Annotated[
        list[str] | None,
        typer.Option(
            metavar="METRIC", help="What is to be best; given several times, a Pareto search."
        ),
    ] = None,
    sampler: Annotated[
        str | None, typer.Option(help="Who proposes; see visiontune samplers.")
    ] = None,
    pruner: Annotated[
        str | None, typer.Option(help="Who stops weak trials; see visiontune samplers.")
    ] = None,
    fidelity: Annotated[
        str | None,
        typer.Option(
            metavar="images[,SHARE…]",
            help="Have the pruner judge trials on parts of the training images first: "
            "images,0.25,0.5,1.",
        ),
    ] = None,
    population: Annotated[
        str | None,
        typer.Option(
            metavar="pbt|pb2[,KEY=VALUE…]",
            help="Train networks that take over from one another every few epochs, with values "
            "that change: members=8,interval=2,quantile=0.25.",
        ),
    ] = None,
    pruner_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Option of the pruner.")
    ] = None,
    sampler_option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Option of the sampler.")
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Database of the Optuna studies; a journal in the run directory by default.",
        ),
    ] = None,
    max_model_mb: Annotated[float | None, typer.Option(help="Largest model allowed, MiB.")] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="What else ends the search: seconds=3600, target=0.9, trial_seconds=60, …",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of samplers, folds and vocabularies.")
    ] = None,
    validation: Annotated[
        str | None, typer.Option(help="auto, leave-one-out, k-fold, val or hold-out.")
    ] = None,
    replicate: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Run the best N again with other seeds at the end, and go by their means.",
        ),
    ] = None,
    concurrency: Annotated[int | None, typer.Option(help="Trials at a time.")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Epochs that a network is trained for.")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(metavar="N", help="Epochs without a better one after which a training ends."),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(metavar="BUNDLE", help="Exported network that every network starts from."),
    ] = None,
    warm_start: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RUN|URL#STUDY",
            help="Let the sampler know the trials of an earlier search; may be given several "
            "times.",
        ),
    ] = None,
    cpus_per_trial: Annotated[
        int | None, typer.Option(help="Cores that a network is trained on.")
    ] = None,
    gpus_per_trial: Annotated[
        float | None, typer.Option(help="GPUs, or a share of one, that a network is trained on.")
    ] = None,
    skip_unreadable: Annotated[
        bool,
        typer.Option(
            "--skip-unreadable", help="Leave out files that cannot be read, and count them."
        ),
    ] = False,
    audit: Annotated[
        str | None,
        typer.Option(
            metavar="warn|refuse|off",
            help="Look at the images first: say what is found, refuse to begin, or do not look.",
        ),
    ] = None,
    orientation: Annotated[
        str | None,
        typer.Option(metavar="exif|stored", help="Turn photographs upright by their tag, or not."),
    ] = None,
    fit: Annotated[
        str | None,
        typer.Option(
            metavar="squash|crop|pad",
            help="Resize photographs to squares, or take their middle, or lay them on grey.",
        ),
    ] = None,
    drop_leaked: DropLeaked = False,
    tracking_uri: Annotated[
        str | None,
        typer.Option(help="MLflow tracking URI; by default MLFLOW_TRACKING_URI, or sqlite here."),
    ] = None,
    no_tracking: Annotated[
        bool, typer.Option("--no-tracking", help="Tell MLflow nothing.")
    ] = False,
    address: Address = None,
    submit: Submit = False,
    runs_dir: RunsDir = RUNS,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Check everything, show sampled configurations, start nothing."
        ),
    ] = False,
    json_: Json = False,
) -> int:
    """Run a search, from a plan or from options."""
    from analysis.plan.addresses import check_tracking
    from analysis.plan.plan import make_plan, read_plan

    settings: dict[str, Any] = read_plan(plan).model_dump(exclude_unset=True) if plan else {}
    given = {
        "spaces": tuple(",".join(space).split(",")) if space else None,
        "dataset": dataset, "trials": trials, "name": name, "sampler": sampler,
        "objective": objective, "pruner": pruner, "storage": storage, "max_model_mb": max_model_mb,
        "seed": seed, "validation": validation, "concurrency": concurrency,
        "audit": audit, "orientation": orientation, "fit": fit,
        "drop_leaked": drop_leaked or None,
        "skip_unreadable": skip_unreadable or None,
        "gpus_per_trial": gpus_per_trial, "warm_start": tuple(warm_start) if warm_start else None,
    }  # fmt: skip
    settings |= {key: value for key, value in given.items() if value is not None}
    if replicate:
        settings["replicate"] = {**(settings.get("replicate") or {}), "top": replicate}
    if objective:
        settings.pop("tradeoff", None)
    pairs = {
        "set": ("--set", set_),
        "pruner_options": ("--pruner-option", pruner_option),
        "sampler_options": ("--sampler-option", sampler_option),
        "limits": ("--limit", limit),
    }
    for setting, (option, texts) in pairs.items():
        read: Any = key_values if setting == "set" else read_values
        if values := read(texts or [], option):
            settings[setting] = {**settings.get(setting, {}), **values}
    if shares is not None:
        settings["shares"] = read_values(shares.split(","), "--shares") if "=" in shares else shares
    if fidelity is not None:
        settings["fidelity"], *settings["rungs"] = fidelity.split(",")
    if population is not None:
        method, *rest = population.split(",")
        options = {"method": method, **read_values(rest, "--population")}
        settings["population"] = {**(settings.get("population") or {}), **options}
    if minutes:
        settings["limits"] = {**settings.get("limits", {}), "seconds": 60 * minutes}
    trained = {
        "epochs": epochs,
        "patience": patience,
        "start_from": str(init) if init else None,
        "cpus_per_trial": cpus_per_trial,
    }
    if trained := {key: value for key, value in trained.items() if value is not None}:
        settings["training"] = {**settings.get("training", {}), **trained}
    if not tracking_uri and not settings.get("tracking"):
        tracking_uri = os.environ.get("MLFLOW_TRACKING_URI")
    if tracking_uri or no_tracking:
        settings["tracking"] = {**settings.get("tracking", {}), "enabled": not no_tracking} | (
            {"uri": tracking_uri} if tracking_uri else {}
        )
    if "spaces" not in settings and settings.get("population"):
        raise typer.BadParameter("--population wants --space: a population is of one space")
    if "spaces" not in settings:
        from search.driver.fitting import fill_in

        if submit:
            raise typer.BadParameter("--submit wants --space: which fit is decided on this machine")
        fill_in(settings, partial(print, file=sys.stderr))
        settings.setdefault("trials", ANY_TRIALS)
    if minutes and not settings.get("population"):
        settings.setdefault("trials", ANY_TRIALS)
    made = make_plan(settings, str(plan) if plan else "run")
    if not submit:
        check_tracking(made.tracking, runs_dir)
    if dry_run:
        from search.driver.dry_run import dry_run as preview

        preview(made, json_)
        return 0
    if submit:
        return submit_job(
            ["run", "plan.yaml"], {"plan.yaml": made.to_yaml()}, address, runs_dir, json_
        )
    outlive_terminal()
    from search.driver.runner import run as run_search

    return say_ended(run_search(made, runs_dir, address=address or ""), json_)


def say_ended(summary: Summary, json_: bool) -> int:
    """Say how a search ended and what to do next; 0 if it is finished."""
    from analysis.run.working_copy import shown

    folder, best = summary.run, summary.best
    at = "" if folder.path.parent == RUNS.absolute() else f" --runs-dir {shown(folder.path.parent)}"
    if json_:
        found: dict[str, Any] = {
            "name": folder.name,
            "path": str(folder.path),
            "state": summary.state,
            "reason": summary.reason,
        }
        found |= {
            "trials": summary.counts,
            "best": best.model_dump(mode="json") if best else None,
            "seconds": summary.seconds,
        }
        print(json.dumps({**found, "tracking_error": summary.tracking_error}))
        return 0 if summary.state == "finished" else 1
    from search.screen.console import SearchConsole

    console = SearchConsole(highlight=False, soft_wrap=True)
    console.print(f"{summary.state}: {summary.reason}", markup=False)
    if best:
        from analysis.ranking.leaderboard import short_config

        again = (
            f"  (mean of {len(best.replicas)} other seeds {best.value('val_accuracy'):.4f})"
            if best.replicas
            else ""
        )
        console.print(
            f"best       {best.key}  val_accuracy {best.metrics['val_accuracy']:.4f}{again}\n"
            f"           {short_config(best.config, best.space)}",
            markup=False,
        )
    if summary.counts["FAIL"]:
        console.print(
            f"failed     {summary.counts['FAIL']} trials; see visiontune report {folder.name}{at}",
            markup=False,
        )
    console.print(f"report     {folder.report / 'report.html'}", markup=False)
    if summary.state == "finished" and folder.data().classes:
        console.print(f"bundle     visiontune export {folder.name}{at} --out DIR", markup=False)
    elif summary.state != "finished":
        console.print(f"go on with visiontune resume {folder.name}{at}", markup=False)
    if folder.plan().tracking.enabled:
        console.print(f"MLflow     visiontune ui {folder.name}{at}", markup=False)
    if summary.tracking_error:
        console.print(
            f"MLflow was not told everything ({summary.tracking_error}); visiontune sync "
            f"{folder.name}{at}",
            markup=False,
        )
    return 0 if summary.state == "finished" else 1


COMMANDS = (run,)
