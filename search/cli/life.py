"""The life of a search: continued, watched, stopped, extended, told what to try, from any terminal;
and shown in MLflow.
"""

from __future__ import annotations

import json
import os
import sys
import time
from functools import partial
from typing import Annotated, Any

import typer

from search.cli.options import RUNS, Address, Json, RunName, RunsDir, Submit, key_values, submit_job
from search.cli.search import say_ended
from search.screen.terminal import outlive_terminal


def resume(
    run: RunName,
    address: Address = None,
    submit: Submit = False,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> int:
    """Go on with a run that stopped, was stopped or was killed."""
    if submit:
        return submit_job(["resume", run], {}, address, runs_dir, json_)
    from analysis.run.finding import find_run

    return go_on(find_run(run, runs_dir), address or "", json_)


def go_on(folder: Any, address: str, json_: bool, change: Any = None) -> int:
    outlive_terminal()
    from search.driver.runner import resume as resume_search

    summary = resume_search(folder, address=address, change=change)
    status = say_ended(summary, json_)
    if summary.state == "finished" and change is None and not json_:
        print(f"more       visiontune extend {folder.name} --trials N, or --minutes N")
    return status


def elsewhere(folder: Any, what: str) -> None:
    """Refuse to change a run whose driver is on another machine.

    Raises:
        RunError: that says where.
    """
    from analysis.run.directory import RunError

    if where := folder.elsewhere():
        raise RunError(
            f"run {folder.name} is running on {where}, and only there can it be {what}; type "
            "it there, or stop it first"
        )


def status(
    run: RunName,
    trial: Annotated[
        str | None, typer.Option(help="Show one trial, N or SPACE/N, with its log and traceback.")
    ] = None,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """How a run stands: trials by state, the best so far, seconds."""
    from analysis.ranking.leaderboard import find_record
    from analysis.ranking.schedule import shown_schedule
    from analysis.run.finding import find_run
    from search.ledger.status import read_status

    folder = find_run(run, runs_dir)
    if trial is None:
        found = read_status(folder)
        if json_:
            print(json.dumps(found))
            return
        _print({**found, "changes": ""})
        for change in folder.plan().changes:
            print(f"changed    {change.when}  {change}")
        return
    record = find_record(folder.records(), trial)
    log, traceback = (
        folder.text(record.space, record.number, name) for name in ("log.txt", "traceback.txt")
    )
    way = shown_schedule(folder, record)
    if json_:
        facts = {**record.model_dump(mode="json"), "schedule": [one.row() for one in way]}
        print(json.dumps({**facts, "log": log, "traceback": traceback}))
        return
    _print(record.model_dump(exclude={"accuracy_by_k"}))
    print(*way, f"\n{log}{traceback}", sep="\n")


def stop(
    run: RunName,
    wait: Annotated[float, typer.Option(help="Seconds to wait for it to end.")] = 60.0,
    runs_dir: RunsDir = RUNS,
) -> int:
    """Stop a running search; visiontune resume goes on with it."""
    from analysis.run.directory import RunError
    from analysis.run.finding import find_run
    from search.ledger.requests import ask_elsewhere

    folder = find_run(run, runs_dir)
    if not folder.alive():
        raise RunError(
            f"run {folder.name} is not running; visiontune status {run} says how it stands"
        )
    if not ask_elsewhere(folder, "stop", {}):
        folder.stop_file.touch()
    end = time.monotonic() + wait
    while folder.alive():
        if time.monotonic() > end:
            print(
                f"asked run {folder.name} to stop; it has not ended within {wait:g} s and will "
                "when it can"
            )
            return 1
        time.sleep(0.2)
    print(f"stopped run {folder.name}; go on with: visiontune resume {run}")
    return 0


def replicate(
    run: RunName,
    top: Annotated[int, typer.Option(min=1, help="How many of the best.")] = 3,
    seeds: Annotated[
        int,
        typer.Option(min=1, help="Other seeds for each: of the vocabulary, or of the training."),
    ] = 3,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> int:
    """Run the best trials of a search again with other seeds, on validation images; best and export
    go by their means then.
    """
    from analysis.run.directory import RunError
    from analysis.run.finding import find_run

    folder = find_run(run, runs_dir)
    if folder.alive():
        raise RunError(
            f"run {folder.name} is running; wait until it has ended, or stop it: visiontune "
            f"stop {run}"
        )
    return go_on(folder, "", json_, lambda plan: {"replicate": {"top": top, "seeds": seeds}})


def enqueue(
    run: RunName,
    set_: Annotated[
        list[str],
        typer.Option(
            "--set", metavar="KEY=VALUE", help="A parameter's value; what is left open is drawn."
        ),
    ],
    space: Annotated[
        str | None, typer.Option(help="Space of the configuration, if the run has several.")
    ] = None,
    runs_dir: RunsDir = RUNS,
) -> None:
    """Have a search try a configuration of yours next, also while it runs."""
    from analysis.run.directory import RunError
    from analysis.run.finding import find_run
    from search.ledger.requests import ask
    from search.ledger.status import read_status

    folder = find_run(run, runs_dir)
    spaces = folder.plan().search_spaces()
    if space is None and len(spaces) > 1:
        raise RunError(f"run {folder.name} searches {', '.join(spaces)}: say which with --space")
    name = space or next(iter(spaces))
    if name not in spaces:
        raise RunError(
            f"run {folder.name} does not search {name!r}; it searches {', '.join(spaces)}"
        )
    params = spaces[name].point(key_values(set_, "--set"))
    _refuse_members(folder)
    read_status(folder)  # whatever of the run cannot be read refuses before anything is asked
    ask(folder, "enqueue", name, params)
    _say_asked(
        folder, f"{name} with {', '.join(f'{key}={value}' for key, value in params.items())}"
    )


def retry(
    run: RunName,
    trial: Annotated[
        list[str] | None,
        typer.Option(help="Trial to try again, N or SPACE/N; all failed ones by default."),
    ] = None,
    runs_dir: RunsDir = RUNS,
) -> None:
    """Have a search try failed trials again, as new trials."""
    from analysis.ranking.leaderboard import find_record
    from analysis.run.directory import RunError
    from analysis.run.finding import find_run
    from search.ledger.requests import ask
    from search.ledger.status import read_status

    folder = find_run(run, runs_dir)
    _refuse_members(folder, 0)
    read_status(folder)  # whatever of the run cannot be read refuses before anything is asked
    records = folder.records()
    chosen = (
        [find_record(records, one) for one in trial]
        if trial
        else [record for record in records if record.state == "FAIL"]
    )
    if not chosen:
        raise RunError(
            f"run {folder.name} has no failed trial; visiontune status {run} counts them"
        )
    for record in chosen:
        ask(folder, "retry", record.space, {}, record.number)
    _say_asked(folder, f"{', '.join(record.key for record in chosen)} again")


def sync(
    run: RunName,
    silence: Annotated[
        float,
        typer.Option(
            min=1, metavar="SECONDS", help="Give up when MLflow has not answered for so long."
        ),
    ] = 120.0,
    runs_dir: RunsDir = RUNS,
) -> None:
    """Send MLflow, and the URI of the runs directory, what they have not been told of a run."""
    from analysis.plan.addresses import check_tracking
    from analysis.run.directory import RunError
    from analysis.run.finding import find_run
    from search.driver.mirror import mirrored
    from search.ledger.identity import settle_identity
    from search.tracking.sender import Sender
    from search.tracking.told_again import tell_again
    from search.tracking.tracker import in_time

    folder = find_run(run, runs_dir)
    plan = folder.plan()
    check_tracking(plan.tracking, folder.path.parent)
    lock = folder.lock()  # two senders at once would both create what neither finds
    if lock is None:
        raise RunError(
            f"run {folder.name} is running and sends by itself; sync it when it has ended"
        )
    try:
        settle_identity(folder, plan)
        tell_again(folder, plan)
        with mirrored(folder, print):
            pass  # which sends what the URI lacks
        sender = Sender(folder, plan.tracking)
        sent = in_time(sender, sender.send, partial(print, file=sys.stderr), silence)
        print(f"sent {sent} facts to {sender.place}")
    finally:
        os.close(lock)


def ui(
    run: Annotated[str | None, typer.Argument(metavar="[RUN]", help="Open at this run.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on loopback.")] = 5000,
    runs_dir: RunsDir = RUNS,
) -> None:
    """Serve the MLflow UI on what was run, on loopback, until Ctrl-C."""
    from search.tracking.ui import serve

    serve(run, port, runs_dir)


def _refuse_members(folder: Any, begun: int | None = None) -> None:
    """Refuse what no population takes up.

    Args:
        begun: trials from which on; as many as it has members if None.
    """
    from analysis.plan.population import ONLY_FIRST
    from analysis.run.directory import RunError

    said = folder.plan().population
    if said and len(folder.trial_files.all()) >= (said.members if begun is None else begun):
        raise RunError(f"run {folder.name} is a population: {ONLY_FIRST}")


def _say_asked(folder: Any, what: str) -> None:
    """Say who will try what was asked for, and when."""
    from search.ledger.status import is_ending

    if folder.alive() and not is_ending(folder):
        print(f"run {folder.name} tries {what}, next")
    else:
        print(f"run {folder.name} will try {what} first, with: {goes_on_with(folder)}")


def goes_on_with(folder: Any) -> str:
    """The command that has a run try more, which does not run."""
    from search.ledger.status import totals

    now, limits = totals(folder, folder.plan())
    if limits or now.done >= now.trials:
        return f"visiontune extend {folder.name} --trials N"
    return f"visiontune resume {folder.name}"


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
    return f"{value:.4g}" if isinstance(value, float) else str(value)


COMMANDS = (resume, status, stop, replicate, enqueue, retry, sync, ui)
