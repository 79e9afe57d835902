"""What another terminal asks of a run: one small file a request, taken up by the driver that runs or by the next one.

A request stays until the study has it, and the study remembers its name: a driver killed
in between takes up the same request again and finds it done.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from analysis.run_directory import RunDirectory
from search.mirror import ask_elsewhere
from trainables.files import write_whole


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


def ask(run: RunDirectory, kind: Literal["enqueue", "retry"], space: str, params: dict[str, Any], number: int = -1) -> None:
    """Leave a request for the driver."""
    name = f"{kind}-{uuid.uuid4().hex[:12]}"
    content = {"kind": kind, "space": space, "params": params, "number": number}
    if not ask_elsewhere(run, f"requests/{name}.json", content):
        write_whole(run.requests / f"{name}.json", json.dumps(content))


def pending(run: RunDirectory) -> Iterator[Request]:
    """Requests that no driver has taken up, oldest first."""
    paths = sorted(run.requests.glob("[!.]*.json"), key=lambda path: (path.stat().st_mtime_ns, path.name)) if run.requests.is_dir() else []
    for path in paths:
        yield Request(name=path.stem, **json.loads(path.read_bytes()))


def done(run: RunDirectory, request: Request) -> None:
    """Forget a request: the study has it."""
    (run.requests / f"{request.name}.json").unlink(missing_ok=True)
