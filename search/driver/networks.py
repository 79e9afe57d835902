"""What a search whose trials are trained needs beside the others: GPUs, settings that they share,
weights to start from.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from analysis.bundle.bundle import read_bundle, read_facts
from analysis.plan.complaints import PlanError
from analysis.plan.plan import Plan
from analysis.run.directory import RunDirectory
from analysis.run.working_copy import place_of
from spaces import CNN, CnnConfig
from spaces.domain import Value
from spaces.objectives import JUDGED_BY, METRICS
from spaces.ours.tuning import PRETRAINED
from trainables.contract.assignment import Shared, TrainingSettings
from trainables.io.files import write_whole
from trainables.io.remote import join_place
from trainables.pretrained.weights import architecture_of


def on_this_machine(plan: Plan, gpus: float) -> Plan:
    """The plan with the GPUs that a trial gets decided: one where there are any, the learner uses
    one and the plan does not say.
    """
    if plan.gpus_per_trial is not None or not plan.uses_gpus:
        return plan
    return plan.model_copy(update={"gpus_per_trial": min(gpus, 1.0)})


def with_start(plan: Plan) -> Plan:
    """The plan with architecture and image size of the bundle that its networks start from, if they
    start from one.

    Raises:
        PlanError: if that bundle cannot be started from, or the plan says otherwise.
        BundleError: if it cannot be read.
    """
    training = plan.training
    if not training.start_from:
        return plan
    if CNN.name not in plan.spaces:
        raise PlanError(
            "training.start_from is for networks, but the plan searches "
            f"{', '.join(plan.spaces)}; leave it out"
        )
    facts = read_bundle(Path(training.start_from)).facts
    size = facts.preprocessing.size
    if facts.kind != "cnn" or size is None:
        raise PlanError(
            f"training.start_from: {training.start_from} holds a {facts.kind} classifier, and "
            "only networks can be started from"
        )
    if training.image_size not in (None, size):
        raise PlanError(
            f"training.image_size is {training.image_size}, but the network to start from sees "
            f"{size}; leave it out"
        )
    network = CnnConfig.of(facts.config)
    fixed: dict[str, Value] = {"model": network.model, **network.tweaks()}
    if "side" in plan.set:
        fixed["side"] = size
    narrowed = plan.search_spaces()[CNN.name]
    for name, value in fixed.items():
        if name in plan.set and value not in narrowed[name].domain:
            raise PlanError(
                f"set.{name} is {plan.set[name]}, but the network to start from has {value}; "
                "leave it out"
            )
    weights = {facts.weights.name: facts.weights} if facts.weights else {}
    changes = {
        "weights": {**plan.weights, **weights},
        "set": {**plan.set, **fixed},
        "training": training.model_copy(update={"image_size": size}),
    }
    return plan.model_copy(update=changes)


def keep_start(plan: Plan, folder: RunDirectory) -> None:
    """Copy what networks start from into the run, which then depends on nothing outside it."""
    if plan.training.start_from:
        for name in ("bundle.json", "model.safetensors"):
            write_whole(folder.start / name, (Path(plan.training.start_from) / name).read_bytes())


def start_warning(plan: Plan, folder: RunDirectory, fingerprint: str) -> str:
    """What makes validation on these images worthless, if the network to start from has been
    trained on them.
    """
    if plan.training.start_from:
        facts = read_facts(folder.start)
        if facts.refit and facts.fingerprint == fingerprint:
            return (
                "the network to start from was trained on the very images that this search "
                "validates on, so its figures say little"
            )
    return ""


def find_precision(ray: Any, plan: Plan) -> Any:
    """A reference to the number format that is fastest where trials will run; None where the plan
    says which, or trains nothing.

    One process finds it for all: each for itself would find another now and then.
    """
    trains = any(learner.gpu == "any" for learner in plan.learners)
    if not trains or plan.training.precision != "auto":
        return None
    options = {"num_cpus": 0, "num_gpus": plan.trial_gpus, "max_retries": 2}
    device = "cuda" if plan.trial_gpus else "cpu"
    return ray.remote(_fastest).options(**options).remote(device, _architectures(plan))


def _architectures(plan: Plan) -> tuple[str, ...]:
    """The networks of timm's that a search trains."""
    narrowed = plan.search_spaces().get(CNN.name)
    if narrowed is None or PRETRAINED not in narrowed["model"].domain.values():
        return ()
    names = (str(name) for name in narrowed["backbone"].domain.values())
    return tuple(dict.fromkeys(map(architecture_of, names)))


def _fastest(device: str, architectures: tuple[str, ...]) -> str:
    from trainables.cnn.precision import NAMES, measured_dtype  # the driver loads no torch

    return NAMES[measured_dtype(device, architectures)]


def with_precision(ray: Any, plan: Plan, found: Any) -> Plan:
    """The plan with what ``find_precision`` found, by which the run keeps it."""
    if found is None:
        return plan
    settled = plan.training.model_copy(update={"precision": ray.get(found)})
    return plan.model_copy(update={"training": settled})


def stage_device(ray: Any, plan: Plan, gpus: float, say: Callable[[str], None]) -> str:
    """Where stages compute that can do so on a GPU: there, if there are GPUs that work and no trial
    takes one, beside which a stage would take memory and time.
    """
    from trainables.stages.device import CORES, card

    if gpus < 1 or not any(one.work for one in plan.learners) or _taken(plan):
        return CORES
    first = ray.get(ray.remote(card).options(num_cpus=0, num_gpus=1, max_retries=2).remote())
    if first.problem:
        say(f"warning: stages are computed on the cores: GPU {first}: {first.problem}")
        return CORES
    return "cuda"


def _taken(plan: Plan) -> bool:
    return any(plan.gpus_of(space) for space in plan.spaces)


def training_settings(plan: Plan, folder: RunDirectory) -> TrainingSettings:
    """How the trials of a search are trained."""
    training, objective = (
        plan.training,
        plan.objective if plan.objective in JUDGED_BY else "val_accuracy",
    )
    place = place_of(folder.path)
    return TrainingSettings(
        epochs=training.epochs,
        image_size=training.side,
        cpus_per_trial=training.cpus_per_trial,
        compile=training.compile,
        deterministic=training.deterministic,
        precision=training.precision,
        accumulate=training.accumulate,
        patience=training.patience,
        parts=plan.parts,
        gpus=plan.trial_gpus,
        objective=objective,
        maximize=METRICS[objective].direction == "maximize",
        start=join_place(place, folder.start.name, "model.safetensors")
        if training.start_from
        else "",
        start_classes=read_facts(folder.start).classes if training.start_from else (),
    )


def prepare(ray: Any, registry: Any, plan: Plan, shared: Shared) -> None:
    """Have the stages made that all trials of a learner wait for, before any holds a core."""
    for learner in plan.learners:
        if learner.prepare is None:
            continue
        references, _ = ray.get(registry.request.remote(*learner.prepare(shared)))
        try:
            ray.get(references)
        except ray.exceptions.RayTaskError as error:
            raise (
                error.cause if isinstance(error.cause, ValueError | RuntimeError) else error
            ) from None
