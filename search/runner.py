"""``run`` and ``resume``: a search from plan to report."""

from __future__ import annotations

import os
import re
import shutil
import uuid
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from analysis.confusion import display_order
from analysis.records import DataFacts, DriverState, RunDirectory, RunError, write_whole
from search.cluster import local_cluster
from search.plan import Plan, PlanError, read_plan
from search.progress import SearchConsole
from search.session import Session, Summary, stop_signals
from trainables.data.spec import check_place
from trainables.knn.pipeline import DataSource, Validation, data_source, split_labels


def run(plan: Plan, runs_dir: Path = Path("runs"), console: Console | None = None) -> Summary:
    """Run a new search to its end.

    Raises:
        PlanError: if a run of that name is there already, or the plan does not fit the data.
        DatasetError: if the images cannot be read; nothing is left behind then.
        OSError: if the runs directory cannot be written.
    """
    plan = _named(plan, runs_dir)
    check_place(plan.dataset)
    _check_writable(runs_dir)
    return _search(plan, RunDirectory((runs_dir / plan.name).absolute()), console, new=True)


def resume(folder: RunDirectory, console: Console | None = None) -> Summary:
    """Go on with a search that stopped, was stopped or was killed.

    Raises:
        RunError: if another driver works on it, or its images have changed.
        DatasetError: if the images can no longer be read.
    """
    return _search(read_plan(folder.plan_file), folder, console, new=False)


def _search(plan: Plan, folder: RunDirectory, console: Console | None, new: bool) -> Summary:
    console = console or SearchConsole(stderr=True)
    cores = len(os.sched_getaffinity(0))
    lock = None if new else _take_lock(folder)
    folder.stop_file.unlink(missing_ok=True)  # an old request; one made from now on is meant for us
    try:
        console.print(f"starting Ray on {cores} cores, reading {plan.dataset}", highlight=False, markup=False, soft_wrap=True)
        say = partial(_say_stopping, console, folder)
        with local_cluster(cores) as ray, stop_signals(say) as asked:  # in this order: ray sets a handler of its own
            source, ref = _read_data(ray, plan)
            validation = plan.validation_for(source.sizes)
            display_order(source.classes, plan.class_order)
            if asked and new:
                raise KeyboardInterrupt  # before anything is made
            if lock is None:
                lock = _create(folder, plan, source, _validation_labels(ray, ref, validation))
            else:
                _check_unchanged(folder, source)
            _say_data(console, source)
            session = Session(folder, plan, console)
            session.run(ray, source, ref, validation, cores, asked)
            return session.finish()
    finally:
        if lock is not None:
            os.close(lock)


def _say_stopping(console: Console, folder: RunDirectory, name: str) -> None:
    line = f"{name}: stopping; what runs now goes on with visiontune resume {folder.name}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _named(plan: Plan, runs_dir: Path) -> Plan:
    """The plan with a name that no run has yet."""
    if plan.name:
        if (runs_dir / plan.name).exists():
            raise PlanError(f"there is a run {plan.name!r} in {runs_dir}; resume it, or choose another --name")
        return plan
    kind, _, place = plan.dataset.partition(":")
    base = re.sub(r"[^A-Za-z0-9.]+", "-", "-".join([*plan.spaces, Path(place).stem or kind])).strip("-")[:80]
    name, count = base, 1
    while (runs_dir / name).exists():
        count += 1
        name = f"{base}-{count}"
    return plan.model_copy(update={"name": name})


def _check_writable(runs_dir: Path) -> None:
    """Find out before the work, not after it, that nothing could be written."""
    probe = runs_dir / f".probe.{uuid.uuid4().hex[:8]}"
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise RunError(f"runs directory {runs_dir} cannot be written ({error.strerror}); give another --runs-dir") from error


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


def _validation_labels(ray: Any, ref: Any, validation: Validation) -> npt.NDArray[np.int64]:
    labels: npt.NDArray[np.int64] = ray.get(ray.remote(split_labels).remote(ref, split=validation.split))
    return labels


def _create(folder: RunDirectory, plan: Plan, source: DataSource, labels: npt.NDArray[np.int64]) -> int:
    """Make the run directory, whole or not at all, and take its lock."""
    try:
        folder.path.mkdir(parents=True)
    except FileExistsError:
        raise PlanError(f"there is a run {plan.name!r} by now; resume it, or choose another --name") from None
    try:
        facts = DataFacts(
            spec=plan.dataset, classes=source.classes, sizes=source.sizes, fingerprint=source.fingerprint, skipped=source.skipped
        )
        folder.write_data(facts)
        folder.write_validation_labels(labels)
        folder.write_state(DriverState(id=uuid.uuid4().hex[:8]))
        write_whole(folder.plan_file, plan.to_yaml())  # last: it stands for all of it
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        raise
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
        line = f"skipped {len(source.skipped)} unreadable files, first {source.skipped[0]}; all are in data.json"
        console.print(line, highlight=False, markup=False, soft_wrap=True)
