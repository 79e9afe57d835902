"""The commands that begin, continue, watch and stop a search."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    from search.session import Summary

RunName = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run in the runs directory, or path of one.")]
RunsDir = Annotated[Path, typer.Option("--runs-dir", envvar="VISIONTUNE_RUNS", help="Directory of all runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RUNS = Path("runs")


def run(
    plan: Annotated[Path | None, typer.Argument(metavar="[PLAN.yaml]", help="A plan; options below override what it says.")] = None,
    space: Annotated[list[str] | None, typer.Option(help="Space to search; may be given several times.")] = None,
    dataset: Annotated[str | None, typer.Option(help="SPEC of the images; see visiontune datasets.")] = None,
    trials: Annotated[int | None, typer.Option(help="How many trials to finish.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Fix or narrow a parameter: k=5, step=4,6 or k=1..10.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    sampler: Annotated[str | None, typer.Option(help="tpe, random or grid.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of samplers, folds and vocabularies.")] = None,
    validation: Annotated[str | None, typer.Option(help="auto, leave-one-out, k-fold, val or hold-out.")] = None,
    concurrency: Annotated[int | None, typer.Option(help="Trials at a time.")] = None,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out files that cannot be read, and count them.")
    ] = False,
    tracking_uri: Annotated[str | None, typer.Option(help="MLflow tracking URI; sqlite in the runs directory by default.")] = None,
    no_tracking: Annotated[bool, typer.Option("--no-tracking", help="Tell MLflow nothing.")] = False,
    runs_dir: RunsDir = RUNS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, show sampled configurations, start nothing.")] = False,
    json_: Json = False,
) -> int:
    """Run a search, from a plan or from options."""
    from search.plan import make_plan, read_plan

    settings: dict[str, Any] = read_plan(plan).model_dump(exclude_unset=True) if plan else {}
    given = {
        "spaces": tuple(space) if space else None, "dataset": dataset, "trials": trials, "name": name, "sampler": sampler,
        "seed": seed, "validation": validation, "concurrency": concurrency, "skip_unreadable": skip_unreadable or None,
    }  # fmt: skip
    settings |= {key: value for key, value in given.items() if value is not None}
    if set_:
        settings["set"] = {**settings.get("set", {}), **_settings(set_)}
    if tracking_uri or no_tracking:
        settings["tracking"] = {**settings.get("tracking", {}), "enabled": not no_tracking} | (
            {"uri": tracking_uri} if tracking_uri else {}
        )
    if "spaces" not in settings:
        raise typer.BadParameter("give a PLAN.yaml or --space NAME; visiontune spaces lists the names")
    made = make_plan(settings, str(plan) if plan else "run")
    if dry_run:
        from search.dry_run import dry_run as preview

        preview(made, json_)
        return 0
    from search.runner import run as run_search

    return _say(run_search(made, runs_dir), json_)


def resume(run: RunName, runs_dir: RunsDir = RUNS, json_: Json = False) -> int:
    """Go on with a run that stopped, was stopped or was killed."""
    from analysis.records import RunDirectory
    from search.runner import resume as resume_search

    return _say(resume_search(RunDirectory.find(run, runs_dir)), json_)


def status(
    run: RunName,
    trial: Annotated[str | None, typer.Option(help="Show one trial, N or SPACE/N, with its log and traceback.")] = None,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """How a run stands: trials by state, the best so far, seconds."""
    from analysis.records import RunDirectory, find_record
    from search.status import read_status

    folder = RunDirectory.find(run, runs_dir)
    if trial is None:
        found = read_status(folder)
        if json_:
            print(json.dumps(found))
            return
        _print(found)
        return
    record = find_record(folder.records(), trial)
    log, traceback = (folder.text(record.space, record.number, name) for name in ("log.txt", "traceback.txt"))
    if json_:
        print(json.dumps({**record.model_dump(mode="json"), "log": log, "traceback": traceback}))
        return
    _print(record.model_dump(exclude={"accuracy_by_k"}))
    print(f"\n{log}{traceback}")


def stop(
    run: RunName,
    wait: Annotated[float, typer.Option(help="Seconds to wait for it to end.")] = 60.0,
    runs_dir: RunsDir = RUNS,
) -> int:
    """Stop a running search; visiontune resume goes on with it."""
    from analysis.records import RunDirectory, RunError

    folder = RunDirectory.find(run, runs_dir)
    if not folder.alive():
        raise RunError(f"run {folder.name} is not running; visiontune status {run} says how it stands")
    folder.stop_file.touch()
    end = time.monotonic() + wait
    while folder.alive():
        if time.monotonic() > end:
            print(f"asked run {folder.name} to stop; it has not ended within {wait:g} s and will when it can")
            return 1
        time.sleep(0.2)
    print(f"stopped run {folder.name}; go on with: visiontune resume {run}")
    return 0


def sync(run: RunName, runs_dir: RunsDir = RUNS) -> None:
    """Send MLflow what it has not been told of a run."""
    from analysis.records import RunDirectory, RunError
    from search.plan import read_plan
    from search.tracking import Sender, tracking_uri

    folder = RunDirectory.find(run, runs_dir)
    tracking = read_plan(folder.plan_file).tracking
    lock = folder.lock()  # two senders at once would both create what neither finds
    if lock is None:
        raise RunError(f"run {folder.name} is running and sends by itself; sync it when it has ended")
    print(f"sent {Sender(folder, tracking).send()} facts to {tracking_uri(tracking, folder.path.parent)}")


def ui(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Open at this run.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on loopback.")] = 5000,
    runs_dir: RunsDir = RUNS,
) -> None:
    """Serve the MLflow UI on what was run, on loopback, until Ctrl-C."""
    from search.ui import serve

    serve(run, port, runs_dir)


def _settings(pairs: list[str]) -> dict[str, str]:
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key or not value:
            raise typer.BadParameter(f"--set wants KEY=VALUE, but got {pair!r}")
        settings[key.strip()] = value.strip()
    return settings


def _say(summary: Summary, json_: bool) -> int:
    """Say how a search ended and what to do next; 0 if it is finished."""
    folder, best = summary.run, summary.best
    at = "" if folder.path.parent == RUNS.absolute() else f" --runs-dir {folder.path.parent}"
    if json_:
        found: dict[str, Any] = {"name": folder.name, "path": str(folder.path), "state": summary.state, "reason": summary.reason}
        found |= {"trials": summary.counts, "best": best.model_dump(mode="json") if best else None, "seconds": summary.seconds}
        print(json.dumps({**found, "tracking_error": summary.tracking_error}))
        return 0 if summary.state == "finished" else 1
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{summary.state}: {summary.reason}", markup=False)
    if best:
        from analysis.leaderboard import short_config

        console.print(
            f"best       {best.key}  val_accuracy {best.metrics['val_accuracy']:.4f}\n           {short_config(best.config)}", markup=False
        )
    if summary.counts["FAIL"]:
        console.print(f"failed     {summary.counts['FAIL']} trials; see visiontune report {folder.name}{at}", markup=False)
    console.print(f"report     {folder.report / 'report.html'}", markup=False)
    if summary.state == "finished":
        console.print(f"bundle     visiontune export {folder.name}{at} --out DIR", markup=False)
    else:
        console.print(f"go on with visiontune resume {folder.name}{at}", markup=False)
    console.print(f"MLflow     visiontune ui {folder.name}{at}", markup=False)
    if summary.tracking_error:
        console.print(f"MLflow was not told everything ({summary.tracking_error}); visiontune sync {folder.name}{at}", markup=False)
    return 0 if summary.state == "finished" else 1


def _print(found: dict[str, Any]) -> None:
    """One line an entry; what is empty is left out."""
    for key, value in found.items():
        if value not in ("", None, {}):
            print(f"{key:10} {_plain(value)}")


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return "  ".join(f"{key}={_plain(item)}" for key, item in value.items() if item != "")
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4f}" if isinstance(value, float) else str(value)


COMMANDS = (run, resume, status, stop, sync, ui)
