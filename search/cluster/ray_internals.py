"""What we ask of Ray beyond what it promises, all in one place: how its own node is started, what
its workers import, what it knows of a cluster, which workers Tune keeps, and how its populations
change values.

``tests/search/cluster/test_ray_internals.py`` says which of it a version of Ray has no more.

Import this only where Ray may be imported: ``search.cluster.start`` sets the variables that Ray
reads then.
"""

from __future__ import annotations

import contextlib
import math
import random
import socket
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ray._private import node, ray_constants, services, state
from ray._private.authentication import authentication_token_setup
from ray._raylet import (  # type: ignore[attr-defined]  # compiled
    DASHBOARD_AGENT_LISTEN_PORT_NAME,
    METRICS_AGENT_PORT_NAME,
    METRICS_EXPORT_PORT_NAME,
    persist_port,
)
from ray.job_config import JobConfig

from spaces.domain import Choice, Domain, Integer, Value

BYSTANDERS = ("start_monitor", "start_log_monitor", "start_api_server")
"""By which a node of Ray starts its autoscaler, what forwards workers' output, and the dashboard's
server: Python processes that a search on one machine asks nothing of, and that start when it waits
for its first workers.
"""
AGENT = "--dashboard_agent_command="
"""By which the raylet of a node is told to start one more of them, for figures and logs, without
which it ends.
"""
PORTS = (METRICS_AGENT_PORT_NAME, METRICS_EXPORT_PORT_NAME, DASHBOARD_AGENT_LISTEN_PORT_NAME)
"""What that agent would listen at: the raylet waits until it is told."""
RESAMPLE, FACTORS = 0.25, (1.2, 0.8)
"""How often PBT draws a value anew, and by what it multiplies one otherwise: Tune's own choice."""
NO_PORT = -1
"""Ray's word for a service that is not there."""
PATIENCE = 300.0
"""Seconds that each of Ray's processes has to start, where Ray has 30, on a busy machine."""
WORKERS = {"RAY_raylet_start_wait_time_s": f"{PATIENCE:.0f}"}
"""What is told Ray's processes, and by them workers, in place of what the driver is told."""
IDLE = Path(__file__).with_name("idle.py")


class NotStartedError(Exception):
    """A process of Ray's ended, or took too long, while it was started."""


class OwnPathJob(JobConfig):
    """A job whose workers look for modules in given folders first, and in the driver's working
    directory not at all.

    Ray itself would have them look there, and where the driver's script lies, before anything else.
    """

    def __init__(self, folders: list[str]) -> None:
        super().__init__(_py_driver_sys_path=folders)

    def _runtime_env_has_working_dir(self) -> bool:
        """What Ray asks before it adds these two: a job that brings its own directory needs
        neither.
        """
        return True


