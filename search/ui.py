"""``visiontune ui``: the MLflow UI on what was run, listening on loopback only."""

from __future__ import annotations

import os
import shlex
import socket
import sys
from pathlib import Path

from analysis.run_directory import RunDirectory, RunError
from search.addresses import Tracking
from search.mlflow_runs import connect
from search.plan import read_plan
from search.provenance import ROOT
from search.tracking import Sender, tracking_uri

QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # One worker and no job runner: 0.4 GB and seconds to start, instead of 1.7 GB and 20 s.
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}


def serve(run: str | None, port: int, runs_dir: Path) -> None:
    """Become an MLflow server; returns only if a remote server keeps the run already.

    Raises:
        RunError: if there is nothing to show, or the port is taken.
    """
    folder = RunDirectory.find(run, runs_dir) if run else None
    tracking = read_plan(folder.plan_file).tracking if folder else Tracking()
    root = folder.path.parent if folder else runs_dir
    uri = tracking_uri(tracking, root)
    if uri.startswith(("http://", "https://")):
        print(f"this run is tracked by {uri}: {Sender(folder, tracking).parent_url(uri) if folder else uri}")
        return
    if not tracking.uri and not (root / "mlflow.db").is_file():
        raise RunError(f"nothing was tracked in {root} yet (no mlflow.db); run a search first")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise RunError(f"port {port} on 127.0.0.1 cannot be used ({error.strerror}); give another --port") from None
    connect(uri, root)  # brings an older database up to date before the server opens it
    base = f"http://127.0.0.1:{port}"
    print(f"MLflow UI: {Sender(folder, tracking).parent_url(base) if folder else base}  (Ctrl-C ends it)", flush=True)
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
        f"--app-dir {shlex.quote(str(ROOT))}",  # where modules are looked for first, instead of the working directory
    ]
    os.execve(sys.executable, command, {**os.environ, **QUIET})
