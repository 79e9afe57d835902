"""How a directory becomes a run: made whole under another name, and given its own by one rename."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt

from analysis.plan.complaints import PlanError
from analysis.plan.plan import Plan
from analysis.run.directory import RunDirectory, RunError
from analysis.run.identity import new_study
from analysis.run.records import DataFacts, DriverState
from analysis.run.working_copy import copy_of, shown
from search.driver.networks import keep_start
from search.driver.warm_start import begin_with
from search.ledger.identity import make_identity
from search.sampling.guided import Earlier
from trainables.data.names import check_utf8
from trainables.io.files import (
    TEMPORARY,
    force_names,
    hold,
    left_behind,
    remove,
    set_aside,
    temporary_name,
    write_whole,
)

OF_A_START = {"data.json", "val_labels.npy", "state.json", "start", "lock"}
"""All that version 0.1.0, killed before it wrote the plan, left of a run."""


GHOST = {"tune", "trials", "state.json", "outbox", "report", "driver.log"}
"""All that a run's processes may make again of a directory that was deleted under them."""


class BusyError(RunError):
    """Another driver works on the run."""


def named(plan: Plan, runs_dir: Path) -> Plan:
    """The plan with a name that no run has yet.

    Raises:
        PlanError: if it has a name that is taken.
    """
    copy = copy_of(runs_dir)
    there = set(copy.names()) if copy else set()
    if plan.name:
        folder = runs_dir / plan.name
        if (folder / "plan.yaml").exists() or plan.name in there:
            raise PlanError(
                f"there is a run {plan.name!r} in {shown(runs_dir)}; resume it, or choose "
                "another --name"
            )
        if not _free(folder):
            raise PlanError(
                f"{folder} is there, and is no run (it has no plan.yaml); move it away, or "
                "choose another --name"
            )
        return plan
    kind, _, place = plan.dataset.partition(":")
    spaces = () if plan.shares == "moving" else plan.spaces
    words = "-".join([*spaces, Path(place.partition("?")[0]).stem or kind])
    base = re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-").lstrip("-.")[:80] or "run"
    name, count = base, 1
    while not _free(runs_dir / name) or name in there:
        count += 1
        name = f"{base}-{count}"
    return plan.model_copy(update={"name": name})


def _free(folder: Path) -> bool:
    """Whether nothing is there, or nothing but what a start that was killed has left."""
    if not folder.is_dir() or folder.is_symlink():
        return not (folder.is_symlink() or folder.exists())
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")} <= OF_A_START


def create(
    folder: RunDirectory,
    plan: Plan,
    facts: DataFacts,
    labels: npt.NDArray[np.int64] | None,
    earlier: tuple[Earlier, ...] = (),
) -> int:
    """Make the run directory, whole or not at all, and take its lock.

    Args:
        facts: what is known of the images.
        labels: (n,) classes of the validation images; None where there are no images.
        earlier: trials of other searches that this search starts from.

    Returns:
        The lock's file descriptor; the lock is held until it is closed.

    Raises:
        PlanError: if a run of that name exists by now.
    """
    made = RunDirectory(temporary_name(folder.path))
    made.path.mkdir(parents=True)
    marked = os.open(made.path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        hold(marked)
        made.write_data(facts)
        if labels is not None:
            made.write_validation_labels(labels)
        study = new_study(plan.name)
        make_identity(made, study, plan)
        made.write_state(DriverState(study=study))
        keep_start(plan, made)
        begin_with(made, plan, earlier)
        write_whole(made.plan_file, plan.to_yaml())
        lock = made.lock()
        assert lock is not None  # nobody knows of it yet
        if folder.path.is_dir() and _free(folder.path) and any(folder.path.iterdir()):
            set_aside(folder.path)  # what a start that was killed has left
        try:
            os.rename(made.path, folder.path)
        except OSError:
            os.close(lock)
            raise PlanError(
                f"there is a run {plan.name!r} by now; resume it, or choose another --name"
            ) from None
        force_names(folder.path.parent)
    finally:
        os.close(marked)
        shutil.rmtree(made.path, ignore_errors=True)
    return lock


def take_lock(folder: RunDirectory) -> int:
    """The lock of a run that is there.

    Raises:
        BusyError: if another driver has it.
    """
    lock = folder.lock()
    if lock is None:
        raise BusyError(
            f"run {folder.name} is running already (process {folder.state().pid} on "
            f"{folder.state().node}); "
            f"stop it first: visiontune stop {folder.name}"
        )
    return lock


def check_writable(runs_dir: Path) -> None:
    """Find out before the work, not after it, that nothing could be written.

    Raises:
        RunError: if nothing can.
    """
    # it stands in records, pages and databases
    if said := check_utf8("runs directory", runs_dir.absolute()):
        raise RunError(f"{said}, or give another --runs-dir")
    probe = temporary_name(runs_dir / "probe")
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        with open(probe, "wb") as file:
            hold(file)
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(
            f"runs directory {runs_dir} cannot be written ({error.strerror}); give another "
            "--runs-dir"
        ) from error
    if copy := copy_of(runs_dir):
        copy.remote.write(probe.name, b"")
        copy.remote.delete(probe.name)


def clear_ghost(folder: RunDirectory) -> None:
    """Remove the folder of a run that was deleted while its search ran, if Ray made it again to
    write its own files there.
    """
    there = (
        {path.name for path in folder.path.iterdir()}
        if folder.path.is_dir() and is_gone(folder)
        else set()
    )
    if there and there <= GHOST and not any(folder.path.glob("trials/*/*/result.json")):
        shutil.rmtree(folder.path, ignore_errors=True)


def is_gone(folder: RunDirectory) -> bool:
    """Whether a run's directory has been deleted or moved: nothing is there of what a run has from
    its beginning on.
    """
    return not any((folder.path / name).exists() for name in ("plan.yaml", "run.json", "data.json"))


def _was_to_be_a_run(folder: Path) -> bool:
    """Whether a hidden folder is what is made before a run has its name: with its data, or with
    nothing yet but what was just being written.
    """
    names = {path.name for path in folder.iterdir()}
    begun = "data.json" in names or all(TEMPORARY.fullmatch(name) for name in names)
    return begun and "bundle.json" not in names


def clear_left_behind(folder: RunDirectory) -> None:
    """Remove what drivers and other terminals that were killed were just writing; of the run, and
    beside it what was to become one.
    """
    for path in left_behind(folder.path.parent):
        if path.name.startswith(".probe.") or (path.is_dir() and _was_to_be_a_run(path)):
            remove(path)
    for parent, folders, _ in os.walk(folder.path):
        folders[:] = [name for name in folders if name != "tune"]
        for path in left_behind(Path(parent)):
            remove(path)
