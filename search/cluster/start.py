"""Ray for one search: started on this machine, quiet and listening on loopback only; or a cluster
that is there already.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import logging
import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from search.cluster.marked import Marked, lives
from search.cluster.own_code import difference, first_folders, looker, with_plugins
from search.cluster.ray_folder import ray_folder, ray_folder_problem
from search.cluster.token import own_token
from spaces import plugins
from spaces.errors import UserError, on_one_line

LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
"""A cluster of one machine: its node address, and so every port it opens, is on loopback."""
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    # Ray ends idle processes after a second, and a stage waits two seconds for the next one to
    # import what it needs.
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
    # Under ``uv run`` Ray would have workers run a copy of the working directory.
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
PATIENT = {
    "RAY_agent_register_timeout_ms": "300000",
    "RAY_worker_register_timeout_seconds": "300",
    # looked for again and again by ourselves: in its own wait Ray hears no signal
    "RAY_raylet_start_wait_time_s": "0",
    "RAY_health_check_failure_threshold": "30",
}
"""A busy machine is slow and not broken: Ray's own processes have minutes to start or answer."""
MANY_PENDING = {"TUNE_MAX_PENDING_TRIALS_PG": "100000"}
"""On a cluster what waits for a node is what an autoscaler starts nodes for; how much waits is for
``search.cluster.growing`` to say.
"""
HEAD = ("gcs_server", "raylet")
"""Ray's processes without which a search cannot go on."""
OBJECT_STORE_BYTES = 6 * 1024**3
"""Shared memory for results at most; Ray spills what is more to disk, which costs more than most
results did.
"""
WORKERS_PATIENCE = 600.0
"""Seconds that the first worker has to answer."""
LATER = ("search.cluster.tune_adapters", "sklearn.metrics", "search.driver.reporting")
"""Modules that take long to import and are not needed before Ray has started."""


class ClusterError(UserError):
    """A cluster that cannot be joined, or a node of it that is not fit for the search."""


class RayError(UserError):
    """Ray that does not start on this machine, or would not run the code of this program there."""

    status = 1


