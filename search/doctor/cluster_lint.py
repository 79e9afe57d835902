"""What Ray does not check in a cluster file: names, files, image, and whether trials find what they
ask for.
"""

from __future__ import annotations

import difflib
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.plan.plan import Plan
from search.cluster.capacity import NETWORK_CORES
from search.doctor.cluster_exposure import EXPOSURE
from search.doctor.cluster_file import ClusterFile, Finding, NodeType, prepared, read
from search.doctor.cluster_keys import NODE_CONFIG, PROVIDER
from search.doctor.versions import Pins

GPU_MACHINE = re.compile(r"^(g\d|gr\d|p\d)")
"""AWS families with NVIDIA GPUs."""
MOUNTPOINT = re.compile(
    r"(?<!! )\bmountpoint\s+(?:(?:-q|--quiet)\s+)?['\"]?([^\s;&|'\"]++)['\"]?+"
    r"(?!\s*\|\|\s*(?:true|:)(?:\s|$))"
)
"""A check that something is mounted; not one that is turned round, or whose failure is passed
over.
"""


@dataclass(frozen=True)
class Needs:
    """What one trial asks a worker for."""

    gpus: float = 1.0
    cpus: float = 1.0

    @classmethod
    def of(cls, plan: Plan | None) -> Needs:
        """Of a plan's trials; without a plan, those of a network as nobody has narrowed it."""
        if plan is None:
            return cls()
        holding = any(learner.holds_cores for learner in plan.learners)
        return cls(
            1.0 if plan.gpus_per_trial is None and plan.uses_gpus else plan.trial_gpus,
            float(plan.training.cpus_per_trial) if holding else 1.0,
        )


def lint(path: Path, pins: Pins, needs: Needs) -> list[Finding]:
    """Everything wrong with a cluster file that can be seen without a network.

    Raises:
        UserError: if there is no such file, or it is no YAML.
    """
    cluster, findings = prepared(read(path))
    if cluster is None:
        return findings
    rules: Sequence[tuple[str, Callable[[ClusterFile], Iterator[str]]]] = (
        ("unknown-key", unknown_keys),
        ("missing-file", missing_files),
        ("image", lambda file: images(file, pins)),
        ("own-commands", own_commands),
        ("head-trials", head_trials),
        ("worker-resources", lambda file: worker_resources(file, needs)),
        ("min-workers", min_workers),
        ("storage", storage),
        *EXPOSURE,
    )
    return [
        *findings,
        *(
            Finding(name, message)
            for name, rule in rules
            for message in dict.fromkeys(rule(cluster))
        ),
    ]


def unknown_keys(file: ClusterFile) -> Iterator[str]:
    """Ray accepts any key of a provider or a machine, and passes over those it does not know."""
    if file.kind in PROVIDER:
        for key in file.provider:
            yield from _unknown(f"provider.{key}", key, PROVIDER[file.kind])
    if file.kind == "aws":
        for node in file.types:
            for key in node.node_config:
                yield from _unknown(f"{node.name}.node_config.{key}", key, NODE_CONFIG)


def _unknown(where: str, key: str, known: frozenset[str]) -> Iterator[str]:
    if key not in known:
        close = difflib.get_close_matches(key, known, 1)
        yield (
            f"{where} is not a key that Ray or AWS "
            f"knows{f'; did you mean {close[0]}?' if close else ''}"
        )


def missing_files(file: ClusterFile) -> Iterator[str]:
    """Ray finds out when the machine is paid for."""
    named = {
        f"file_mounts.{target}": source
        for target, source in file.config.get("file_mounts", {}).items()
    }
    named |= {
        f"auth.{key}": file.config["auth"][key]
        for key in ("ssh_private_key", "ssh_public_key")
        if key in file.config["auth"]
    }
    for where, source in named.items():
        if not Path(str(source)).expanduser().exists():
            make = (
                "; `ray get-auth-token --generate` makes it"
                if str(source).endswith(".ray/auth_token")
                else ""
            )
            yield f"{where}: there is no {source} here{make}"


def images(file: ClusterFile, pins: Pins) -> Iterator[str]:
    """Ray refuses nodes of another Ray or Python, and a tag that moves is another image
    tomorrow.
    """
    want = f"ray{pins.ray}-py{pins.python}"
    for node in file.types:
        if not node.image and file.kind == "aws":
            yield f"{node.name} has no docker image; name one whose tag ends with {want}"
        elif node.image:
            tag = node.image.rpartition("/")[2].partition(":")[2].partition("@")[0]
            if tag != want and not tag.endswith(f"-{want}"):
                yield (
                    f"{node.name} runs {node.image}, whose tag must end with {want}, the "
                    "versions of constraints.txt"
                )


def own_commands(file: ClusterFile) -> Iterator[str]:
    """Ray fills what is left out with commands of its own, which install another Ray than ours."""
    for node in file.types:
        for command in node.commands:
            if re.search(
                r"ray-wheels/latest|pip3? install (-U |--upgrade )?['\"]?ray\b(?!\S*==)", command
            ):
                yield (
                    "setup_commands are Ray's defaults, which install another Ray; write "
                    "`setup_commands: []`"
                )


