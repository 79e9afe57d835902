"""The program ``visiontune``: runs a command (``search.cli.program``) and says in one line what
went wrong.

Errors are one line on standard error: exit status 2 for what was asked wrongly, 1 for
what failed while running, with a traceback only under ``--debug``. Little is imported
before that holds, since it takes most of a second and an interruption may come meanwhile.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from search.screen.signals import StopSignals, never_dropped

INTERRUPTED = 130
"""What typer makes of an interruption inside of a command."""


def main() -> None:
    """Run the command that was typed, and exit with its status."""
    arguments = [argument for argument in sys.argv[1:] if argument != "--debug"]
    run_to_end(lambda: _command(arguments), debug=len(arguments) < len(sys.argv) - 1)


def run_to_end(work: Callable[[], int], debug: bool = False) -> None:
    """Run ``work`` and exit with the status that it returns; what it raises is said in one line."""
    StopSignals.begun = time.monotonic()
    StopSignals().listen(signal.SIGINT)
    # or processes that this one starts would look for modules in the working directory first
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    # which pydantic looks for in every installed package; we have none
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "true")
    _name_user()
    with never_dropped():
        status = _status(work, debug)
    # what is left is short, and in the midst of it Python would print a traceback
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(status)


def _name_user() -> None:
    """Give a user whom the system does not know, as in many containers, a home and a name:
    libraries raise where there is none.
    """
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("HOME", "/nonexistent")
        os.environ.setdefault("USER", str(os.getuid()))


def _status(work: Callable[[], int], debug: bool) -> int:
    try:
        if wrong := _wrong_place():
            return _fail(wrong, 2, debug)
        from search.screen.shown_text import show_text
        from spaces.errors import UserError

        show_text()
        try:
            status = work()
            sys.stdout.flush()
            return status
        except UserError as error:
            return _fail(f"{error}{_noted(str(error))}", error.status, debug)
    except KeyboardInterrupt:
        # Python remembers that one passed through code made from text (a dataclass), and would die
        # of SIGINT when it exits
        exec("")
        return _fail("interrupted", 1, debug)
    # whoever read our output has seen enough, and Python would complain when it flushes the rest
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        from trainables.io.refused import told

        # the directory may have been deleted meanwhile
        return _fail(_wrong_place() or told(error), 1, debug)


def _command(arguments: list[str]) -> int:
    from analysis.run.notes import taken
    from search.cli.options import plugins_named
    from search.cli.program import Abort, UsageError, app
    from spaces import plugins
    from spaces.errors import UserError

    taken()  # of an earlier command in this process
    plugins.unload_all()
    arguments, words = plugins_named(arguments)
    plugins.load(words)
    try:
        status = app(arguments or ["--help"], standalone_mode=False)
    except UsageError as error:
        raise UserError(error.format_message()) from error  # type: ignore[attr-defined]
    except Abort as error:  # which typer makes of a file that ends too early
        raise error.__cause__ or error from None
    if status == INTERRUPTED:
        raise KeyboardInterrupt
    for line in taken():
        print(_line(line), file=sys.stderr)
    return status if isinstance(status, int) else 0


def _noted(message: str) -> str:
    """What was noted on the way to an error, for its line: a file that could not be used may be
    why.
    """
    from analysis.run.notes import taken

    noted = [line for line in taken() if line not in message]
    more = f"; and {len(noted) - 1} more" if len(noted) > 1 else ""
    return f" ({noted[0]}{more})" if noted else ""


def _fail(message: str, status: int, debug: bool) -> int:
    if debug:
        import traceback

        traceback.print_exc()
    print(_line(message), file=sys.stderr)
    return status


def _line(message: str) -> str:
    """What is said of a file or an error, as one line that fits."""
    from spaces.errors import printable, shortened

    return f"visiontune: {shortened(printable(' '.join(message.split())))}"


def _wrong_place() -> str:
    """Why this program cannot run from where it was started, or with the packages that are found
    from there; empty if it can.
    """
    try:
        os.getcwd()
    except OSError as error:
        return (
            f"the working directory is not there any more ({error.strerror}); change to one "
            "that is, and type the command again"
        )
    parents: dict[Path, str] = {}
    for name in ("search", "spaces", "trainables", "analysis"):
        spec = importlib.util.find_spec(name)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            parents.setdefault(Path(folder).resolve().parent, name)
    if len(parents) > 1:
        found = " and ".join(f"{name} in {parent}" for parent, name in parents.items())
        return (
            "search, spaces, trainables and analysis must share one folder, but there is "
            f"{found}; uninstall the other package"
        )
    return ""
