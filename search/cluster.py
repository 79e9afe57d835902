"""Ray on this machine: started for one search, quiet, and listening on loopback only."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    # A cluster of one machine: its node address, and so every port it opens, is on loopback.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Ray ends idle processes after a second, and a stage waits two seconds for the next one to import what it needs.
    "RAY_idle_worker_killing_time_threshold_ms": "60000",
    # Ours keep what these would: loggers cost the driver 470 MB and a write per result.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    # Tune's own snapshot is disposable: the study and the trial folders are the truth.
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}
HEAD = ("gcs_server", "raylet")
"""Ray's processes without which a search cannot go on."""
OBJECT_STORE_BYTES = 6 * 1024**3
"""Shared memory for results at most; Ray spills what is more to disk, which costs more than most results did."""


@contextmanager
def local_cluster(
    cores: int,
    lost: Callable[[str], None] = lambda name: print(f"{name} died", file=sys.stderr),
    resources: Mapping[str, float] | None = None,
) -> Iterator[Any]:
    """Ray with ``cores`` CPUs on this machine, for the time of the block; gives the module ``ray``.

    Args:
        lost: told the name of a process of Ray's that died and without which nothing goes on.
            The program ends after that, with status 1: Ray itself would keep it waiting for a minute.
        resources: of our own naming, that trials ask for.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import psutil
    import ray

    from trainables.stage_registry import NAMESPACE

    # Tune's own files are disposable: that they cannot be written (a full disk) is no news to anybody.
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    # The variable above is read when ray is imported, which a user's own program may have done before.
    ray._private.ray_constants.ENABLE_RAY_CLUSTER = False
    memory = psutil.virtual_memory().total
    private_token()
    ray.init(
        address="local",
        num_cpus=cores,
        resources=dict(resources or {}),
        namespace=NAMESPACE,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=min(OBJECT_STORE_BYTES, memory // 4),
    )
    leaving = threading.Event()
    threading.Thread(target=_watch, args=(leaving, lost), name="visiontune-head", daemon=True).start()
    with contextlib.redirect_stdout(sys.stderr):  # Ray prints news of dead workers there, and --json must stay JSON
        try:
            yield ray
        finally:
            leaving.set()
            ray.shutdown()


def private_token() -> None:
    """Keep the token that Ray asks for from other users: Ray writes it for all to read, and whoever has it runs what they like."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    given = os.environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(given) if given else Path.home() / ".ray" / "auth_token"
    with contextlib.suppress(OSError):  # somebody else's file, or no home: Ray says what it cannot do
        if path.exists():
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
        elif not given:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            handle, whole = tempfile.mkstemp(dir=path.parent)  # which makes it for its owner alone
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(32))
            try:
                os.link(whole, path)  # fails if another search was faster
            finally:
                os.unlink(whole)


def _watch(leaving: threading.Event, lost: Callable[[str], None]) -> None:
    """End the program when Ray's head is gone, as a kill would: what is written is written."""
    import psutil

    children = psutil.Process().children(recursive=True)
    head = {child: child.name() for child in children if child.name() in HEAD}
    while not leaving.wait(0.5):
        for process, name in head.items():
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                continue
            lost(f"Ray's {name}")
            for child in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    child.kill()
            os._exit(1)
