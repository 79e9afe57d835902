"""Room for trials on the nodes of a cluster, as it grows and shrinks."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from analysis.plan.complaints import PlanError
from search.cluster.capacity import MORE_TRIALS_THAN_CORES, MOST_TRIALS_A_CORE, Capacity
from trainables.learners import LEARNERS

Resources = Mapping[str, float]


@dataclass(frozen=True)
class ClusterCapacity(Capacity):
    """Room on many nodes: a trial runs on one of them.

    Attributes:
        look: what each node offers now, or may soon where an autoscaler waits for trials to ask.
    """

    look: Callable[[], Sequence[Resources]] = tuple

    @property
    def concurrency(self) -> int:
        """Trials at once: as many as the nodes hold, or may; what waits for a node makes an
        autoscaler start it.

        Raises:
            PlanError: if no node could hold one.
        """
        plan, nodes = self.plan, self.look()
        room = {name: sum(fits(node, self._each(name)) for node in nodes) for name in plan.spaces}
        for name, trials in room.items():
            if not trials:
                asked = ", ".join(
                    f"{value:g} {resource}" for resource, value in self.asks(name).items()
                )
                there = "; ".join(
                    sorted(
                        {
                            ", ".join(f"{node.get(r, 0):g} {r}" for r in self.asks(name))
                            for node in nodes
                        }
                    )
                )
                raise PlanError(
                    f"a trial of {name} asks for {asked}, but the nodes offer "
                    f"{there or 'nothing'}; lower it, or add nodes"
                )
        if plan.concurrency:
            return plan.concurrency
        holding = sum(room[name] for name in plan.spaces if LEARNERS[name].holds_cores)
        others = [room[name] for name in plan.spaces if not LEARNERS[name].holds_cores]
        cores = int(sum(node.get("CPU", 0.0) for node in nodes))
        return holding + (min(max(others), cores + MORE_TRIALS_THAN_CORES) if others else 0)

    def now(self) -> int:
        return self.concurrency

    def _each(self, space: str) -> dict[str, float]:
        """What bounds the trials of a space on a node: those that wait for stages are at most four
        a core.
        """
        asked = self.asks(space)
        return asked if LEARNERS[space].holds_cores else {**asked, "CPU": 1 / MOST_TRIALS_A_CORE}


def fits(node: Resources, asked: Resources) -> int:
    """Trials that a node holds at a time; a share of a GPU is a share of one."""
    room = []
    for name, each in asked.items():
        there = node.get(name, 0.0)
        whole = name == "GPU" and each <= 1
        room.append(
            int(there) * math.floor(1 / each + 1e-9) if whole else math.floor(there / each + 1e-9)
        )
    return min(room, default=0)