def head_trials(file: ClusterFile) -> Iterator[str]:
    """A trial on the head competes with driver, object directory and MLflow, and dies of it with
    all of them.
    """
    head, start = file.head, " ".join(file.head.commands)
    zero = {
        name: re.search(rf"--{flag}[= ]0(?!\S)", start)
        for name, flag in (("CPU", "num-cpus"), ("GPU", "num-gpus"))
    }
    cpus = head.resources.get("CPU")
    if cpus or (cpus is None and not zero["CPU"]):
        yield (
            f"{head.name} would run trials ({f'{cpus:g}' if cpus else 'all its'} CPUs); set "
            "its resources to {CPU: 0}"
        )
    gpus = head.resources.get("GPU")
    if gpus or (gpus is None and not zero["GPU"] and _has_gpus(head)):
        yield f"{head.name} would run trials on its GPUs; set its resources to {{CPU: 0, GPU: 0}}"
    if head.resources.get(NETWORK_CORES):
        yield f"{head.name} offers {NETWORK_CORES}, which only trials ask for; leave it out"


def worker_resources(file: ClusterFile, needs: Needs) -> Iterator[str]:
    """A trial that no worker can hold waits for ever, and the autoscaler brings nothing."""
    if file.kind == "local":
        if f'"{NETWORK_CORES}"' not in " ".join(
            command for node in file.workers for command in node.commands
        ).replace("\\", ""):
            yield (
                f"workers offer no {NETWORK_CORES}, which networks ask for; add "
                f"--resources='{{\"{NETWORK_CORES}\": N}}' to ray start"
            )
        return
    if not file.workers:
        yield "there is no worker type, so no trial could run; add one"
    for node in file.workers:
        yield from _too_little(node, needs)
    if file.workers and not any(_fits(node, needs) for node in file.workers):
        yield (
            f"no worker type offers what a trial asks for (GPU {needs.gpus:g}, CPU {needs.cpus:g})"
        )


def _fits(node: NodeType, needs: Needs) -> bool:
    return (
        node.resources.get("GPU", 0) >= needs.gpus
        and node.resources.get("CPU", needs.cpus) >= needs.cpus
    )


def _too_little(node: NodeType, needs: Needs) -> Iterator[str]:
    gpus, cpus, cores = (node.resources.get(name, 0) for name in ("GPU", "CPU", NETWORK_CORES))
    if (gpus or _has_gpus(node)) and gpus < needs.gpus:
        yield (
            f"{node.name} offers GPU: {gpus:g}, but a trial asks for {needs.gpus:g}; offer "
            "that, or take a larger machine"
        )
    if "CPU" in node.resources and cpus < needs.cpus:
        yield (
            f"{node.name} offers CPU: {cpus:g}, but a trial asks for {needs.cpus:g}; offer "
            "that, or take a larger machine"
        )
    if cores < needs.cpus:
        yield (
            f"{node.name} offers {NETWORK_CORES}: {cores:g}, but a network asks for as many "
            "as CPUs; set it to the machine's CPUs"
        )


def _has_gpus(node: NodeType) -> bool:
    return bool(GPU_MACHINE.match(str(node.node_config.get("InstanceType", ""))))


def min_workers(file: ClusterFile) -> Iterator[str]:
    """Idle GPUs are the bill nobody meant to pay. Machines of one's own cost nothing to keep."""
    for node in file.workers:
        least = node.settings.get("min_workers", 0)
        if (
            least
            and file.kind != "local"
            and (
                node.resources.get("GPU")
                or GPU_MACHINE.match(str(node.node_config.get("InstanceType", "")))
            )
        ):
            yield f"{node.name} keeps {least} GPU machines while nothing runs; set min_workers to 0"


def storage(file: ClusterFile) -> Iterator[str]:
    """What one node writes another must read: checkpoints of a trial that moves, and its
    results.
    """
    places = {node.environment.get("VISIONTUNE_RUNS", "") for node in file.types}
    if len(places) > 1:
        yield (
            "nodes disagree about VISIONTUNE_RUNS "
            f"({', '.join(sorted(repr(place) for place in places))}); give all the same"
        )
    for node in file.types:
        place = node.environment.get("VISIONTUNE_RUNS", "")
        if not place:
            yield (
                "VISIONTUNE_RUNS is not set, so each node would have a runs directory of its "
                "own; set it to s3://… or a mounted folder"
            )
        elif not re.match(r"(s3|gs)://.", place) and not _mounted(place, node.commands):
            yield (
                f"VISIONTUNE_RUNS is {place}, a folder of each node alone; use s3://…, or have "
                "initialization_commands check "
                "with `mountpoint -q` that a network file system is there"
            )


def _mounted(place: str, commands: Sequence[str]) -> bool:
    """Whether a command makes sure that something is mounted at ``place`` or above it, and fails if
    not.
    """
    checked = (match for command in commands for match in MOUNTPOINT.findall(command))
    points = [posixpath.normpath(point) for point in checked if point.startswith("/")]
    return place.startswith("/") and any(
        point != "/" and posixpath.commonpath([point, posixpath.normpath(place)]) == point
        for point in points
    )
