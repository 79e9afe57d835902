"""What trials leave behind: which weights and checkpoints stay when a search ends, and which are of
no trial at all.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from analysis.ranking.leaderboard import pareto_front, ranked
from analysis.run.directory import RunDirectory
from analysis.run.working_copy import place_of, remote_of
from trainables.io.checkpoint import latest
from trainables.io.remote import Remote, join_place, remove_place

KEPT_CHECKPOINTS = 3
"""Trials whose weights and last checkpoint are kept when the search ends: the best ones."""
OF_A_TRIAL = re.compile(r"(.+)-(\d+)\.session-(\d+)(?:\.(\d+))?")
"""Tune's folder of a trial: space, number, session, and how often it began anew in that."""


def end_parts(space: str, number: int) -> tuple[str, ...]:
    """Path, below that of its run, of the state that a trial leaves to those that go on from it."""
    return "trials", space, f"{number:05d}", "end"


def drop_end(folder: RunDirectory, space: str, number: int) -> None:
    """Delete that state."""
    remove_place(join_place(place_of(folder.path), *end_parts(space, number)))


def checkpoints(folder: RunDirectory, space: str, number: int) -> list[str]:
    """Paths, or URIs, of every checkpoint of a trial, whole or not, of all sessions."""
    remote = remote_of(folder.path)
    if remote is None:
        return [
            str(path)
            for path in (folder.path / "tune").glob(f"{space}-{number:05d}.session-*/checkpoint_*")
        ]
    tune, prefix = remote.child("tune"), f"{space}-{number:05d}.session-"
    own = [name for name in tune.folders() if name.startswith(prefix)]
    return [
        tune.child(name, step).uri
        for name in own
        for step in tune.folders(name)
        if step.startswith("checkpoint_")
    ]


def clear_checkpoints(folder: RunDirectory, objectives: Sequence[str]) -> None:
    """Delete weights and checkpoints of finished trials, but for the weights and the last
    checkpoint of each of the best.

    Args:
        objectives: the first ranks the trials; with several, those on their Pareto front stay too.
    """
    records = folder.records()
    best = {record.key for record in ranked(records, objectives[0])[:KEPT_CHECKPOINTS]}
    if len(objectives) > 1:
        best |= {record.key for record in pareto_front(records, objectives)}
    remote = remote_of(folder.path)
    there = _by_trial(folder, remote)
    files = list(remote.files("trials")) if remote else []
    weighty, left = (
        {name.split("/")[2] for name in files if f"/{kind}/" in name} for kind in ("weights", "end")
    )
    for record in records:  # a trial that has not finished has none, and goes on from what it has
        kept, steps = record.key in best, there.get(record.key, [])
        if not remote or f"{record.number:05d}" in left:
            drop_end(folder, record.space, record.number)
        weights = folder.weights(record.space, record.number)
        if not kept:
            shutil.rmtree(weights, ignore_errors=True)
            if remote and weights.parent.name in weighty:
                remote.delete_folder(weights.relative_to(folder.path).as_posix())
        if remote:
            # whether one is whole is only known once it is here: the last stays
            for step in steps[:-1] if kept else steps:
                remote.delete_folder(f"tune/{step}")
            continue
        last = latest([folder.path / "tune" / step for step in steps]) if kept else None
        for path in (folder.path / "tune" / step for step in steps):
            if path != last:
                shutil.rmtree(path, ignore_errors=True)


def drop_checkpoints(folder: RunDirectory, space: str, number: int) -> None:
    """Delete every checkpoint of a trial, of all sessions."""
    for place in checkpoints(folder, space, number):
        remove_place(place)


def drop_unknown(folder: RunDirectory, space: str, trials: int) -> None:
    """Delete what there is of trials that the study does not know: at a URI they may be ahead of
    its journal.

    Args:
        trials: how many the study of ``space`` has; its next one gets this number.
    """
    remote = remote_of(folder.path)
    if remote is None:
        return
    for number in (
        int(path.name) for path in (folder.path / "trials" / space).glob("*") if path.name.isdigit()
    ):
        if number >= trials:
            shutil.rmtree(folder.trial(space, number), ignore_errors=True)
            remote.delete_folder(f"trials/{space}/{number:05d}")
    for name in remote.folders("tune"):
        found = OF_A_TRIAL.fullmatch(name)
        if found and found[1] == space and int(found[2]) >= trials:
            remote.delete_folder(f"tune/{name}")


def _by_trial(folder: RunDirectory, remote: Remote | None) -> dict[str, list[str]]:
    """Trial to its checkpoints below ``tune``, oldest first; one look for all, as there may be many
    thousand trials.
    """
    tune = folder.path / "tune"
    if remote:
        names = {"/".join(name.split("/")[1:3]) for name in remote.files("tune")}
    else:
        names = {
            path.relative_to(tune).as_posix() for path in tune.glob("*.session-*/checkpoint_*")
        }
    there: dict[str, list[str]] = {}
    for name in sorted(names, key=_age):
        found = OF_A_TRIAL.fullmatch(Path(name).parent.name)
        if found and Path(name).name.startswith("checkpoint_"):
            there.setdefault(f"{found[1]}/{int(found[2])}", []).append(name)
    return there


def _age(name: str) -> tuple[int, int, str]:
    found = OF_A_TRIAL.fullmatch(Path(name).parent.name)
    return (int(found[3]), int(found[4] or 0), name) if found else (0, 0, name)
