"""What a trial asks of the machine, and how many there is room for at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from analysis.plan.complaints import PlanError
from analysis.plan.plan import Plan
from trainables.learners import LEARNERS, Learner
from trainables.stages.registry import TRIAL_CPUS

MORE_TRIALS_THAN_CORES = 1
"""Trials that wait for stages: one more than there are cores keeps the cores busy."""
MOST_TRIALS_A_CORE = 4
"""TRIAL_CPUS x 4 + STAGE_CPUS is one core."""
NETWORK_CORES = "network_cores"
"""Ray resource: cores that trials may hold, as those that train networks do. Where others are
searched beside them one core is left to their stages.
"""


@dataclass(frozen=True)
class Capacity:
    """Room for the trials of one plan.

    Attributes:
        cores: as Ray is told.
        gpus: as Ray found them.
    """

    plan: Plan
    cores: int
    gpus: float = 0.0

    @classmethod
    def of(cls, plan: Plan, cores: int) -> Capacity:
        """Room on ``cores``, before it is known what GPUs there are; a single core is called two
        where trials that hold cores share it with stages.
        """
        return cls(plan, max(cores, 2) if cls._holding(plan) and cls._others(plan) else cores)

    @staticmethod
    def _holding(plan: Plan) -> list[Learner]:
        return [learner for learner in plan.learners if learner.holds_cores]

    @staticmethod
    def _others(plan: Plan) -> list[Learner]:
        return [learner for learner in plan.learners if not learner.holds_cores]

    @property
    def network_cores(self) -> int:
        return self.cores - 1 if self._others(self.plan) else self.cores

    @property
    def stage_cores(self) -> int:
        """Cores that no trial holds."""
        return self.cores - self.network_cores if self._holding(self.plan) else self.cores

    def asks(self, space: str) -> dict[str, float]:
        """Ray resources of a trial of ``space``."""
        plan = self.plan
        gpus = plan.gpus_of(space)
        asked = {"CPU": TRIAL_CPUS, **({"GPU": gpus} if gpus else {})}
        if LEARNERS[space].holds_cores:
            asked |= {
                "CPU": float(plan.training.cpus_per_trial),
                NETWORK_CORES: float(plan.training.cpus_per_trial),
            }
        return asked

    @property
    def alike(self) -> bool:
        """Whether all trials ask for the same."""
        return len({tuple(self.asks(space).items()) for space in self.plan.spaces}) == 1

    @property
    def concurrency(self) -> int:
        """Trials at once: as the plan says, but no more than there is room for, or proposals would
        wait while others end.
        """
        plan = self.plan
        networks = self._networks() if self._holding(plan) else 0
        left = self.stage_cores
        if not left:
            return min(plan.concurrency or networks, networks)
        waiting = self._on_gpus(MOST_TRIALS_A_CORE * left, self._others(plan))
        return min(plan.concurrency or networks + left + MORE_TRIALS_THAN_CORES, networks + waiting)

    @property
    def most(self) -> int:
        """Trials at once that a plan could ask for."""
        all_ = self.plan.model_copy(update={"concurrency": MOST_TRIALS_A_CORE * self.cores})
        return max(self.concurrency, replace(self, plan=all_).concurrency)

    def now(self) -> int:
        """Trials at once as things stand; on one machine a plan alone changes that."""
        return self.concurrency

    def _networks(self) -> int:
        """Trials that hold cores at once.

        Raises:
            PlanError: if there is room for none.
        """
        plan, each = self.plan, self.plan.training.cpus_per_trial
        if each > self.network_cores:
            kept = (
                ", one of them kept for the stages of the other spaces"
                if self._others(plan)
                else ""
            )
            raise PlanError(
                f"training.cpus_per_trial is {each}, but there are {self.cores} cores{kept}; "
                "lower it"
            )
        return self._on_gpus(self.network_cores // each, self._holding(plan))

    def _on_gpus(self, most: int, learners: list[Learner]) -> int:
        """At most ``most`` trials of these learners, by what GPUs there are if all take some.

        Raises:
            PlanError: if there are too few for one trial.
        """
        share = self.plan.trial_gpus
        if not share or any(learner.gpu == "none" for learner in learners):
            return most
        room = (
            int(self.gpus) * math.floor(1 / share + 1e-9) if share <= 1 else int(self.gpus // share)
        )
        if not room:
            raise PlanError(
                f"gpus_per_trial is {share:g}, but Ray finds {self.gpus:g} GPUs here; lower it, "
                "or set it to 0"
            )
        return min(most, room)
