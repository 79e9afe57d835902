"""The commands of the program ``visiontune``; they live in the files ``cli_*``."""

from __future__ import annotations

import itertools

import typer
from typer import Abort

from search import (
    cli_analysis,
    cli_cache,
    cli_describe,
    cli_doctor,
    cli_life,
    cli_reproduce,
    cli_results,
    cli_search,
    cli_together,
    cli_use,
)

__all__ = ["Abort", "UsageError", "app"]
# typer carries its own click, and names the base of its usage errors nowhere public
UsageError: type[Exception] = typer.BadParameter.__bases__[0]
app = typer.Typer(
    name="visiontune",
    help="Find the best image classifier for a folder of images: a Ray-distributed "
    "hyperparameter search.",
    epilog="With --debug anywhere, an error shows its traceback.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
GROUPS = (
    cli_search,
    cli_life,
    cli_results,
    cli_analysis,
    cli_cache,
    cli_describe,
    cli_doctor,
    cli_reproduce,
    cli_together,
    cli_use,
)
for command in itertools.chain.from_iterable(group.COMMANDS for group in GROUPS):
    app.command(name=command.__name__.rstrip("_"))(command)
