"""A run, found by what a user calls it."""

from __future__ import annotations

import contextlib
from pathlib import Path

from analysis.plan.settings import NAME
from analysis.run.directory import RunDirectory
from analysis.run.driver_lock import is_locked
from analysis.run.sealed import RunError
from analysis.run.working_copy import copy_of, working_copy
from trainables.io.remote import is_uri


def find_run(run: str, runs_dir: Path) -> RunDirectory:
    """The run called ``run``, or at the path or URI ``run``; fetched first, where the runs
    directory is at a URI.

    Raises:
        RunError: if there is none; says which there are.
        RemoteError: if the URI cannot be read.
    """
    if is_uri(run):
        place, mark, query = run.partition("?")
        parent, _, run = place.rstrip("/").rpartition("/")
        runs_dir = working_copy(parent + mark + query)
    if copy := copy_of(runs_dir):
        if NAME.fullmatch(run):
            copy.fetch(run, driver_here=is_locked(runs_dir / run))
        if not (runs_dir / run / "plan.yaml").is_file():
            others = ", ".join(copy.names()[:8]) or "none yet"
            raise RunError(f"no run {run!r} in {copy.remote.uri}; there are {others}")
    for path in (runs_dir / run, Path(run)):
        with contextlib.suppress(OSError):  # a name too long for a file is no run either
            if (path / "plan.yaml").is_file():
                return RunDirectory(path.absolute())
    if NAME.fullmatch(run) and (runs_dir / run).is_dir():
        raise RunError(
            f"{runs_dir / run} is no run: it has no plan.yaml; put that back, or move the "
            "folder away and run the search again"
        )
    names = (
        sorted(p.parent.name for p in runs_dir.glob("*/plan.yaml") if NAME.fullmatch(p.parent.name))
        if runs_dir.is_dir()
        else []
    )
    there = f"there are {', '.join(names[:8])}" if names else "there are none yet"
    raise RunError(f"no run {run!r} in {runs_dir}; {there}")
