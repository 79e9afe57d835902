"""The report's tables, made again from the plans in ``plans/report`` with its numbers beside ours.

The report chose by test accuracy, so these tables show test accuracy. Nothing else in
visiontune selects on test images.
"""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from analysis.plan.complaints import PlanError
from search.reproduce.knn import (
    PLANS,
    Scenes,
    TableFacts,
    accuracy_table,
    confusion_table,
    needed,
    tiny_ladder,
)
from search.reproduce.parts import KeptParts, Printer
from trainables.stages.stage import NO_CACHE, Cache

if TYPE_CHECKING:
    from search.reproduce.networks import Networks

OF_SCENES, OF_NETWORKS = ("1", "2", "3", "4"), ("5", "6", "7")
PRINTED_SIZES = {
    "parameters_mb": "Params size (MB)",
    "passes_mb": "Forward/backward pass size (MB)",
    "total_mb": "Estimated Total Size (MB)",
}
AVAILABLE = (*OF_SCENES, *OF_NETWORKS, "architecture", "ladder")


@dataclass(frozen=True)
class TableRequest:
    """What is to be made again.

    Attributes:
        tables: some of ``AVAILABLE``; all whose images are given if empty.
        scenes: folder of the 15 scenes, with train and test.
        cifar: folder of CIFAR-10.
        seeds: vocabularies that tables 3 and 4 are made with, from seed 0 on.
        full: train networks in full, although there is no CUDA GPU.
    """

    tables: tuple[str, ...] = ()
    scenes: Path | None = None
    cifar: Path | None = None
    seeds: int = 3
    full: bool = False

    def wanted(self) -> tuple[str, ...]:
        """The tables to make, in order.

        Raises:
            PlanError: for a table that is not available, or whose images are not given.
        """
        unknown = [number for number in self.tables if number not in AVAILABLE]
        if unknown:
            raise PlanError(
                f"--tables must name tables among {', '.join(AVAILABLE)}, but got "
                f"{', '.join(unknown)}"
            )
        there = {
            **dict.fromkeys(OF_SCENES, self.scenes),
            **dict.fromkeys(OF_NETWORKS, self.cifar),
            "ladder": self.scenes or self.cifar,
        }
        chosen = self.tables or tuple(
            number for number in AVAILABLE if there.get(number, self.scenes or self.cifar)
        )
        for number in chosen:
            if number in OF_SCENES and self.scenes is None:
                raise PlanError(
                    f"table {number} needs the 15 scenes: give --scenes DIR with "
                    "train/CLASS/*.jpg and test/CLASS/*.jpg"
                )
            if number in OF_NETWORKS and self.cifar is None:
                raise PlanError(
                    f"table {number} needs CIFAR-10: give --cifar DIR with train/CLASS/*.jpg "
                    "and val/CLASS/*.jpg"
                )
            if number == "ladder" and there["ladder"] is None:
                raise PlanError(
                    "the ladder needs --scenes DIR, the 15 scenes, or --cifar DIR, CIFAR-10, or "
                    "both"
                )
        if not chosen:
            raise PlanError(
                "give --scenes DIR (the 15 scenes, tables 1 to 4), --cifar DIR (CIFAR-10, "
                "tables 5 to 7), or both"
            )
        return tuple(number for number in AVAILABLE if number in chosen)


@dataclass(frozen=True)
class Reproduced:
    """What was made again.

    Attributes:
        tables: ``table1`` to ``table7``, ``architecture`` and ``ladder``, each with its ``title``
            and what ``analysis.report.reproduced`` shows of it. Tables 2 to 4 are {title, split, n,
            report, ours}, with ``k`` or ``step`` as the label of their columns. Where vocabularies
            are drawn, ``ours`` is the mean over the seeds, ``spread`` the standard deviation of
            several, and ``by_seed`` has each.
        seconds: that its parts took together, whenever each was made.
    """

    tables: dict[str, TableFacts]
    seconds: float


def reproduce(
    request: TableRequest, out: Path, cache: Cache = NO_CACHE, say: Printer = lambda line: None
) -> Reproduced:
    """The tables asked for; what is finished in ``out`` is not made again.

    Args:
        cache: of stages; a table that was stopped goes on from it.
        say: told one line at a time how far it is.

    Raises:
        PlanError: for a table that is not available, or missing images.
        DatasetError: for images that cannot be read.
    """
    wanted = request.wanted()
    theirs = yaml.safe_load((PLANS / "numbers.yaml").read_text(encoding="utf-8"))
    parts = KeptParts(out / "parts", say)
    configs, networks, names, scenes = [], None, list[str](), None
    if request.scenes and (configs := needed(wanted, request.seeds)):
        scenes = Scenes(request.scenes, parts, cache)
    if request.cifar and (names := _networks_of(wanted, theirs)):
        # torch takes seconds, and tables 1 to 4 need none
        from search.reproduce.networks import Networks

        networks = Networks(request.cifar, parts, say, request.full)
    parts.total = len(configs) + len(names)
    for config, seed in configs if scenes else ():
        scenes.judged(config, seed)  # type: ignore[union-attr]
    for name in names if networks else ():
        networks.trained(name)  # type: ignore[union-attr]
    found: dict[str, TableFacts] = {}
    for number in wanted:
        name = f"table{number}" if number.isdigit() else number
        found[name] = _table(number, theirs[name], scenes, networks, request.seeds)
    return Reproduced(found, parts.seconds)