@contextlib.contextmanager
def bare_node(told: Mapping[str, str]) -> Iterator[list[Any]]:
    """While a node is started in this block, it starts nothing that a search does not need, and is
    waited for with patience; its processes are told ``told`` beside the environment. Gives the
    nodes that were begun: when one fails to start, what it had started by then goes on running.
    """
    begun: list[Any] = []
    make, start_raylet = node.Node.__init__, node.Node.start_raylet
    start_process, look = services.start_ray_process, services.get_node
    look_for_port = node.wait_for_persisted_port

    def begin(self: Any, ray_params: Any, *args: Any, **options: Any) -> None:
        begun.append(self)
        # A raylet waits 15 s for an agent that chooses its port itself, and minutes for one that is
        # told.
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            ray_params.runtime_env_agent_port = probe.getsockname()[1]
        make(self, ray_params, *args, **options)

    def start_raylet_alone(self: Any, *args: Any, **options: Any) -> None:
        for name in PORTS:
            persist_port(self.get_session_dir_path(), self.node_id, name, NO_PORT)
        start_raylet(self, *args, **options)

    def start_process_without_agent(command: list[str], *args: Any, **options: Any) -> Any:
        more = {**(options.pop("env_updates", None) or {}), **WORKERS, **told}
        return start_process([_idle(x) for x in command], *args, env_updates=more, **options)

    def await_port(*where: Any, timeout_ms: int) -> Any:
        """Within Ray's own wait nothing else of Python's runs, an interruption neither."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                return look_for_port(*where, timeout_ms=50)
            except RuntimeError:  # it is not there yet
                _wait(begun[-1], end)

    def look_patiently(address: str, node_id: str) -> Any:
        end = time.monotonic() + PATIENCE
        while True:
            try:
                found = look(address, node_id)
                socket.create_connection(
                    ("127.0.0.1", found["runtime_env_agent_port"]), timeout=10
                ).close()
                # had its agent failed, the raylet would have ended by now, and the driver that
                # joins it too
                return found
            except (RuntimeError, OSError):  # one of the two is not there yet
                _wait(begun[-1], end)

    with (
        _replaced(
            node.Node,
            {
                "__init__": begin,
                "start_raylet": start_raylet_alone,
                **dict.fromkeys(BYSTANDERS, _nothing),
            },
        ),
        _replaced(node, {"wait_for_persisted_port": await_port}),
        _replaced(
            services, {"start_ray_process": start_process_without_agent, "get_node": look_patiently}
        ),
    ):
        yield begun


def _wait(node: Any, end: float) -> None:
    """A moment, for a node that is not up yet."""
    if dead := [name for name, _ in node.dead_processes()]:
        raise NotStartedError(f"its {dead[0]} ended")
    if time.monotonic() > end:
        raise NotStartedError(f"it was not up after {PATIENCE:.0f} s")
    time.sleep(0.05)


@contextlib.contextmanager
def uncounted_callbacks() -> Iterator[None]:
    """To count Tune's callbacks for its usage statistics, which are off, Ray would first import all
    of MLflow: here it does not.
    """
    from ray.air._internal import usage

    with _replaced(usage, {"tag_callbacks": _nothing}):
        yield


def keep_to_loopback() -> None:
    """The switch by which Ray keeps to loopback on other systems, also where a program imported Ray
    before the variable for it was set.
    """
    ray_constants.ENABLE_RAY_CLUSTER = False


def own_options(folder: Path) -> dict[str, Any]:
    """For ``ray.init``: Ray's files lie in ``folder``, no hook of the user's changes a job, and
    nobody waits for a worker a core: if one died before it was known, that would be for ever.
    """
    config = {"prestart_worker_first_driver": False}
    return {"_temp_dir": str(folder), "_skip_env_hook": True, "_system_config": config}


def node_groups() -> list[tuple[Mapping[str, float], int]]:
    """Resources of each kind of node that an autoscaler may start, and how many of them."""
    config = state.state.get_cluster_config()
    groups = config.node_group_configs if config else ()
    return [(dict(group.resources), group.max_count) for group in groups]


def leaving_nodes() -> set[str]:
    """Ids of the nodes that are to leave."""
    return set(state.state.get_draining_nodes())


def keep_idle_workers(tune_controller: Any, trial: Any, count: int) -> None:
    """Have Tune keep so many more idle workers of trials that ask for what this one does."""
    for _ in range(count):
        tune_controller._actor_cache.increase_max(trial.placement_group_factory)


def checked_cluster_file(config: dict[str, Any]) -> dict[str, Any]:
    """A file of Ray's launcher with Ray's defaults, as the launcher reads it.

    Raises:
        Exception: or SystemExit, with the reason printed: whatever the launcher finds wrong.
    """
    from ray.autoscaler._private.util import prepare_config, validate_config

    filled: dict[str, Any] = prepare_config(config)
    validate_config(filled)
    return filled


def log_of(begun: list[Any]) -> Path | None:
    """The log of the last node of ``bare_node``; None if it did not get so far as to have one."""
    folder = getattr(begun[-1], "_logs_dir", None) if begun else None
    return Path(folder) if folder else None


def read_token_again() -> None:
    """Ray looks for its token once in a process: have it look again, as the environment has
    another.
    """
    authentication_token_setup.AuthenticationTokenLoader.instance().reset_cache()


def _idle(word: str) -> str:
    """A word of the raylet's command line, with a process that does nothing in place of the
    agent.
    """
    return (
        AGENT + services.subprocess.list2cmdline([sys.executable, "-I", "-S", str(IDLE)])
        if word.startswith(AGENT)
        else word
    )


def _nothing(*args: Any, **options: Any) -> None:
    """In place of what starts a process that is not needed."""


@contextlib.contextmanager
def _replaced(owner: Any, values: dict[str, Any]) -> Iterator[None]:
    before = {name: getattr(owner, name) for name in values}
    for name, value in values.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


def explored(
    method: str,
    values: Mapping[str, Value],
    domains: Mapping[str, Domain],
    told: Sequence[tuple[str, int, Mapping[str, Value], float]],
    base: str,
    taken: Sequence[Mapping[str, Value]],
    seed: int,
) -> dict[str, Value]:
    """What Tune's PBT or PB2 changes ``values`` to, within ``domains``; the same for the same seed.

    Args:
        told: of each trial so far, step by step: its name, steps done, its values, and how good it
            was, more being better.
        base: name of the trial that is gone on from.
        taken: what others of the same generation were given.
    """
    from ray.tune.schedulers import pbt

    before = random.getstate(), np.random.get_state()  # Tune draws from what is everybody's
    random.seed(seed)
    np.random.seed(seed)
    try:
        found = _by_process(values, domains, told, base, taken) if method == "pb2" else None
        if found is None:
            mutations = {
                name: list(domain.options)
                if isinstance(domain, Choice)
                else partial(_drawn, domain)
                for name, domain in domains.items()
            }
            found, _ = pbt._explore(dict(values), mutations, RESAMPLE, FACTORS, None)
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
    return {name: _within(domain, found[name]) for name, domain in domains.items()}


def _by_process(
    values: Mapping[str, Value],
    domains: Mapping[str, Domain],
    told: Sequence[tuple[str, int, Mapping[str, Value], float]],
    base: str,
    taken: Sequence[Mapping[str, Value]],
) -> dict[str, Any] | None:
    """What PB2's Gaussian process proposes; None where it has seen too little. Ranges that are
    drawn as logarithms are shown to it as such.
    """
    import pandas as pd
    from ray.tune.schedulers import pb2

    names = list(domains)

    def shown(some: Mapping[str, Value]) -> list[float]:
        return [_scaled(domains[name], float(some[name])) for name in names]

    rows = [[name, float(done), *shown(own), value] for name, done, own, value in told]
    data = pd.DataFrame(rows, columns=["Trial", "Time", *names, "Reward"])
    ends = [(_scaled(d, d.low), _scaled(d, d.high)) for d in domains.values()]  # type: ignore[union-attr]
    current = np.array([shown(some) for some in taken]) if taken else None
    config = dict(zip(names, shown(values), strict=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fits that have not converged
        bounds = dict(zip(names, ends, strict=True))
        found, after = pb2._explore(data, bounds, current, base, base, config)
    if len(after) == len(data):
        return None
    logs = {name for name, domain in domains.items() if _is_log(domain)}
    return {name: math.exp(v) if name in logs else v for name, v in found.items()}


def _is_log(domain: Domain) -> bool:
    return not isinstance(domain, Choice) and domain.log and domain.low > 0


def _scaled(domain: Domain, value: float) -> float:
    return math.log(value) if _is_log(domain) else value


def _drawn(domain: Domain) -> Value:
    """A value of a range, from Python's own generator."""
    assert not isinstance(domain, Choice)
    if isinstance(domain, Integer):
        return random.randint(domain.low, domain.high)
    low, high = _scaled(domain, domain.low), _scaled(domain, domain.high)
    drawn = random.uniform(low, high)
    return math.exp(drawn) if _is_log(domain) else drawn


def _within(domain: Domain, value: Any) -> Value:
    if isinstance(domain, Choice):
        return value
    near = min(max(value, domain.low), domain.high)
    return round(near) if isinstance(domain, Integer) else float(near)
