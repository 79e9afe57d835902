"""Part 2 of the report again: its networks, trained in full on a CUDA GPU, and shortened without
one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from analysis.plan.plan import Plan, make_plan
from search.reproduce.knn import PLANS, TableFacts, listing
from search.reproduce.parts import KeptParts, Printer
from search.screen.progress import clock
from spaces import CnnConfig
from trainables.data import Dataset, ReadOptions, read_dataset
from trainables.data.dataset import Split
from trainables.stages.stage import code_version


@dataclass(frozen=True)
class Shortened:
    """What is left of a training where there is no CUDA GPU.

    Attributes:
        epochs: passes over the training images.
        images: training images of each class.
        validation: validation images of each class.
    """

    epochs: int
    images: int
    validation: int


class Networks:
    """The networks of ``plans/report/networks.yaml``, trained one after the other and kept as
    parts.

    Args:
        folder: CIFAR-10 as image files with train and val, or as torchvision keeps it.
        full: train in full although there is no GPU.
    """

    def __init__(self, folder: Path, parts: KeptParts, say: Printer, full: bool = False) -> None:
        import torch

        settings = yaml.safe_load((PLANS / "networks.yaml").read_text(encoding="utf-8"))
        self._parts, self._say = parts, say
        self._spec = f"folder:{folder}" if (folder / "train").is_dir() else f"cifar10:{folder}"
        self._listing = listing(folder) if self._spec.startswith("folder:") else [(self._spec, 0)]
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._shortened = (
            None if full or self._device == "cuda" else Shortened(**settings["shortened"])
        )
        self._plans = {
            name: self._plan(settings["plan"], name, own)
            for name, own in settings["networks"].items()
        }

    @staticmethod
    def _plan(shared: Mapping[str, Any], name: str, own: Mapping[str, Any]) -> Plan:
        return make_plan(
            {**shared, "set": {**shared["set"], **own}}, f"{PLANS / 'networks.yaml'}, {name}"
        )

    @cached_property
    def _dataset(self) -> Dataset:
        return read_dataset(self._spec, ReadOptions(color="rgb"))

    def config(self, name: str) -> CnnConfig:
        """The one configuration that a network's plan fixes."""
        (space,) = self._plans[name].search_spaces().values()
        (point,) = space.grid()
        return CnnConfig.of(space.check(point))

    def trained(self, name: str) -> TableFacts:
        """A network's ``history`` (metrics by epoch), final ``metrics``, sizes, and what was
        shortened.
        """
        plan, cut = self._plans[name], self._shortened
        how = {
            "epochs": cut.epochs if cut else plan.training.epochs,
            "size": plan.training.side,
            "seed": plan.seed,
        }
        what = {
            "config": asdict(self.config(name)),
            **how,
            "cut": asdict(cut) if cut else None,
            "device": self._device,
        }
        label = f"{name}, {how['epochs']} epochs" + (" (shortened)" if cut else "")
        return self._parts.part(
            f"network-{name}",
            label,
            {**what, "images": self._listing, "code": code_version()},
            lambda kept: self._train(name, how, kept),
        )

    def _train(self, name: str, how: Mapping[str, int], kept: Path) -> TableFacts:
        from trainables.cnn.checkpoint import STATE
        from trainables.cnn.data import CnnData
        from trainables.cnn.images import stack
        from trainables.cnn.layers import MIB
        from trainables.cnn.training import CnnRun

        dataset, cut = self._dataset, self._shortened
        whole = (dataset.train, dataset.val or dataset.test)
        assert whole[1] is not None  # a folder without it is no CIFAR-10
        parts = [
            _some(part, most, how["seed"])
            for part, most in zip(
                whole, (cut.images, cut.validation) if cut else (0, 0), strict=True
            )
        ]
        train, val = ((stack(part.images, how["size"]), part.labels) for part in parts)
        run = CnnRun(
            self.config(name), CnnData(*train, *val), classes=len(dataset.classes),
            epochs=how["epochs"], seed=how["seed"],
            device=self._device, threads=len(os.sched_getaffinity(0)),
        )  # fmt: skip
        if (kept / STATE).is_file():
            run.load(kept)
            self._say(f"  goes on after epoch {run.epoch}")
        while not run.done:
            found = run.step()
            self._say(
                f"  epoch {run.epoch}/{run.epochs}: train_accuracy {found['train_accuracy']:.4f}, "
                f"val_accuracy {found['val_accuracy']:.4f}, {clock(found['seconds'])}"
            )
            run.save(kept)
        sizes = {
            "train": [len(p) for p in (parts[0], whole[0])],
            "validation": [len(p) for p in (parts[1], whole[1]) if p is not None],
        }
        epochs = [run.epochs, self._plans[name].training.epochs]
        return {
            "config": asdict(run.config),
            "history": run.history,
            "metrics": {
                **run.history[-1],
                "model_mb": sum(p.numel() for p in run.net.parameters()) * 4 / MIB,
            },
            "n": len(parts[1]),
            "device": self._device,
            "shortened": bool(cut),
            "cut": _cut_in_words(epochs, sizes) if cut else "",
        }


def _some(part: Split | None, most: int, seed: int) -> Split:
    """At most ``most`` images of each class, drawn with ``seed``; all of them for 0."""
    assert part is not None
    if not most:
        return part
    order = np.random.default_rng(seed).permutation(len(part))
    rows = np.concatenate(
        [order[part.labels[order] == label][:most] for label in np.unique(part.labels)]
    )
    return part.take(np.sort(rows))


def _cut_in_words(epochs: list[int], sizes: Mapping[str, list[int]]) -> str:
    images = [f"{some:,} of {whole:,} {name} images" for name, (some, whole) in sizes.items()]
    return ", ".join([f"{epochs[0]} of {epochs[1]} epochs", *images])
