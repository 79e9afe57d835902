"""The commands that change how far a search goes, also while it runs."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from search.cli.life import elsewhere, go_on, goes_on_with
from search.cli.options import RUNS, Address, Json, RunName, RunsDir, key_values

if TYPE_CHECKING:
    from analysis.plan.plan import Plan
    from analysis.run.changing import Change
    from analysis.run.directory import RunDirectory

NOTED = 0.2
"""Seconds within which a driver that looks no more for changes has noted so."""


def extend(
    run: RunName,
    trials: Annotated[
        int | None, typer.Option(min=1, help="How many more trials to finish.")
    ] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="How much longer to search.")
    ] = None,
    address: Address = None,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> int:
    """Give a search more trials or more time: one that runs takes them up, one that does not goes
    on at once. Of a search that a limit ended only what is asked now counts.
    """
    from analysis.run.changing import change_plan
    from analysis.run.finding import find_run
    from search.driver.beginning import BusyError

    if trials is None and minutes is None:
        raise typer.BadParameter("give --trials N, --minutes N, or both")
    folder = find_run(run, runs_dir)
    elsewhere(folder, "extended")
    seconds = 60 * minutes if minutes else None
    _wait_while_ending(folder)
    if not folder.alive():
        try:
            return go_on(folder, address or "", json_, _longer(folder, trials, seconds))
        except BusyError:
            pass  # another terminal was quicker: its driver takes the change up
    plan = change_plan(folder, _longer(folder, trials, seconds))
    time.sleep(NOTED)
    _wait_while_ending(folder)
    if not folder.alive():  # it ended just now
        return go_on(folder, address or "", json_)
    limit = plan.limits.seconds
    if json_:
        print(json.dumps({"name": folder.name, "budget": plan.trials, "seconds": limit}))
    else:
        within = f", or until {limit:,.0f} s have passed in all" if limit else ""
        print(f"run {folder.name} goes on to {plan.trials:,} trials{within}")
    return 0


def _wait_while_ending(folder: RunDirectory) -> None:
    """Until the driver that writes its report, if one does, has ended: it takes up nothing."""
    from search.ledger.status import is_ending

    if is_ending(folder):
        print(f"run {folder.name} writes its report; it goes on after that", file=sys.stderr)
    while is_ending(folder):
        time.sleep(0.2)


def _longer(folder: RunDirectory, trials: int | None, seconds: float | None) -> Change:
    """The change that goes on by so many trials, so many seconds, or whichever ends first, whatever
    limit has ended the search.
    """
    from search.cli.search import ANY_TRIALS
    from search.ledger.status import totals

    def longer(plan: Plan) -> dict[str, object]:
        now, ended = totals(folder, plan)
        limits = {**plan.limits.model_dump(mode="json"), **dict.fromkeys(ended)}
        if seconds:
            limits["seconds"] = (limits["seconds"] or now.seconds) + seconds
        more = (now.done if ended else plan.trials) + trials if trials else plan.trials
        if not trials and now.done >= more and not plan.population:
            more = now.done + ANY_TRIALS
        return {"trials": more, "limits": limits}

    return longer


def change(
    run: RunName,
    concurrency: Annotated[int | None, typer.Option(help="Trials at a time.")] = None,
    trials: Annotated[
        int | None, typer.Option(min=1, help="How many trials to finish in all.")
    ] = None,
    limit: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE", help="What else ends the search; none for no such limit."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Narrow a parameter further: k=1..5."),
    ] = None,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """Change how a search goes on, also while it runs: trials at a time, how far it goes, and what
    of its space is left.
    """
    from analysis.plan.yaml_text import read_yaml
    from analysis.run.changing import change_plan
    from analysis.run.finding import find_run
    from search.ledger.status import is_ending

    limits = {
        name: None if text == "none" else read_yaml(text, f"--limit {name}", "value")
        for name, text in key_values(limit or [], "--limit").items()
    }
    domains = key_values(set_ or [], "--set")
    given = {"concurrency": concurrency, "trials": trials}
    plain = {name: value for name, value in given.items() if value is not None}
    if not (plain or limits or domains):
        raise typer.BadParameter("give --concurrency, --trials, --limit or --set")
    folder = find_run(run, runs_dir)
    elsewhere(folder, "changed")

    def otherwise(plan: Plan) -> dict[str, object]:
        plan.narrowed_spaces(domains)  # refuses what is wider than what is searched now
        narrowed = {**plan.narrowed, **domains}
        merged = {**plan.limits.model_dump(mode="json"), **limits}
        return {**plain, "limits": merged, "narrowed": narrowed}

    had = len(folder.plan().changes)
    made = change_plan(folder, otherwise).changes[had:]
    if json_:
        now = {name: value for change in made for name, value in change.now.items()}
        print(json.dumps({"name": folder.name, "changed": now}))
        return
    taken = folder.alive() and not is_ending(folder)
    when = "takes it up" if taken else f"goes on so with {goes_on_with(folder)}"
    print(f"run {folder.name} {when}: {made[-1]}" if made else f"run {folder.name} is so already")


COMMANDS = (extend, change)
