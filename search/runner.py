"""A search from plan to report: Ray up, images read, trials run, results written, Ray down."""

from __future__ import annotations

import logging
import os
import platform
import signal
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from analysis.confusion import display_order
from analysis.records import DataFacts, DriverState, RunDirectory, RunError, TrialRecord, write_whole
from analysis.report import write_report
from search.cluster import local_cluster
from search.ledger import Ledger
from search.plan import Plan, PlanError, read_plan
from search.progress import Progress
from search.tracking import Sender, Tracker
from trainables.data.spec import check_place
from trainables.knn.pipeline import DataSource, data_source, split_labels

logger = logging.getLogger("visiontune.search")

TRACKING_PATIENCE = 60.0
"""Seconds that a finished search waits for MLflow before it leaves the rest to ``sync``."""
MORE_TRIALS_THAN_CORES = 1
"""kNN trials only wait for stages: one more than there are cores keeps the cores busy."""


@dataclass(frozen=True)
class Summary:
    """How a session of a search ended."""

    run: RunDirectory
    state: str
    reason: str
    counts: dict[str, int]
    best: TrialRecord | None
    seconds: float
    tracking_error: str


def run(plan: Plan, runs_dir: Path = Path("runs"), console: Console | None = None) -> Summary:
    """Run a new search to its end.

    Raises:
        PlanError: if a run of that name is there already, or the plan does not fit the data.
        DatasetError: if the images cannot be read; nothing is left behind then.
        OSError: if the runs directory cannot be written.
    """
    console = console or Console(stderr=True)
    plan = _named(plan, runs_dir)
    check_place(plan.dataset)
    folder = RunDirectory((runs_dir / plan.name).absolute())
    return _search(plan, folder, console, new=True)


def resume(folder: RunDirectory, console: Console | None = None) -> Summary:
    """Go on with a search that stopped, was stopped or was killed.

    Raises:
        RunError: if another driver works on it.
        DatasetError: if the images are no longer what they were.
    """
    console = console or Console(stderr=True)
    plan = read_plan(folder.plan_file)
    return _search(plan, folder, console, new=False)


def _named(plan: Plan, runs_dir: Path) -> Plan:
    """The plan with a name that no run has yet."""
    if plan.name:
        if (runs_dir / plan.name).exists():
            raise PlanError(f"there is a run {plan.name!r} in {runs_dir}; resume it, or choose another --name")
        return plan
    place = plan.dataset.partition(":")[2].rstrip("/")
    base = f"{'+'.join(plan.spaces)}-{Path(place).stem or plan.dataset.partition(':')[0]}".replace("+", "-")
    name, count = base, 1
    while (runs_dir / name).exists():
        count += 1
        name = f"{base}-{count}"
    return plan.model_copy(update={"name": name})


def _search(plan: Plan, folder: RunDirectory, console: Console, new: bool) -> Summary:
    cores = len(os.sched_getaffinity(0))
    if not new:
        lock = _take_lock(folder)
    console.print(f"starting Ray on {cores} cores, reading {plan.dataset}", highlight=False, soft_wrap=True)
    with local_cluster(cores) as ray:
        from trainables.stage_registry import NAMESPACE, StageRegistry

        source, ref = _read_data(ray, plan)
        validation = plan.validation_for(source.sizes)
        display_order(source.classes, plan.class_order)
        if new:
            part = "val" if validation.scheme == "val" else "train"
            lock = _create(folder, plan, source, ray.get(ray.remote(split_labels).remote(ref, split=part)))
        else:
            _check_unchanged(folder, source)
        _log_to(folder.log_file)
        _say_data(console, source)
        state = folder.state().model_copy(update={"state": "running", "reason": "", "pid": os.getpid(), "node": platform.node()})
        folder.write_state(state)
        folder.stop_file.unlink(missing_ok=True)
        try:
            ledger = Ledger(folder, plan)
            ledger.outbox.append(_run_fact(plan, source))
            tracker = Tracker(Sender(folder, plan.tracking)) if plan.tracking.enabled else None
            if tracker:
                tracker.start()
            registry = StageRegistry.options(name=f"stages-{state.id}", namespace=NAMESPACE).remote(parts=2 * cores)  # type: ignore[attr-defined]
            ray.get(registry.adopt.remote(source.stage, [ref]))
            shared = {"registry": f"stages-{state.id}", "data": source, "validation": validation, "seed": plan.seed}
            with Progress(ledger, plan.trials, plan.objective, state.seconds, console) as progress:
                reason = _run_trials(plan, folder, ledger, shared, progress, state, cores)
                stages = _stats(ray, registry)
            state.seconds = progress.seconds()
        except BaseException as error:
            state.state, state.reason = "failed", f"{type(error).__name__}: {error}"
            folder.write_state(state)
            raise
    state.state = "finished" if ledger.finished_reason and ledger.best else "failed" if ledger.finished_reason else "stopped"
    state.reason = ledger.finished_reason or reason
    if stages:
        console.print(f"stages: {stages['computed']} computed, asked for {stages['shared']} times more", highlight=False)
    _finish(plan, folder, ledger, tracker, state, console)
    os.close(lock)
    return Summary(folder, state.state, state.reason, dict(ledger.counts), ledger.best, state.seconds, state.tracking_error)


