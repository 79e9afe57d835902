"""Kills a process at the N-th thing that it does to files and databases, for every N: as a program,
for tests.

    cd tests/support && export PYTHONPATH=../..:searches
    python harm/killed_at.py ACTION FOLDER [EVERY [FIRST]]

FOLDER gets a copy of a run for each N; each process is a fork that kills itself with SIGKILL. What
is left is opened again and gone on with, in another fork; one line a trouble is printed, and
nothing where all is well. The actions are those of ``kill_actions``.
"""

from __future__ import annotations

import builtins
import io
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kill_actions import ACTIONS, Action
from sqlalchemy import event
from sqlalchemy.engine import Engine

WATCHED = ("replace", "rename", "fsync", "unlink", "mkdir", "rmdir", "write", "link", "symlink")
ALONE = ("CREATE", "ALTER", "DROP")
"""Statements that sqlite carries out at once, outside of a transaction."""


def die_at(count: int, root: Path) -> None:
    """Have this process kill itself just before the N-th write, rename, force, removal or opening
    for writing below ``root``, or commit of a database.
    """
    left = [count]

    def next_one() -> None:
        left[0] -= 1
        if left[0] < 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def before(path: Any) -> None:
        if isinstance(path, int) or Path(os.fsdecode(path)).absolute().is_relative_to(root):
            next_one()

    def watching(act: Callable[..., Any]) -> Callable[..., Any]:
        def acting(*arguments: Any, **options: Any) -> Any:
            before(arguments[0])
            return act(*arguments, **options)

        return acting

    for name in WATCHED:
        setattr(os, name, watching(getattr(os, name)))
    opened = builtins.open

    def opening(file: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        if set("wax+") & set(mode):
            before(file)
        return opened(file, mode, *more, **options)

    builtins.open = io.open = opening  # type: ignore[assignment]
    event.listen(Engine, "commit", lambda connection: next_one())

    def statement(connection: Any, cursor: Any, text: str, *more: Any) -> None:
        if text.lstrip().upper().startswith(ALONE):
            next_one()

    event.listen(Engine, "before_cursor_execute", statement)


def records(runs: Path, action: Action) -> dict[str, bytes]:
    return {
        str(path.relative_to(runs)): path.read_bytes()
        for path in runs.glob(f"{action.run}/trials/*/*/result.json")
    }


def goes_on(
    runs: Path, action: Action, before: dict[str, bytes], say: Callable[[str], None]
) -> None:
    """Do the same again to its end, and say what is wrong."""
    left = records(runs, action)
    if any(left.get(name) != content for name, content in before.items()):
        say("a finished record is not what it was")
    action.act(runs)
    after = records(runs, action)
    if any(after.get(name) != content for name, content in left.items()):
        say("a record was written again")
    for trouble in action.check(runs):
        say(trouble)


def in_a_fork(act: Callable[[], None]) -> tuple[bool, str]:
    """Whether ``act`` came to its end, and else how the process did; empty if it was killed.

    In a process of its own, databases that a library holds open are nobody else's.
    """
    child = os.fork()
    if not child:
        try:
            act()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return False, "" if os.WTERMSIG(status) == signal.SIGKILL else f"signal {status}"
    return os.WEXITSTATUS(status) == 0, f"exit {os.WEXITSTATUS(status)}"


def main() -> None:
    name, place = sys.argv[1], Path(sys.argv[2]).absolute()
    every, first = (int(word) for word in (*sys.argv[3:], *("1", "0")[len(sys.argv[3:]) :]))
    action, pristine, runs = ACTIONS[name], place / "pristine", place / "runs"
    in_a_fork(lambda: action.prepare(runs))
    shutil.copytree(runs, pristine)  # what is in it may say where it lies
    count, killed, ended = first, 0, False
    while not ended:
        shutil.rmtree(runs, ignore_errors=True)
        shutil.copytree(pristine, runs)
        before = records(runs, action)

        def dying(count: int = count) -> None:
            die_at(count, runs)
            action.act(runs)

        ended, how = in_a_fork(dying)
        if not ended and how:
            print(f"{name} at {count}: it ended by itself, {how}", flush=True)
            break

        def say(trouble: str, count: int = count, ended: bool = ended) -> None:
            when = "not killed" if ended else f"killed at {count}"
            print(f"{name}, {when}: {trouble}", flush=True)

        def checking(before: dict[str, bytes] = before, say: Callable[[str], None] = say) -> None:
            goes_on(runs, action, before, say)

        well, how = in_a_fork(checking)
        if not well:
            say(f"a dead end ({how})")
        killed += not ended
        count += every
        if killed % 5 == 0:
            print(f"{name}: killed {killed} times, last at {count - every}", file=sys.stderr)
    print(f"{name}: killed {killed} times", file=sys.stderr)


if __name__ == "__main__":
    main()
