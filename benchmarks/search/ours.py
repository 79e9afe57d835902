"""Our own searches on a recorded table, by the driver, study, sampler, pruner, Ray Tune and records
of any search; the space is that of a plug-in, whose trials answer from the table.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from analysis.plan.plan import Plan, make_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts
from benchmarks.search.replayed import replayed
from benchmarks.search.tables import Table
from benchmarks.search.tape import Search, Tape
from search.cluster.capacity import NETWORK_CORES
from search.cluster.start import local_cluster
from search.driver import runner
from search.driver.beginning import create
from search.ledger.ledger import Ledger
from search.screen.console import SearchConsole
from spaces import plugins
from trainables.stages.registry import QUICK_STAGES

TRIALS = 256
"""Of one search at most."""


@contextlib.contextmanager
def one_ray(folder: Path, none: bool = False) -> Iterator[None]:
    """Ray for all searches of the block, each of which would start one of its own; or ``none``."""
    plugins.load([str(Path(__file__).with_name("replayed.py"))])
    os.environ["RECORDED_RUNS"] = str(folder)
    if none:
        yield
        return
    with local_cluster(2, resources={NETWORK_CORES: 2, QUICK_STAGES: 2}) as ray:

        @contextlib.contextmanager
        def joined(*given: object) -> Iterator[Any]:
            yield ray

        with mock.patch.object(runner, "local_cluster", joined):
            yield


def plan_of(tape: Tape, seed: int, **settings: Any) -> Plan:
    """What a user would write who leaves all but the space at its defaults."""
    return make_plan(
        {
            "name": f"recorded-{seed}",
            "spaces": replayed(tape.table.grid.name),
            "set": tape.table.grid.set,
            "trials": TRIALS,
            "seed": seed,
            "limits": {"target": tape.target},
            "concurrency": 1,
            "training": {"epochs": max(len(row.accuracy) for row in tape.table.rows.values())},
            "tracking": {"enabled": False},
            **settings,
        }
    )


def ours(**settings: Any) -> Search:
    """A search of ours, at its defaults but for ``settings`` of its plan."""

    def search(tape: Tape, seed: int) -> None:
        runs = Path(tempfile.mkdtemp(dir=os.environ["RECORDED_RUNS"]))
        console = SearchConsole(file=io.StringIO())
        run = runner.run(plan_of(tape, seed, **settings), runs, console).run
        try:
            play(tape, run)
        finally:
            shutil.rmtree(runs)

    return search


def play(tape: Tape, run: RunDirectory) -> None:
    """What a run's records say, in the order in which one worker ran its trials."""
    for record in sorted(run.records(), key=lambda record: record.number):
        if record.state == "FAIL":
            raise RuntimeError(f"trial {record.number} failed: {record.failure}")
        steps = run.steps(record.space, record.number)
        if not steps:
            tape.spend(record.seconds, record.metrics["val_accuracy"])
        for step in steps:
            tape.spend(step["seconds"], step["val_accuracy"])


def by_ledger(
    table: Table, folder: Path, target: float, seed: int, **settings: Any
) -> tuple[RunDirectory, float]:
    """The same search by its ledger, study, sampler, pruner and records alone, without Ray; and the
    seconds that its trials cost.
    """
    tape = Tape(table, math.inf, math.inf)
    plan = plan_of(Tape(table, target, math.inf), seed, **settings)
    run = RunDirectory(Path(tempfile.mkdtemp(dir=folder)) / plan.name)
    os.close(create(run, plan, DataFacts(spec="none", classes=(), sizes={}, fingerprint=""), None))
    ledger = Ledger(run, plan)
    while (proposal := ledger.propose()) is not None:
        row = table.row(proposal.config)
        costs = [tape.cost(row)] if row.stages else row.seconds
        for step, (seconds, accuracy) in enumerate(zip(costs, row.accuracy, strict=True)):
            tape.spend(seconds, accuracy)
            done = step == len(costs) - 1
            said = {"val_accuracy": accuracy, "seconds": seconds, "step": step, "done": done}
            if done:
                ledger.end(proposal.key, said)
            elif ledger.report(proposal.key, said):
                break
    return run, tape.seconds


def without_ray(**settings: Any) -> Search:
    """A search of ours without Ray: one worker is asked for the same trials in the same order."""

    def search(tape: Tape, seed: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            play(tape, by_ledger(tape.table, Path(folder), tape.target, seed, **settings)[0])

    return search