def _run_trials(
    plan: Plan, folder: RunDirectory, ledger: Ledger, shared: dict[str, Any], progress: Progress, state: DriverState, cores: int
) -> str:
    """Run trials to the end; returns why it stopped early, if it did."""
    from search.tune_adapters import Bridge, run_tune
    from trainables.stage_registry import TRIAL_CPUS
    from trainables.tune import KnnTrial

    with _signals() as caught:
        bridge = Bridge(ledger, shared, lambda: bool(caught) or folder.stop_file.exists())
        last = 0.0

        def redraw() -> None:
            nonlocal last
            progress.redraw()
            if time.monotonic() - last > 2:
                last = time.monotonic()
                state.seconds = progress.seconds()
                folder.write_state(state)

        concurrency = plan.concurrency or cores + MORE_TRIALS_THAN_CORES
        run_tune(KnnTrial, bridge, redraw, cpus=TRIAL_CPUS, concurrency=concurrency, folder=folder.path / "tune")
    if bridge.error:
        raise bridge.error
    if caught:
        return f"stopped by {signal.Signals(caught[0]).name}"
    return "stopped on request" if folder.stop_file.exists() else ""


def _read_data(ray: Any, plan: Plan) -> tuple[DataSource, Any]:
    """The dataset's facts, and a reference to it; read by a task, so that Ray can read it again."""
    from trainables.data import read_dataset

    options = plan.read_options()
    ref = ray.remote(read_dataset).options(max_retries=2).remote(plan.dataset, options)
    try:
        source: DataSource = ray.get(ray.remote(data_source).remote(ref, options))
    except ray.exceptions.RayTaskError as error:
        raise (error.cause if isinstance(error.cause, ValueError) else error) from None
    return source, ref


def _create(folder: RunDirectory, plan: Plan, source: DataSource, labels: npt.NDArray[np.int64]) -> int:
    """Make the run directory and take its lock; the plan comes last, so it stands for all of it."""
    folder.path.mkdir(parents=True)
    facts = DataFacts(spec=plan.dataset, classes=source.classes, sizes=source.sizes, fingerprint=source.fingerprint, skipped=source.skipped)
    folder.write_data(facts)
    folder.write_validation_labels(labels)
    folder.write_state(DriverState(id=uuid.uuid4().hex[:8]))
    write_whole(folder.plan_file, plan.to_yaml())
    return _take_lock(folder)


def _take_lock(folder: RunDirectory) -> int:
    lock = folder.lock()
    if lock is None:
        raise RunError(
            f"run {folder.name} is running already (process {folder.state().pid} on {folder.state().node}); "
            f"stop it first: visiontune stop {folder.name}"
        )
    return lock


def _check_unchanged(folder: RunDirectory, source: DataSource) -> None:
    before = folder.data()
    if before.fingerprint != source.fingerprint:
        raise RunError(
            f"{before.spec} is not what it was when run {folder.name} began ({before.sizes} images then, {source.sizes} now); "
            "put the images back, or start a new run"
        )


def _say_data(console: Console, source: DataSource) -> None:
    sizes = ", ".join(f"{size:,} {name}" for name, size in source.sizes.items())
    console.print(f"{len(source.classes)} classes; images: {sizes}", highlight=False)
    if source.skipped:
        console.print(f"skipped {len(source.skipped)} unreadable files, first {source.skipped[0]}; all are in data.json", highlight=False)


def _run_fact(plan: Plan, source: DataSource) -> dict[str, Any]:
    plain = plan.model_dump(mode="json", exclude={"tracking"})
    return {
        "kind": "run",
        "time": time.time(),
        "note": f"visiontune search of {', '.join(plan.spaces)} on {plan.dataset}",
        "params": {name: value for name, value in plain.items() if value not in ({}, [], "")},
        "tags": {"visiontune.fingerprint": source.fingerprint},
    }


def _stats(ray: Any, registry: Any) -> dict[str, int]:
    try:
        stats: dict[str, int] = ray.get(registry.stats.remote(), timeout=10)
        return stats
    except ray.exceptions.RayError:
        return {}


def _finish(plan: Plan, folder: RunDirectory, ledger: Ledger, tracker: Tracker | None, state: DriverState, console: Console) -> None:
    """Write the report, tell MLflow, and say how it ended."""
    folder.write_state(state)
    for path in write_report(folder, plan.objective, plan.reference, plan.class_order):
        ledger.outbox.append({"kind": "file", "path": str(path.relative_to(folder.path)), "folder": "report"})
    best = {f"best_{name}": value for name, value in (ledger.best.metrics if ledger.best else {}).items()}
    ledger.outbox.append({"kind": "end", "time": time.time(), "state": state.state, "metrics": {**best, "seconds": state.seconds}})
    if tracker:
        state.tracking_error = tracker.close(TRACKING_PATIENCE)
    folder.write_state(state)


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Collect SIGINT and SIGTERM for the time of the block; a second one interrupts at once."""
    caught: list[int] = []

    def catch(number: int, frame: Any) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    try:
        before = {number: signal.signal(number, catch) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: whoever runs us there handles signals
        yield caught
        return
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _log_to(path: Path) -> None:
    """Send our log to the run's driver.log, once."""
    ours = logging.getLogger("visiontune")
    for old in list(ours.handlers):
        ours.removeHandler(old)
        old.close()
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
