"""Kills a process at the N-th thing that it does to files, for every N: as a program, for tests.

    python tests/killed_at.py ACTION FOLDER [EVERY]

FOLDER gets a copy of a run for each N; each process is a fork that kills itself with SIGKILL. What
is left is opened again and gone on with; one line a trouble is printed, and nothing where all is
well.
"""

from __future__ import annotations

import builtins
import io
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from program import typed

from analysis.plan.plan import Plan, make_plan
from analysis.run.changing import change_plan
from analysis.run.directory import RunDirectory, RunError
from analysis.run.records import DataFacts
from search.driver.beginning import clear_left_behind, create, named
from search.ledger.ledger import Ledger
from search.ledger.requests import ask
from search.study.storage import read_trials
from trainables.io.files import TEMPORARY

WATCHED = ("replace", "rename", "fsync", "unlink", "mkdir", "write")
FACTS = DataFacts(spec="none", classes=(), sizes={}, fingerprint="")


def die_at(count: int, root: Path) -> None:
    """Have this process kill itself just before the N-th write, rename, force, removal or opening
    for writing below ``root``.
    """
    left = [count]

    def before(path: Any) -> None:
        if isinstance(path, int) or Path(os.fsdecode(path)).absolute().is_relative_to(root):
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)

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


def plan() -> Plan:
    settings = {
        "spaces": ["toy"],
        "trials": 4,
        "name": "k",
        "retries": 1,
        "tracking": {"enabled": False},
    }
    return make_plan(settings)


def run_all(ledger: Ledger) -> None:
    """Every trial that is left: two steps each; the second trial fails the first time."""
    ledger.take_requests()
    while (proposal := ledger.propose()) is not None:
        for step in (0, 1):
            value = round(float(proposal.config["quality"]), 3)
            row = {
                "val_accuracy": value,
                "val_loss": 0.1,
                "model_mb": 1.0,
                "latency_ms": 1.0,
                "seconds": 0.1,
                "step": step,
            }
            if proposal.number == 1:
                ledger.end(proposal.key, {"failure": "boom"})
                break
            if step:
                ledger.end(proposal.key, {**row, "done": True, "log": "x\n"})
            else:
                ledger.report(proposal.key, row)


def begun(runs: Path) -> RunDirectory:
    folder = RunDirectory(runs / "k")
    os.close(create(folder, named(plan(), runs), FACTS, None))
    return folder


def run(runs: Path) -> None:
    run_all(Ledger(begun(runs), plan()))


def resume(runs: Path) -> None:
    folder = RunDirectory(runs / "k")
    clear_left_behind(folder)
    run_all(Ledger(folder, folder.plan()))


def resume_without_study(runs: Path) -> None:
    (runs / "k" / "study.journal").unlink(missing_ok=True)
    resume(runs)


def extend(runs: Path) -> None:
    folder = RunDirectory(runs / "k")
    ask(folder, "enqueue", "toy", {"quality": 0.25})
    change_plan(folder, lambda now: {"trials": now.trials + 2})
    resume(runs)


def report(runs: Path) -> None:
    done = typed("report", "k", "--runs-dir", runs)
    assert done.returncode == 0, done.stderr


def sync(runs: Path) -> None:
    done = typed("sync", "k", "--runs-dir", runs)
    assert done.returncode == 0, done.stderr


ACTIONS: dict[str, Callable[[Path], None]] = {
    "run": run, "resume": resume, "rebuild": resume_without_study, "extend": extend,
    "report": report, "sync": sync,
}  # fmt: skip


def prepared(action: str, runs: Path) -> None:
    """What there is before the action."""
    runs.mkdir(parents=True)
    if action == "run":
        return
    ledger = Ledger(begun(runs), plan())
    if action != "resume":
        run_all(ledger)
        return
    first, second = ledger.propose(), ledger.propose()
    assert first is not None
    assert second is not None
    ledger.report(
        first.key,
        {
            "val_accuracy": 0.5,
            "val_loss": 0.1,
            "model_mb": 1.0,
            "latency_ms": 1.0,
            "seconds": 0.1,
            "step": 0,
        },
    )


def troubles(action: str, runs: Path, before: dict[str, bytes]) -> Iterator[str]:
    """What is wrong after the kill, once the same has been done again to its end."""
    folder = RunDirectory(runs / "k")
    left = records(runs)
    if any(left.get(name) != content for name, content in before.items()):
        yield "a finished record is not what it was"
    try:
        if action == "run" and not folder.plan_file.exists():
            run(runs)
        elif action in ("report", "sync"):
            ACTIONS[action](runs)
            resume(runs)
        else:
            resume(runs)
    except (RunError, AssertionError, OSError) as error:
        yield f"a dead end: {error}"
        return
    after = records(runs)
    if any(after.get(name) != content for name, content in left.items()):
        yield "a record was written again"
    states = [record.state for record in folder.records()]
    budget = folder.plan().trials
    if states.count("COMPLETE") != budget:
        yield f"{states} instead of {budget} complete trials"
    (trials,) = read_trials(folder).values()
    if [trial.state.name for trial in trials if trial.state.is_finished()] != states:
        yield "study and records differ"
    clear_left_behind(folder)
    for path in runs.rglob("*"):
        if TEMPORARY.fullmatch(path.name):
            yield f"{path.name} was left behind"


def records(runs: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(runs)): path.read_bytes()
        for path in runs.glob("k/trials/*/*/result.json")
    }


def main() -> None:
    action, place, every = (
        sys.argv[1],
        Path(sys.argv[2]).absolute(),
        int(sys.argv[3]) if len(sys.argv) > 3 else 1,
    )
    pristine, runs, count, ended = place / "pristine", place / "runs", 0, False
    prepared(action, pristine)
    while not ended:
        shutil.rmtree(runs, ignore_errors=True)
        shutil.copytree(pristine, runs)
        before = records(runs)
        child = os.fork()
        if not child:
            die_at(count, runs)
            ACTIONS[action](runs)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        ended = os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0
        if not ended and not os.WIFSIGNALED(status):
            print(f"{action} at {count}: it ended by itself, with an error")
            return
        for trouble in troubles(action, runs, before):
            print(f"{action}, killed at {count}: {trouble}", flush=True)
        count += every
    print(f"{action}: killed {count // every} times", file=sys.stderr)


if __name__ == "__main__":
    main()
