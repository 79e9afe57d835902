"""Do the tests notice? Puts small, realistic mistakes into a copy of the tree, one at a time, and
runs the tests that reach the place.

    python -m benchmarks.mutants [--only NAME …] [--room ROOM] [--jobs N] [--json FILE]

The mistakes stand in the tables beside this file (``benchmarks.mutants.table`` says how). Before
any of them, the tests that they name run on the tree as it is: a test that fails there catches
nothing. Prints a line a mistake, then caught and survived by room; ends with status 1 if fewer than
95 % were caught, or one could not be decided.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.mutants.table import ROOT, Mutant, Place, load, node_ids, places

SHARE = 0.95
"""Of the mistakes must be caught."""
PATIENCE = 300.0
"""Seconds that the tests of one mistake may take; one that hangs them is caught."""


@dataclass(frozen=True)
class Outcome:
    """What became of a mistake: ``caught``, ``survived`` or ``undecided``, and by which test, or
    why.
    """

    name: str
    room: str
    state: str
    by: str
    seconds: float


class Copy:
    """A copy of the tree to put mistakes into."""

    def __init__(self, root: Path) -> None:
        self.root = root
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout.decode()
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                target = root / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target)
        self._clock = time.time() - 100_000

    def write(self, name: str, text: str) -> None:
        """Replace a file; each time with a time of its own, or Python would take the bytecode of a
        text of the same length.
        """
        self._clock += 10
        (self.root / name).write_text(text, encoding="utf-8")
        os.utime(self.root / name, (self._clock, self._clock))

    def run(
        self, tests: Iterable[str], *options: str, patience: float = PATIENCE
    ) -> tuple[int, str]:
        """pytest's exit status on ``tests`` (None of them may be missing), and what it printed; -1
        where it did not end.
        """
        words = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-p",
            "no:randomly",
            "--tb=line",
            *options,
            *tests,
        ]
        environment = {**os.environ, "PYTHONPATH": str(self.root)}
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                words,
                cwd=self.root,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status = process.wait(patience)
            except subprocess.TimeoutExpired:
                _end(process.pid)
                process.wait()
                status = -1
            output.seek(0)
            return status, output.read().decode(errors="replace")


def _end(pid: int) -> None:
    """Kill a process and all below it."""
    import psutil

    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue


def tried(copy: Copy, mutant: Mutant, place: Place, tests: list[str]) -> Outcome:
    """Put one mistake in, run its tests, take it out again."""
    began = time.monotonic()
    whole = (copy.root / place.file).read_text(encoding="utf-8")
    copy.write(place.file, whole.replace(mutant.old, mutant.new))
    try:
        status, printed = copy.run(tests, "-x")
    finally:
        copy.write(place.file, whole)
    seconds = time.monotonic() - began
    failed = [
        line.split(" ")[1]
        for line in printed.splitlines()
        if line.startswith(("FAILED ", "ERROR "))
    ]
    state = {0: "survived", 1: "caught", -1: "caught"}.get(status, "undecided")
    by = (
        "hung"
        if status == -1
        else failed[0].partition("::")[2]
        if failed
        else printed.strip().splitlines()[-1]
        if printed
        else ""
    )
    return Outcome(mutant.name, place.room, state, by[:120], round(seconds, 1))


def clean_failures(copy: Copy, tests: list[str]) -> str:
    """What fails on the tree as it is; empty if nothing does."""
    status, printed = copy.run(tests, patience=3600)
    return "" if status == 0 else printed[-3000:]


def report(outcomes: list[Outcome], mutants: dict[str, Mutant]) -> bool:
    """Print caught and survived by room; whether enough were caught and all were decided."""
    rooms = Counter((outcome.room, outcome.state) for outcome in outcomes)
    print(f"\n{'room':<24}{'caught':>8}{'survived':>10}{'undecided':>11}")
    for room in sorted({outcome.room for outcome in outcomes}):
        print(
            f"{room:<24}{rooms[room, 'caught']:>8}{rooms[room, 'survived']:>10}"
            f"{rooms[room, 'undecided']:>11}"
        )
    states = Counter(outcome.state for outcome in outcomes)
    share = states["caught"] / len(outcomes)
    print(
        f"{'all':<24}{states['caught']:>8}{states['survived']:>10}{states['undecided']:>11}   "
        f"{100 * share:.1f} % of {len(outcomes)}"
    )
    for outcome in outcomes:
        if outcome.state != "caught":
            print(
                f"{outcome.state}: {outcome.name}: {mutants[outcome.name].what}; "
                f"{mutants[outcome.name].why or outcome.by}"
            )
    return share >= SHARE and not states["undecided"]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these mistakes alone")
    parser.add_argument("--room", help="those of one room alone, such as trainables/cnn")
    parser.add_argument(
        "--jobs",
        type=int,
        default=max(1, (os.cpu_count() or 1) // 2),
        help="copies at work at once (half the cores)",
    )
    parser.add_argument("--json", type=Path, help="where the outcomes are written")
    parser.add_argument(
        "--trust", action="store_true", help="do not run the tests on the tree as it is first"
    )
    asked = parser.parse_args()
    mutants = {mutant.name: mutant for mutant in load()}
    if unknown := set(asked.only or ()) - set(mutants):
        parser.error(f"no mistake is called {', '.join(sorted(unknown))}")
    found = places(mutants.values())
    chosen = [
        m
        for m in mutants.values()
        if m.name in (asked.only or mutants) and asked.room in (None, found[m.name].room)
    ]
    if not chosen:
        parser.error(
            f"no mistake is in {asked.room}; there are "
            f"{', '.join(sorted({place.room for place in found.values()}))}"
        )
    tests = {mutant.name: node_ids(mutant.tests) for mutant in chosen}
    with tempfile.TemporaryDirectory(prefix="mutants-") as scratch:
        copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        made = [Copy(Path(scratch) / str(number)) for number in range(asked.jobs)]
        if not asked.trust:
            named = sorted({test for ids in tests.values() for test in ids})
            print(f"{len(named)} tests on the tree as it is", flush=True)
            if failures := clean_failures(made[0], named):
                print(failures)
                return 1
        for copy in made:
            copies.put(copy)

        def one(mutant: Mutant) -> Outcome:
            copy = copies.get()
            try:
                outcome = tried(copy, mutant, found[mutant.name], tests[mutant.name])
            finally:
                copies.put(copy)
            print(
                f"{outcome.state:<10}{outcome.seconds:>7.1f} s  {outcome.name}  ({outcome.by})",
                flush=True,
            )
            return outcome

        with ThreadPoolExecutor(asked.jobs) as pool:
            outcomes = list(pool.map(one, chosen))
    if asked.json:
        asked.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    return 0 if report(outcomes, mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