@contextmanager
def local_cluster(
    cores: int,
    lost: Callable[[str], None] = lambda name: print(f"{name} died", file=sys.stderr),
    resources: Mapping[str, float] | None = None,
) -> Iterator[Any]:
    """Ray with ``cores`` CPUs on this machine, for the time of the block; gives the module ``ray``.

    Args:
        lost: told the name of a process of Ray's that died and without which nothing goes on.
            The program ends after that, with status 1: Ray would keep it waiting for a minute.
        resources: of our own naming, that trials ask for.

    Raises:
        UserError: one line, if the folder for Ray's files is not fit.
        RayError: one line, if Ray does not start, or its processes would run other code than this
            program.
    """
    if problem := ray_folder_problem():
        raise UserError(problem)
    loaded = _loaded({**QUIET, **PATIENT, **LOOPBACK})
    # all the while, with no gap before Ray has ended
    with loaded as (ray, namespace), own_token(), _ray_on_stderr():
        import psutil

        from search.cluster.ray_internals import keep_to_loopback, own_options

        keep_to_loopback()
        # inside of a cluster's job, that cluster's: not for a Ray of our own
        os.environ.pop("RAY_JOB_CONFIG_JSON_ENV_VAR", None)
        memory = psutil.virtual_memory().total
        options = {
            "address": "local",
            "num_cpus": cores,
            "resources": dict(resources or {}),
            "namespace": namespace,
            "include_dashboard": False,
            "log_to_driver": False,
            "logging_level": logging.ERROR,
            "object_store_memory": min(OBJECT_STORE_BYTES, memory // 4),
            **own_options(ray_folder()),
        }
        leaving, marked = threading.Event(), Marked()
        try:
            _start(ray, options, marked)
            threading.Thread(
                target=_watch, args=(leaving, lost, marked), name="visiontune-head", daemon=True
            ).start()
            _check_code(ray)
            yield ray
        finally:
            leaving.set()
            marked.end(ray.shutdown)


def _leave() -> None:
    """End the program as it is: Ray's own threads, once interrupted, may crash a Python that takes
    itself apart, and one that imports may wait for ever for what was interrupted.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(1)


def _start(ray: Any, options: Mapping[str, Any], marked: Marked) -> None:
    """Start Ray's own processes, trying again once: what keeps them from it may be the moment's
    load.
    """
    from search.cluster.ray_internals import bare_node, log_of

    for attempt in (1, 2):
        with bare_node(marked.mark) as begun:
            try:
                ray.init(job_config=_job(), runtime_env=with_plugins(), **options)
                return
            except BaseException as error:
                marked.end(ray.shutdown)
                for node in begun:
                    node.kill_all_processes(check_alive=False, allow_graceful=False)
                if not isinstance(error, Exception):
                    raise
                if attempt == 2:
                    load, log = os.getloadavg()[0], log_of(begun)
                    raise RayError(
                        "Ray does not start on this machine, tried twice "
                        f"({on_one_line(error)}); {load:.0f} processes want to run on its "
                        f"{os.cpu_count()} cores; "
                        f"{f'its logs are in {log}' if log else 'it has written no log'}"
                    ) from error


def _job() -> Any:
    """Where workers find modules: our own, and nothing of the working directory."""
    from search.cluster.ray_internals import OwnPathJob

    return OwnPathJob(first_folders())


def _check_code(ray: Any) -> None:
    """Have a worker say which code it runs.

    Raises:
        RayError: if that is not the code of this program.
    """
    try:
        wrong = difference(
            ray.get(ray.remote(looker()).options(num_cpus=0).remote(), timeout=WORKERS_PATIENCE)
        )
    except ray.exceptions.RayError as error:
        raise RayError(
            f"Ray's workers do not run on this machine ({on_one_line(error)})"
        ) from error
    if wrong:
        raise RayError(
            f"Ray's workers would not run this program's code: {wrong}; take that out of "
            "PYTHONPATH, or uninstall it"
        )
    if plugins.loaded():
        there = ray.get(ray.remote(plugins.there).options(num_cpus=0).remote())
        if wrong := plugins.difference(there):
            raise RayError(f"Ray's workers cannot use what this program has loaded: {wrong}")


@contextmanager
def joined_cluster(address: str) -> Iterator[Any]:
    """Ray of a cluster that this machine is a node of, for the time of the block; gives the module
    ``ray``.

    Args:
        address: ``HOST:PORT`` of the cluster's head, or ``auto``: what ``RAY_ADDRESS`` names, else
            the Ray started on this machine.

    Raises:
        ClusterError: one line, if there is no such cluster, or this machine is no node of it.
    """
    if address.startswith("ray://"):
        raise ClusterError(
            f"--address {address}: a search's driver runs on a node of the cluster, not at the "
            "other end of Ray's client; "
            "type the command on the head with --address auto"
        )
    named = re.fullmatch(r"\[?([^\]\s/]+?)\]?:(\d{1,5})", address)
    if address != "auto" and not named:
        raise ClusterError(f"--address wants auto or HOST:PORT, but got {address!r}")
    if named:  # Ray itself would try for a minute, and end the program
        try:
            socket.create_connection((named[1], int(named[2])), timeout=10).close()
        except OSError as error:
            raise ClusterError(
                f"--address {address}: nothing answers there ({error}); start Ray there, or "
                "check the address"
            ) from error
    with _loaded({**QUIET, **MANY_PENDING}) as (ray, namespace), _ray_on_stderr():
        try:
            try:
                ray.init(
                    address=address,
                    namespace=namespace,
                    job_config=_job(),
                    # not by the job's: inside of a job that is sent, Ray would forget that
                    runtime_env=with_plugins(),
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                )
            except Exception as error:  # Ray raises whatever it likes
                raise ClusterError(
                    f"--address {address}: this machine cannot join that cluster as one of its "
                    f"nodes ({on_one_line(error)})"
                ) from error
            yield ray
        finally:
            ray.shutdown()


def _ray_on_stderr() -> contextlib.AbstractContextManager[Any]:
    """What Ray prints goes to standard error, or --json were no JSON: it tells of dead workers at
    any time, last while it shuts down.
    """
    return contextlib.redirect_stdout(sys.stderr)


@contextmanager
def _loaded(environment: Mapping[str, str]) -> Iterator[tuple[Any, str]]:
    """(the module ``ray``, told ``environment``; our namespace), while a thread imports what a
    search needs later: Ray waits for its own processes meanwhile. That thread has ended when the
    block has, or the program ends as it is: at the end of Python nothing can be imported any more.
    """
    for name, value in environment.items():
        os.environ.setdefault(name, value)
    import ray

    later = threading.Thread(target=_import, name="visiontune-imports", daemon=True)
    later.start()
    try:
        from trainables.stages.registry import NAMESPACE

        # Tune's own files are disposable: that they cannot be written (a full disk) is no news to
        # anybody.
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        yield ray, NAMESPACE
    except KeyboardInterrupt:
        atexit.register(_leave)
        raise
    except Exception:
        later.join()
        raise
    later.join()


def _import() -> None:
    for module in LATER:
        with contextlib.suppress(Exception):  # whoever needs it says what is wrong
            importlib.import_module(module)


def _watch(leaving: threading.Event, lost: Callable[[str], None], marked: Marked) -> None:
    """End the program when Ray's head is gone, as a kill would: what is written is written."""
    head = {one: one.name() for one in marked.there() if one.name() in HEAD}
    while not leaving.wait(0.5):
        for process, name in head.items():
            if lives(process):
                continue
            lost(f"Ray's {name}")
            marked.end()
            os._exit(1)
