"""``visiontune ui``: the MLflow UI on what was run, listening on loopback only."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from analysis.plan.addresses import Tracking
from analysis.run.directory import RunDirectory, RunError
from analysis.run.finding import find_run
from analysis.run.provenance import ROOT
from search.screen.signals import stop_signals
from search.tracking.connection import connect
from search.tracking.mlflow_runs import VIEW
from search.tracking.sender import Sender, tracking_uri
from search.tracking.tracker import in_time

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # One worker and no job runner: 0.4 GB and seconds to start, instead of 1.7 GB and 20 s.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def serve(run: str | None, port: int, runs_dir: Path) -> None:
    """Run an MLflow server until Ctrl-C; none if a remote server keeps the run already.

    Raises:
        RunError: if there is nothing to show, the port is taken, or the server ends by itself.
    """
    folder = find_run(run, runs_dir) if run else None
    tracking = folder.plan().tracking if folder else Tracking()
    root = folder.path.parent if folder else runs_dir
    uri = tracking_uri(tracking, root)
    if uri.startswith(("http://", "https://")):
        print(f"this run is tracked by {uri}: {_page(folder, tracking, uri)}")
        return
    if not tracking.uri and not (root / "mlflow.db").is_file():
        raise RunError(f"nothing was tracked in {root} yet (no mlflow.db); run a search first")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise RunError(
                f"port {port} on 127.0.0.1 cannot be used ({error.strerror}); give another --port"
            ) from None
    connect(uri, root)  # brings an older database up to date before the server opens it
    base = f"http://127.0.0.1:{port}"
    print(f"MLflow UI: {_page(folder, tracking, base)}  (Ctrl-C ends it)", flush=True)
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        "--backend-store-uri",
        uri,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        "--uvicorn-opts",
        # where modules are looked for first, instead of the working directory
        f"--app-dir {shlex.quote(str(ROOT))}",
    ]
    _run(command)


def _run(command: list[str]) -> None:
    """Until Ctrl-C, SIGTERM or the end of its terminal; whatever was started has ended then."""
    with stop_signals(lambda name: None) as signals:
        signals.listen(signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        # in a group of its own, which a terminal's Ctrl-C does not reach: interrupted while it
        # loads, or twice, MLflow would print a traceback
        server = subprocess.Popen(command, env={**os.environ, **QUIET}, process_group=0)
        try:
            status = server.wait()
        except KeyboardInterrupt:
            started: list[Any] = [*psutil.Process(server.pid).children(recursive=True), server]
            for process in started:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.terminate()
            _, alive = psutil.wait_procs(started[:-1], timeout=10)
            for process in (*alive, server):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            server.wait()
            return
    raise RunError(
        f"MLflow's server ended by itself, with status {status}; what it said stands above"
    )


def _page(folder: RunDirectory | None, tracking: Tracking, base: str) -> str:
    """The page at ``base`` of a run, or of all."""
    if folder is None:
        return f"{base}/#/experiments?{VIEW}"
    sender = Sender(folder, tracking)
    return in_time(sender, lambda: sender.parent_url(base), partial(print, file=sys.stderr))
