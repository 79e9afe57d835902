"""What of Ray's private parts is used: a version of Ray without one of them is named here, not by a
search that hangs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from private_names import private_uses

from search.cluster import ray_internals
from search.cluster.ray_internals import services


def takes(function: Callable[..., Any], *names: str) -> bool:
    """Whether a function can be called with these, by position in this order or by name."""
    there = list(inspect.signature(function).parameters)
    return [name for name in there if name in names] == list(names)


def says(thing: Any, *words: str) -> bool:
    source = inspect.getsource(thing)
    return all(word in source for word in words)


def _node(name: str) -> Any:
    return getattr(ray_internals.node.Node, name)


def _job() -> Any:
    from ray.job_config import JobConfig

    return JobConfig


def _raylet() -> Any:
    import ray._raylet

    return ray._raylet


def _launcher() -> Any:
    from ray.autoscaler._private import util

    return util


def _cache() -> Any:
    from ray.tune.utils.object_cache import _ObjectCache

    return _ObjectCache


def _controller() -> Any:
    from ray.tune.execution.tune_controller import TuneController

    return TuneController


def _schedulers() -> Any:
    from ray.tune import schedulers
    from ray.tune.schedulers import pb2, pbt  # noqa: F401  # so that they are there

    return schedulers


def _usage() -> Any:
    from ray.air._internal import usage

    return usage


def _init() -> Any:
    import ray

    return ray.init


def _parameters() -> Any:
    from ray._private.parameter import RayParams

    return RayParams


def _token() -> Any:
    return ray_internals.authentication_token_setup.AuthenticationTokenLoader.instance()


def _state() -> Any:
    return ray_internals.state.state


NEEDED: dict[str, Callable[[], bool]] = {
    "Node.__init__(ray_params)": lambda: takes(_node("__init__"), "self", "ray_params"),
    "Node.start_raylet": lambda: takes(_node("start_raylet"), "self"),
    "Node.start_monitor": lambda: takes(_node("start_monitor"), "self"),
    "Node.start_log_monitor": lambda: takes(_node("start_log_monitor"), "self"),
    "Node.start_api_server": lambda: takes(_node("start_api_server"), "self"),
    "Node.dead_processes": lambda: takes(_node("dead_processes"), "self"),
    "Node.get_session_dir_path": lambda: takes(_node("get_session_dir_path"), "self"),
    "Node._logs_dir": lambda: says(ray_internals.node.Node, "self._logs_dir ="),
    "RayParams.runtime_env_agent_port": lambda: takes(
        _parameters().__init__, "runtime_env_agent_port"
    ),
    "node.wait_for_persisted_port(dir, node_id, port_name, timeout_ms)": lambda: (
        takes(_raylet().wait_for_persisted_port, "dir", "node_id", "port_name", "timeout_ms")
        and says(_node("start_gcs_server"), "wait_for_persisted_port(", "timeout_ms=")
    ),
    "services.start_ray_process(command)": lambda: (
        next(iter(inspect.signature(services.start_ray_process).parameters)) == "command"
    ),
    "services.get_node(gcs_address, node_id)": lambda: takes(
        services.get_node, "gcs_address", "node_id"
    ),
    "services.start_raylet's --dashboard_agent_command": lambda: says(
        services.start_raylet, ray_internals.AGENT
    ),
    "_raylet.persist_port(dir, node_id, port_name, port)": lambda: takes(
        _raylet().persist_port, "dir", "node_id", "port_name", "port"
    ),
    "_raylet's names of ports": lambda: all(isinstance(name, str) for name in ray_internals.PORTS),
    "JobConfig(_py_driver_sys_path)": lambda: takes(_job().__init__, "_py_driver_sys_path"),
    "JobConfig._runtime_env_has_working_dir": lambda: takes(
        _job()._runtime_env_has_working_dir, "self"
    ),
    "AuthenticationTokenLoader.reset_cache": lambda: callable(_token().reset_cache),
    "usage.tag_callbacks": lambda: takes(_usage().tag_callbacks, "callbacks"),
    "ray_constants.ENABLE_RAY_CLUSTER": lambda: isinstance(
        ray_internals.ray_constants.ENABLE_RAY_CLUSTER, bool
    ),
    "ray.init(_temp_dir, _skip_env_hook, _system_config)": lambda: says(
        _init(), 'pop("_temp_dir"', 'pop("_skip_env_hook"', 'pop("_system_config"'
    ),
    "state.get_cluster_config": lambda: takes(_state().get_cluster_config),
    "state.get_draining_nodes": lambda: takes(_state().get_draining_nodes),
    "TuneController._actor_cache": lambda: says(_controller(), "self._actor_cache = _ObjectCache("),
    "_ObjectCache.increase_max(key)": lambda: takes(_cache().increase_max, "self", "key"),
    "pbt._explore(config, mutations, …)": lambda: takes(
        _schedulers().pbt._explore,
        "config",
        "mutations",
        "resample_probability",
        "perturbation_factors",
        "custom_explore_fn",
    ),
    "pb2._explore(data, bounds, …)": lambda: takes(
        _schedulers().pb2._explore, "data", "bounds", "current", "base", "old", "config"
    ),
    "pb2's Gaussian process, of scikit-learn": lambda: bool(_schedulers().pb2.has_sklearn),
    "autoscaler's prepare_config(config)": lambda: takes(_launcher().prepare_config, "config"),
    "autoscaler's validate_config(config)": lambda: takes(_launcher().validate_config, "config"),
}
"""Each private part, and whether it is there as it is used."""


@pytest.mark.parametrize("name", NEEDED)
def test_ray_still_has(name: str) -> None:
    """A search would hang, or start what it does not need, where one of them is gone."""
    try:
        there = NEEDED[name]()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        pytest.fail(f"this version of Ray has no {name} any more: {error}")
    assert there, f"this version of Ray has {name} in another shape"


def test_nothing_else_of_ours_names_a_private_part_of_ray() -> None:
    """Whoever takes up a new version of Ray has one file to read."""
    assert private_uses("ray") == {"search/cluster/ray_internals.py"}
