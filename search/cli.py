"""The program ``visiontune``: its commands live in the files ``cli_*``.

Errors are one line on standard error: exit status 2 for what was asked wrongly, 1 for
what failed while running, with a traceback only under ``--debug``.
"""

from __future__ import annotations

import importlib.util
import itertools
import sys
import traceback
from pathlib import Path

import typer

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
from spaces.errors import UserError

# typer carries its own click, and names the base of its usage errors nowhere public
UsageError: type[Exception] = typer.BadParameter.__bases__[0]
app = typer.Typer(
    name="visiontune",
    help="Find the best image classifier for a folder of images: a Ray-distributed hyperparameter search.",
    epilog="With --debug anywhere, an error shows its traceback.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
GROUPS = (cli_search, cli_life, cli_results, cli_analysis, cli_cache, cli_describe, cli_doctor, cli_reproduce, cli_together, cli_use)
for command in itertools.chain.from_iterable(group.COMMANDS for group in GROUPS):
    app.command(name=command.__name__.rstrip("_"))(command)


def main() -> None:
    """Run the program and exit with its status."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        check_packages()
        status = app(arguments or ["--help"], standalone_mode=False)
    except UsageError as error:
        message: str = error.format_message()  # type: ignore[attr-defined]
        sys.exit(_fail(message, 2, debug))
    except UserError as error:
        sys.exit(_fail(str(error), 2, debug))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(_fail("interrupted", 1, debug))
    except Exception as error:
        sys.exit(_fail(f"{type(error).__name__}: {error}", 1, debug))
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    print(f"visiontune: {' '.join(message.split())}", file=sys.stderr)
    return status


def check_packages() -> None:
    """Refuse to start with packages of the same names from somewhere else.

    Raises:
        UserError: if search, spaces, trainables and analysis are not in one folder.
    """
    parents: dict[Path, str] = {}
    for name in ("search", "spaces", "trainables", "analysis"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin:
            parents.setdefault(Path(spec.origin).resolve().parents[1], name)
    if len(parents) > 1:
        found = " and ".join(f"{name} in {parent}" for parent, name in parents.items())
        raise UserError(f"search, spaces, trainables and analysis must share one folder, but there is {found}; uninstall the other package")
