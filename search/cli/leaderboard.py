"""The command that ranks the trials of one run or of several."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from search.cli.options import RUNS, Json, RunsDir
from search.cli.results import Runs


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


COMMANDS = (leaderboard,)
