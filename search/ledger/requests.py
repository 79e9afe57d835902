"""What another terminal asks of a run: one small file a request, taken up by the driver that runs
or by the next one.

A request stays until the study has it, and the study remembers its name: a driver killed
in between takes up the same request again and finds it done.
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from analysis.run.directory import RunDirectory
from analysis.run.notes import note
from analysis.run.sealed import DamagedError, NewerError, unsealed
from analysis.run.trial_files import UnreadableError, read_bytes
from analysis.run.working_copy import copy_of
from trainables.io.files import set_aside, write_whole

if TYPE_CHECKING:  # who asks for something loads no Optuna
    from search.study.study import SpaceStudy


@dataclass(frozen=True)
class Request:
    """Something to be tried.

    Attributes:
        name: of its file, unique.
        kind: ``enqueue`` a configuration, or ``retry`` a finished trial's.
        space: where.
        params: of an ``enqueue``: parameter to value; what is left open is drawn.
        number: of the trial to retry.
    """

    name: str
    kind: Literal["enqueue", "retry"]
    space: str
    params: dict[str, Any]
    number: int = -1


def ask(
    run: RunDirectory,
    kind: Literal["enqueue", "retry"],
    space: str,
    params: dict[str, Any],
    number: int = -1,
    order: int | None = None,
) -> None:
    """Leave a request for the driver.

    Args:
        order: of those that a run is begun with, which no other terminal knows yet.
    """
    name = f"{kind}-{uuid.uuid4().hex[:12]}" if order is None else f"{kind}-first-{order:03d}"
    content = {"kind": kind, "space": space, "params": params, "number": number}
    if not ask_elsewhere(run, f"requests/{name}.json", content):
        write_whole(run.requests / f"{name}.json", json.dumps(content), within=run.path)


def ask_elsewhere(folder: RunDirectory, name: str, content: dict[str, Any]) -> bool:
    """Leave a request at the URI for a driver on another machine; False if there is none such."""
    copy = copy_of(folder.path.parent)
    if copy is None or copy.elsewhere(folder.name) is None:
        return False
    copy.remote.child(folder.name).write(name, json.dumps(content).encode())
    return True


def pending(run: RunDirectory) -> Iterator[Request]:
    """Requests that no driver has taken up, oldest first."""
    for path in _paths(run):
        try:
            yield _read(path)
        except (DamagedError, NewerError, UnreadableError) as error:
            note(f"{error}; it is left out: visiontune enqueue and retry ask again")


def take(run: RunDirectory) -> Iterator[Request]:
    """The same for the driver, which moves aside what is no request."""
    for path in _paths(run):
        try:
            yield _read(path)
        except (DamagedError, NewerError, UnreadableError) as error:
            refuse(run, path.stem, str(error))


def take_up(run: RunDirectory, studies: Mapping[str, SpaceStudy], known: set[str]) -> None:
    """Enqueue what was asked for; requests that cannot be done are moved aside.

    Args:
        known: names of those that a study has; those that it gets are added.
    """
    from search.study.study import REQUEST

    for request in take(run):
        study = studies.get(request.space)
        if request.name not in known:
            if study is None or (
                why := study.objection(request.kind, request.number, request.params)
            ):
                none = f"this run does not search {request.space!r}"
                refuse(run, request.name, why if study else none)
                continue
            if request.kind == "enqueue":
                study.enqueue(request.params, {REQUEST: request.name})
            else:
                study.retry(request.number, {REQUEST: request.name})
            known.add(request.name)
        done(run, request)


def refuse(run: RunDirectory, name: str, why: str) -> None:
    """Move a request aside that cannot be done, and note why."""
    aside = set_aside(run.requests / f"{name}.json")
    note(
        f"a request cannot be done and was moved to {aside}: {why}; visiontune enqueue and "
        "retry ask again"
    )


def _paths(run: RunDirectory) -> list[Path]:
    """Files of requests, oldest first."""
    found = []
    for path in run.requests.glob("[!.]*.json") if run.requests.is_dir() else ():
        with contextlib.suppress(FileNotFoundError):  # a driver has just taken it
            found.append((path.lstat().st_mtime_ns, path.name, path))
    return [path for *_, path in sorted(found)]


def _read(path: Path) -> Request:
    """One request.

    Raises:
        DamagedError: if it is none.
        UnreadableError: if it may not be read.
    """
    facts = unsealed(read_bytes(path), path)
    params, number = facts.get("params"), facts.get("number", -1)
    fits = (
        facts.get("kind") in ("enqueue", "retry")
        and isinstance(facts.get("space"), str)
        and type(number) is int
    )
    if (
        not fits
        or not isinstance(params, dict)
        or not all(isinstance(value, bool | int | float | str) for value in params.values())
    ):
        raise DamagedError(f"{path}: no request, which has kind, space, params and number")
    return Request(path.stem, facts["kind"], facts["space"], params, number)


def done(run: RunDirectory, request: Request) -> None:
    """Forget a request: the study has it."""
    (run.requests / f"{request.name}.json").unlink(missing_ok=True)
