"""The nodes of a Ray cluster that a search has joined: which there are, that each is fit for it,
and what they offer.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from search.cluster.own_code import difference, looker
from search.cluster.preflight import Probe, answer
from search.cluster.ray_internals import leaving_nodes, node_groups
from search.cluster.start import ClusterError
from spaces.errors import on_one_line
from trainables.data import Dataset, ReadOptions, read_dataset
from trainables.images.packing import FileRuns, made_by, made_here

LOOK_EVERY = 3.0
"""Seconds between two looks at which nodes there are."""
SLIVER = 0.001
"""Of a GPU, for the preflight: enough for Ray to show it to a task."""
PATIENCE = 180.0
"""Seconds that a node has for its preflight: a fresh one loads everything from disk."""


@dataclass(frozen=True)
class Node:
    """A node as Ray knows it: its address, its host's name and what it offers."""

    id: str
    address: str
    host: str
    resources: Mapping[str, float]

    def __str__(self) -> str:
        return f"{self.host} ({self.address}, {self.id[:8]})"

    @property
    def offers(self) -> str:
        return ", ".join(f"{self.resources.get(name, 0.0):g} {name}" for name in ("CPU", "GPU"))


def alive() -> dict[str, Node]:
    """Every node that lives, by its id."""
    return {
        node["NodeID"]: Node(
            node["NodeID"],
            node["NodeManagerAddress"],
            node["NodeManagerHostname"],
            node["Resources"],
        )
        for node in ray.nodes()
        if node["Alive"]
    }


def autoscaler_nodes() -> list[Mapping[str, float]]:
    """Resources of each node that an autoscaler may have at most; empty where there is none."""
    return [resources for resources, most in node_groups() for _ in range(most)]


class Fleet:
    """The nodes of a search, each let in once its preflight has passed.

    Args:
        probe: what they are asked.
        say: told of nodes that come, leave and are to leave.
    """

    def __init__(self, probe: Probe, say: Callable[[str], None]) -> None:
        self._probe, self._say = probe, say
        self._asked: dict[str, tuple[list[Any], float]] = {}
        self._fit: dict[str, Node] = {}
        self._there: dict[str, Node] = {}
        self._draining: set[str] = set()
        self._cards: dict[str, str] = {}
        self._most = autoscaler_nodes()
        self._looked = 0.0

    def board(self) -> None:
        """Ask every node that is there, and wait for all of them.

        Raises:
            ClusterError: naming each node that is not fit, and why.
        """
        problems: list[str] = []
        self._look(problems, wait=True)
        if problems:
            raise ClusterError(f"the search does not start: {'; '.join(problems)}")
        if len(set(self._cards.values())) > 1:
            cards = "; ".join(f"{self._there[key]} {card}" for key, card in self._cards.items())
            self._say(
                f"warning: the GPUs differ ({cards}): the same trial takes another time on "
                "another, "
                "and does not give the same bits"
            )

    def resources(self) -> list[Mapping[str, float]]:
        """What each fit node offers; of an autoscaler's nodes, those that it may yet start too.

        Raises:
            ClusterError: if a node that has come is not fit.
        """
        if time.monotonic() - self._looked > LOOK_EVERY:
            problems: list[str] = []
            self._look(problems, wait=False)
            if problems:
                raise ClusterError(
                    f"the search stops: {'; '.join(problems)}; resume it when that node is "
                    "mended or gone"
                )
        now = [node.resources for node in self._fit.values()]
        return self._most if len(self._most) > len(now) else now

    def _look(self, problems: list[str], wait: bool) -> None:
        self._looked = time.monotonic()
        there = alive()
        for gone in set(self._there) - set(there):
            self._say(
                f"node {self._there[gone]} is gone; its trials go on elsewhere, from their last "
                "checkpoints"
            )
            self._fit.pop(gone, None)
            self._asked.pop(gone, None)
        for key in leaving_nodes() & set(there) - self._draining:
            self._draining.add(key)
            self._say(
                f"node {there[key]} is to leave; it gets no more trials, and those there go on "
                "elsewhere, from their last checkpoints"
            )
        for key in there.keys() - self._there.keys():
            self._asked[key] = (_ask(there[key], self._probe), time.monotonic())
        new = bool(self._there)
        self._there = there
        for key, (asked, since) in list(self._asked.items()):
            _, missing = ray.wait(
                asked,
                num_returns=2,
                timeout=max(0.0, PATIENCE - (time.monotonic() - since)) if wait else 0,
            )
            if missing and time.monotonic() - since < PATIENCE:
                continue
            del self._asked[key]
            if problem := self._judge(key, [] if missing else asked):
                problems.append(f"node {there[key]}: {problem}")
                continue
            self._fit[key] = there[key]
            if new:
                self._say(f"node {there[key]} has come, with {there[key].offers}")

    def _judge(self, key: str, asked: list[Any]) -> str:
        if not asked:
            return f"did not answer within {PATIENCE:.0f} s"
        try:
            code, answered = asked
            found = ray.get(answered)
            if found["card"]:
                self._cards[key] = found["card"]
            return difference(ray.get(code)) or self._probe.complaint(found, key)
        except ray.exceptions.RayError as error:
            if key not in alive():
                return ""  # it left while it was asked: the next look says so
            cause = getattr(error, "cause", None) or error
            return f"cannot run our code ({type(cause).__name__}: {on_one_line(cause)})"


def _ask(node: Node, probe: Probe) -> list[Any]:
    """References to what code a node runs, and to what that code answers."""
    gpu = probe.gpu and node.resources.get("GPU", 0) > 0
    there = {
        "num_cpus": 0,
        "max_retries": 0,
        "scheduling_strategy": NodeAffinitySchedulingStrategy(node.id, soft=False),
    }
    return [
        ray.remote(looker()).options(**there).remote(),
        ray.remote(answer)
        .options(**there, num_gpus=SLIVER if gpu else 0)
        .remote(*probe.questions(), node.id, gpu),
    ]


def read_on_all_nodes(spec: str, options: ReadOptions) -> Dataset:
    """``trainables.data.read_dataset`` by a task of Ray's; images that are packed are unpacked on
    all nodes that have cores, each fetching what it unpacks of a dataset at a URI.
    """
    with made_by(made_on_all_nodes):
        return read_dataset(spec, options)


def made_on_all_nodes(make: FileRuns, numbers: Sequence[int]) -> Iterator[dict[str, Any]]:
    """The shards of these numbers, one after another, made by as many tasks at a time as nodes have
    room for; here, where there is one node or a task fails.
    """
    cores = [cpu for node in alive().values() if (cpu := node.resources.get("CPU", 0.0)) >= 1]
    if len(cores) < 2:
        yield from made_here(make, numbers)
        return
    # one takes a node's cores, of the smallest one: each reads its files on all of them
    options = {"num_cpus": min(cores), "scheduling_strategy": "SPREAD", "max_retries": 1}
    task, shared = ray.remote(_shard).options(**options), ray.put(make)
    at_once = int(sum(cores) // min(cores)) + 1
    rest, asked = list(reversed(numbers)), deque[tuple[int, Any]]()
    while rest or asked:
        while rest and len(asked) < at_once:
            number = rest.pop()
            asked.append((number, task.remote(shared, number)))
        number, reference = asked.popleft()
        try:
            found = ray.get(reference)
        except ray.exceptions.RayError:
            found = None
        del reference  # so that Ray lets go of it
        # the files may be seen from here alone
        yield found if found is not None and make.sound(found) else make(number)


def _shard(make: FileRuns, number: int) -> dict[str, Any]:
    return make(number)