def _networks_of(wanted: tuple[str, ...], theirs: Mapping[str, Any]) -> list[str]:
    """The networks to train, in order."""
    names = [*theirs["table5"]["networks"]] if "5" in wanted else []
    names += [theirs[f"table{number}"]["network"] for number in ("6", "7") if number in wanted]
    names += (
        [step["network"] for step in theirs["ladder"]["steps"] if "network" in step]
        if "ladder" in wanted
        else []
    )
    return list(dict.fromkeys(names))


def _table(
    number: str,
    theirs: Mapping[str, Any],
    scenes: Scenes | None,
    networks: Networks | None,
    seeds: int,
) -> TableFacts:
    if number == "architecture":
        return _architectures(theirs)
    if number == "ladder":
        return _ladder(theirs, scenes, networks)
    if number in OF_NETWORKS:
        assert networks is not None  # seen by TableRequest.wanted
        if number == "5":
            trained = {
                name: {**networks.trained(name), "report": figures}
                for name, figures in theirs["networks"].items()
            }
            return {"title": theirs["title"], "networks": trained}
        return {
            "title": theirs["title"],
            "network": theirs["network"],
            **networks.trained(theirs["network"]),
        }
    assert scenes is not None
    return (
        confusion_table(theirs, scenes)
        if number == "1"
        else accuracy_table(number, theirs, scenes, seeds)
    )


def _ladder(
    theirs: Mapping[str, Any], scenes: Scenes | None, networks: Networks | None
) -> TableFacts:
    """Every step with the accuracy that it has here; those whose images are not given are left
    out.
    """
    tiny = tiny_ladder(scenes) if scenes else {}
    steps = []
    for step in theirs["steps"]:
        facts = {
            name: step[name] for name in ("what", "accuracy", "above", "below") if name in step
        }
        if "tiny" in step and scenes:
            found = tiny[step["tiny"]["metric"], step["tiny"]["norm"]]
            steps.append(
                {
                    **facts,
                    "ours": found["accuracy"],
                    "n": len(found["labels"]),
                    "split": "test",
                    "cut": "",
                }
            )
        if "network" in step and networks:
            found = networks.trained(step["network"])
            metric = step.get("metric", "val_accuracy")
            # a size is the same however long it is trained
            cut = found["cut"] if metric == "val_accuracy" else ""
            facts |= {
                "ours": found["metrics"][metric],
                "metric": metric,
                "n": found["n"],
                "split": "validation",
                "cut": cut,
            }
            if "below_network" in step:
                facts |= {
                    "below": networks.trained(step["below_network"])["metrics"][metric],
                    "other": step["below_network"],
                }
            steps.append(facts)
    return {"title": theirs["title"], "steps": steps}


def _architectures(theirs: Mapping[str, Any]) -> TableFacts:
    """Both networks as PyTorch and torchsummary print them, row by row beside the report's
    tables.
    """
    import torch

    from trainables.cnn.layers import architecture, layer_table
    from trainables.cnn.models import build

    rows = json.loads((PLANS / "layer_tables.json").read_text(encoding="utf-8"))
    networks = {}
    for name, report in theirs["networks"].items():
        with torch.device("meta"):
            net = build(name, 10, 32, {})
        table = layer_table(net, 32)
        ours = [[layer.name, list(layer.output_shape), layer.parameters] for layer in table.layers]
        printed = str(table)
        sizes = {
            key: float(re.findall(rf"{re.escape(line)}: ([0-9.]+)", printed)[0])
            for key, line in PRINTED_SIZES.items()
        }
        same = sum(a == b for a, b in zip(ours, rows[name], strict=False))
        networks[name] = {
            "report": report, "ours": {"layers": len(ours), "parameters": table.total_parameters,
            **sizes}, "same_rows": same,
            "architecture": architecture(net), "layers": printed,
        }  # fmt: skip
    return {"title": theirs["title"], "networks": networks}


def machine() -> str:
    """Describe this machine in words: its cores, its architecture and its Python."""
    return (
        f"{len(os.sched_getaffinity(0))} cores, {platform.machine()}, Python "
        f"{platform.python_version()}"
    )
