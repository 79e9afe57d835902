"""The weights of the pretrained networks that a search asks for: found before it begins, and read
once, on the driver's machine, for all nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from analysis.plan.plan import Plan
from spaces import CNN, Space, get_space
from trainables.learners import Learner
from trainables.pretrained.facts import Weights
from trainables.pretrained.network import weights_stage
from trainables.pretrained.weights import absolute, find, find_again
from trainables.stages.stage import Stage

Say = Callable[[str], None]


def with_weights(plan: Plan, whose: str, say: Say) -> tuple[Plan, dict[str, Path]]:
    """The plan with what is known of the weights that it asks for, by which the run keeps them; and
    their files on this machine, by name. What is on no disk here is fetched.

    Args:
        whose: what began with the weights that the plan knows already, for a message.

    Raises:
        BackboneError: if weights cannot be had, or are others than the plan says.
    """
    changed = dict(plan.set)
    for learner in plan.learners:
        if learner.backbones in plan.set:
            asked = get_space(learner.name).narrow({learner.backbones: plan.set[learner.backbones]})
            names = asked[learner.backbones].domain.values()
            changed[learner.backbones] = [absolute(str(name)) for name in names]
    plan = plan.model_copy(update={"set": changed}) if changed != plan.set else plan
    found: dict[str, Weights] = {}
    places: dict[str, Path] = {}
    for name in dict.fromkeys(name for _, _, name in _asked(plan)):
        if name in plan.weights:
            found[name] = plan.weights[name]
            places[name] = find_again(found[name], whose, say)
        else:
            found[name], places[name] = find(name, say)
    before = plan.weights if plan.training.start_from else {}  # those of the bundle
    return plan.model_copy(update={"weights": {**before, **found}}), places


def _asked(plan: Plan) -> Iterator[tuple[Learner, Space, str]]:
    """(learner, its space as it is searched, name) of each backbone that the plan asks for."""
    spaces = plan.search_spaces()
    for learner in plan.learners:
        if plan.training.start_from and learner.name == CNN.name:
            continue  # networks begin with what the bundle holds
        space = spaces[learner.name]
        for parameter in space.parameters:  # one that can make no difference is left out
            if parameter.name == learner.backbones:
                for name in parameter.domain.values():
                    yield learner, space, str(name)


class Backbones:
    """The weights of a search on Ray, read by a task on the driver's node; the others are handed
    them by Ray.
    """

    def __init__(self, ray: Any, plan: Plan, places: dict[str, Path]) -> None:
        self._ray = ray
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        task = partial(ray.remote, num_cpus=0, max_retries=2, scheduling_strategy=here)
        read, check = task()(_read), task()(_check)
        self._stages = {
            name: weights_stage(plan.weights[name], place) for name, place in places.items()
        }
        self._read = {name: read.remote(stage) for name, stage in self._stages.items()}
        self._checks = [
            check.remote(learner, space, plan.weights[name])
            for learner, space, name in _asked(plan)
        ]

    def known(self) -> dict[Stage, Any]:
        """References to the tensors, by the stages that would read them.

        Raises:
            BackboneError: if a file holds no weights of its network, or the network cannot do what
                is asked of it.
        """
        try:
            self._ray.get([*self._checks, *self._read.values()])
        except self._ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, ValueError) else error) from None
        return {stage: self._read[name] for name, stage in self._stages.items()}


def _read(stage: Stage) -> Any:
    return stage.function(**stage.parameters)


def _check(learner: Learner, space: Space, weights: Weights) -> None:
    if learner.fits:
        learner.fits(space, weights)
