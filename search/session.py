"""One driver's life on one run: from a locked run directory to a written report."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from analysis.records import RunDirectory, TrialRecord
from analysis.report import write_report
from search.ledger import Ledger
from search.plan import Plan
from search.progress import Progress
from search.tracking import Sender, Tracker
from trainables.knn.pipeline import DataSource, Validation

TRACKING_PATIENCE = 60.0
"""Seconds that a finished search waits for MLflow before it leaves the rest to ``sync``."""
MORE_TRIALS_THAN_CORES = 1
"""kNN trials only wait for stages: one more than there are cores keeps the cores busy."""
MOST_TRIALS_A_CORE = 4
"""TRIAL_CPUS x 4 + STAGE_CPUS is one core."""
STATE_EVERY = 2.0
"""Seconds between two notes in state.json, so that ``status`` knows how long a killed run took."""


@dataclass(frozen=True)
class Summary:
    """How a session of a search ended.

    Attributes:
        state: ``finished``, ``stopped`` (resume goes on) or ``failed`` (no trial completed, or too many failed).
        counts: trials of all sessions by state.
        seconds: of all sessions together.
        tracking_error: why MLflow was not told everything; empty if it was.
    """

    run: RunDirectory
    state: str
    reason: str
    counts: dict[str, int]
    best: TrialRecord | None
    seconds: float
    tracking_error: str


class Session:
    """Runs the trials that a run still lacks. The caller holds the run's lock.

    Args:
        folder: the run directory; plan and facts are in it.
        plan: as read from it.
        console: where progress is shown.
    """

    def __init__(self, folder: RunDirectory, plan: Plan, console: Console) -> None:
        self._folder = folder
        self._plan = plan
        self._console = console
        self._state = folder.state().model_copy(update={"state": "running", "reason": "", "pid": os.getpid(), "node": platform.node()})
        self._noted = 0.0
        folder.write_state(self._state)
        _log_to(folder.log_file)
        self._ledger = Ledger(folder, plan)
        self._tracker = Tracker(Sender(folder, plan.tracking)) if plan.tracking.enabled else None

    def run(self, ray: Any, source: DataSource, ref: Any, validation: Validation, cores: int, asked: list[str]) -> None:
        """Run trials until there are enough, or until somebody asks to stop.

        Args:
            ref: reference to the dataset in Ray's object store.
            asked: signals that asked to stop; filled while it runs.

        Raises:
            Exception: whatever kept the search from writing down what came out (a full disk, say).
        """
        from trainables.stage_registry import NAMESPACE, StageRegistry

        self._ledger.outbox.append(self._run_fact(source))
        if self._tracker:
            self._tracker.start()
        name = f"stages-{self._state.id}"
        registry = StageRegistry.options(name=name, namespace=NAMESPACE).remote(parts=2 * cores)  # type: ignore[attr-defined]
        ray.get(registry.adopt.remote(source.stage, [ref]))
        shared = {"registry": name, "data": source, "validation": validation, "seed": self._plan.seed}
        try:
            with Progress(self._ledger, self._plan.trials, self._plan.objective, self._state.seconds, self._console) as progress:
                reason = self._run_trials(shared, progress, cores, asked)
            self._state.seconds = progress.seconds()
        except BaseException as error:
            self._state.state = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
            self._state.reason = "interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
            with contextlib.suppress(OSError):  # the disk may be what failed; the first error is the one to tell
                self._folder.write_state(self._state)
                self._ledger.outbox.append({"kind": "end", "time": time.time(), "state": self._state.state, "metrics": {}})
            if self._tracker:
                self._tracker.close(0.0)
            raise
        if not self._ledger.finished_reason:
            self._state.state = "stopped"
        else:
            self._state.state = "failed" if self._ledger.gave_up or not self._ledger.done else "finished"
        self._state.reason = self._ledger.finished_reason or reason
        with contextlib.suppress(ray.exceptions.RayError):
            stages = ray.get(registry.stats.remote(), timeout=10)
            self._say(f"stages: {stages['computed']} computed, asked for {stages['shared']} times more")

    def _run_trials(self, shared: dict[str, Any], progress: Progress, cores: int, asked: list[str]) -> str:
        """Run trials; returns why it stopped early, if it did."""
        from search.tune_adapters import Bridge, run_tune
        from trainables.stage_registry import TRIAL_CPUS
        from trainables.tune import KnnTrial

        def redraw() -> None:
            progress.redraw()
            if time.monotonic() - self._noted > STATE_EVERY:
                self._noted = time.monotonic()
                self._state.seconds = progress.seconds()
                self._folder.write_state(self._state)

        bridge = Bridge(self._ledger, shared, lambda: bool(asked) or self._folder.stop_file.exists())
        # Waiting trials hold a little of a core each: with more than four a core, no stage would find a whole one.
        concurrency = min(self._plan.concurrency or cores + MORE_TRIALS_THAN_CORES, MOST_TRIALS_A_CORE * cores)
        run_tune(KnnTrial, bridge, redraw, cpus=TRIAL_CPUS, concurrency=concurrency, folder=self._folder.path / "tune")
        if bridge.error:
            raise bridge.error
        return f"asked by {asked[0]}" if asked else "asked by visiontune stop" if self._folder.stop_file.exists() else ""

    def finish(self) -> Summary:
        """Write the report, tell MLflow, and say how it ended."""
        plan, ledger, folder, state = self._plan, self._ledger, self._folder, self._state
        folder.write_state(state)
        for path in write_report(folder, plan.objective, plan.reference, plan.class_order):
            ledger.outbox.append({"kind": "file", "path": str(path.relative_to(folder.path)), "folder": "report"})
        best = {f"best_{name}": value for name, value in (ledger.best.metrics if ledger.best else {}).items()}
        ledger.outbox.append({"kind": "end", "time": time.time(), "state": state.state, "metrics": {**best, "seconds": state.seconds}})
        if self._tracker:
            state.tracking_error = self._tracker.close(TRACKING_PATIENCE)
        folder.write_state(state)
        return Summary(folder, state.state, state.reason, dict(ledger.counts), ledger.best, state.seconds, state.tracking_error)

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _run_fact(self, source: DataSource) -> dict[str, Any]:
        plain = self._plan.model_dump(mode="json", exclude={"tracking"})
        return {
            "kind": "run",
            "time": time.time(),
            "note": f"visiontune search of {', '.join(self._plan.spaces)} on {self._plan.dataset}",
            "params": {name: value for name, value in plain.items() if value not in ({}, [], "")},
            "tags": {"visiontune.fingerprint": source.fingerprint},
        }


@contextmanager
def stop_signals(say: Callable[[str], None]) -> Iterator[list[str]]:
    """Collect requests to stop by name for the time of the block; a second one interrupts at once.

    A closed terminal (SIGHUP) is one too, unless nohup has it ignored.
    """
    caught: list[str] = []
    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        numbers.append(signal.SIGHUP)

    def catch(number: int, frame: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(signal.Signals(number).name)
        say(caught[0])

    try:
        before = {number: signal.signal(number, catch) for number in numbers}
    except ValueError:  # not the main thread: whoever runs us there handles signals
        yield caught
        return
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log_to(path: Path) -> None:
    """Send our log to the run's driver.log, and nowhere else."""
    ours = logging.getLogger("visiontune")
    for old in list(ours.handlers):
        ours.removeHandler(old)
        old.close()
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
