"""The commands of the program ``visiontune``; they live in the files ``cli_*``."""

from __future__ import annotations

import itertools

import typer
from typer import Abort

from search.cli import analysis as cli_analysis
from search.cli import cache as cli_cache
from search.cli import describe as cli_describe
from search.cli import doctor as cli_doctor
from search.cli import life as cli_life
from search.cli import reproduce as cli_reproduce
from search.cli import results as cli_results
from search.cli import search as cli_search
from search.cli import together as cli_together
from search.cli import use as cli_use

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
