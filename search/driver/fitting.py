"""Which spaces a search tries where none is named: those that fit the images, the machine and the
time.
"""

from __future__ import annotations

import multiprocessing
import os
import random
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from analysis.plan.complaints import PlanError
from analysis.plan.plan import make_plan
from analysis.plan.seen import MAX_SIDE
from analysis.plan.settings import NO_DATASET
from analysis.plan.training import Training
from search.study.combinations import check_combination
from spaces import BAG_OF_SIFT, CNN, EMBEDDING, TINY_IMAGE, CnnConfig
from spaces.kinds import function_of
from trainables.data import ReadOptions, absolute_spec, read_dataset
from trainables.data.options import fitting_size
from trainables.data.source import shorter_side
from trainables.data.spec import reader_of
from trainables.images.image_file import read_header
from trainables.learners import LEARNERS
from trainables.pretrained.facts import BackboneError
from trainables.pretrained.packaged import BACKBONES

FITTING = (TINY_IMAGE.name, EMBEDDING.name, BAG_OF_SIFT.name, CNN.name)
"""In the order in which they are tried first."""
MOST = 500
"""Characters of a refusal."""
OPENED = 64
"""Image files whose size is looked at."""
PHOTOGRAPH = 96
"""Pixels of the shorter side from which a picture has descriptors worth counting."""
EPOCHS = 4
"""Fewer would say little about a network."""
LOOK, TRAINING = 0.5, 0.25
"""Of the time that a network's first look at all images may take, and a training."""


@dataclass(frozen=True)
class Look:
    """What is known of images before they are read.

    Attributes:
        train: those to learn from.
        images: those that a search sees: all but the test's.
        shorter: median of their shorter sides as a search reads them, pixels.
    """

    train: int
    images: int
    classes: int
    shorter: int


@dataclass(frozen=True)
class Machine:
    """What decides how long anything takes.

    Attributes:
        seen: seconds of one core for one image through the default backbone; 0 if not asked for.
        trained: seconds of one core for one image of one epoch of the default network.
    """

    cores: int
    gpus: int
    seen: float
    trained: float


def fill_in(settings: dict[str, Any], say: Callable[[str], None]) -> None:
    """Write the spaces that fit into the settings of a plan that names none, and with what shares,
    and epochs, they are searched; ``say`` is told which and why, in one line.

    Raises:
        PlanError: if there is no limit of time to go by.
        DatasetError: if the images cannot be read.
    """
    seconds = (settings.get("limits") or {}).get("seconds")
    dataset = settings.get("dataset", NO_DATASET)
    if dataset == NO_DATASET or not isinstance(seconds, int | float) or seconds <= 0:
        raise PlanError(
            "give a PLAN.yaml or --space NAME (visiontune spaces lists the names), or a --dataset "
            "and --minutes N: then the spaces that fit are searched"
        )
    against = {name: why for name in FITTING if (why := _against(settings, name))}
    if len(against) == len(FITTING):
        raise PlanError(next(iter(against.values())))
    images = look(dataset, bool(settings.get("skip_unreadable")))
    side = (settings.get("training") or {}).get("image_size") or fitting_size(images.shorter)
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as apart:
        # torch, which takes memory, is loaded in another process
        try:
            found = apart.submit(measured, _has_weights(), images.classes, side).result()
        except BrokenProcessPool:
            raise PlanError(
                "the process that measures this machine died; name the spaces with --space"
            ) from None
    epochs = (settings.get("training") or {}).get("epochs")
    spaces, why, fewer = fitting(images, found, float(seconds), epochs, against)
    if not spaces:
        raise PlanError(f"no space is left to search: {why.partition('; not ')[2]}"[:MOST])
    settings["spaces"] = tuple(spaces)
    if len(spaces) > 1 and not settings.get("tradeoff") and isinstance(
        settings.get("objective", ""), str
    ):  # fmt: skip
        settings.setdefault("shares", "moving")
    if fewer:
        settings["training"] = {**(settings.get("training") or {}), "epochs": fewer}
    say(why)


def _against(settings: dict[str, Any], name: str) -> str:
    """Why a space does not go with what else was asked for; empty if it does."""
    # a parameter may be set that another of the spaces has
    asked = {key: value for key, value in settings.items() if key not in ("set", "try_first")}
    try:
        check_combination(make_plan({**asked, "spaces": (name,)}, "run"))
    except PlanError as error:
        return str(error)
    return ""


def look(spec: str, skip_unreadable: bool) -> Look:
    """The numbers and sizes of images; where a reader lists files, some of them are opened."""
    spec = absolute_spec(spec)
    reader, place = reader_of(spec)
    options = ReadOptions(skip_unreadable=skip_unreadable)
    if not reader.files:
        dataset = read_dataset(spec, options)
        images = sum(len(part) for name, part in dataset.splits().items() if name != "test")
        shorter = shorter_side(dataset.train.images)
        return Look(len(dataset.train), images, len(dataset.classes), shorter)
    listed = function_of(reader.files)(spec, place, options)
    train = [file.path for file in listed.files if file.split == "train"]
    sides = sorted(
        filter(None, map(_side, random.Random(0).sample(train, min(OPENED, len(train)))))
    )
    shorter = sides[len(sides) // 2] if sides else 0
    images = sum(file.split != "test" for file in listed.files)
    return Look(len(train), images, len(listed.classes), shorter)


def _side(path: Path) -> int:
    """Shorter side of an image file as it is read; 0 if it is none."""
    header = read_header(path)
    if header is None:
        return 0  # whoever reads all of them will say so
    small, large = sorted(header.size)
    return int(small * min(1.0, MAX_SIDE / large))


def _has_weights() -> bool:
    try:
        next(iter(BACKBONES.values())).place()
    except BackboneError:
        return False
    return True


def measured(backbone: bool, classes: int, side: int) -> Machine:
    """What this machine takes; loads torch."""
    import torch

    from trainables.cnn.size import training_costs
    from trainables.embedding.cost import cost
    from trainables.embedding.features import seeing

    seen = cost(next(iter(BACKBONES))).seconds if backbone else 0.0
    macs = 1e9 * training_costs(CnnConfig(), classes, side)["gmacs"]
    with seeing():
        speed = _macs_a_second(torch)
    # a backward pass takes twice a forward one
    return Machine(len(os.sched_getaffinity(0)), torch.cuda.device_count(), seen, 3 * macs / speed)


def _macs_a_second(torch: Any) -> float:
    """Of a convolution like the default network's."""
    from time import perf_counter

    images, net = torch.zeros(32, 64, 32, 32), torch.nn.Conv2d(64, 64, 3, padding=1)
    with torch.no_grad():
        took = []
        for _ in range(6):  # the first takes longest
            began = perf_counter()
            net(images)
            took.append(perf_counter() - began)
    return 32 * 32 * 32 * 64 * 64 * 9 / min(took)


def fitting(
    images: Look,
    machine: Machine,
    seconds: float,
    epochs: int | None = None,
    against: Mapping[str, str] = MappingProxyType({}),
) -> tuple[list[str], str, int]:
    """The spaces that fit, in the order in which they are tried first; in one line, which and why;
    and to how many epochs networks are trained if to fewer than usual, else 0.

    Args:
        against: why some do not go with what else was asked for.
    """
    usual = epochs or Training().epochs
    kept, left = [TINY_IMAGE.name], dict[str, str]()
    features = images.images * machine.seen / machine.cores
    if not machine.seen:
        left[EMBEDDING.name] = "no weights are installed"
    elif features > LOOK * seconds:
        left[EMBEDDING.name] = f"a first look at the images takes about {features:,.0f} s"
    else:
        kept.append(EMBEDDING.name)
    if images.shorter < PHOTOGRAPH:
        left[BAG_OF_SIFT.name] = f"it wants sides of {PHOTOGRAPH} pixels"
    elif find_spec("cyvlfeat") is None:
        left[BAG_OF_SIFT.name] = "cyvlfeat is not installed"
    else:
        kept.append(BAG_OF_SIFT.name)
    epoch = images.train * machine.trained
    most = usual if machine.gpus else min(usual, int(TRAINING * seconds / max(epoch, 1e-9)))
    if most < min(EPOCHS, usual) or (epochs and most < epochs):
        left[CNN.name] = f"an epoch takes about {epoch:,.0f} s of a core"
    else:
        kept.append(CNN.name)
    left |= against
    kept = [name for name in kept if name in LEARNERS and name not in against]
    fewer = most if CNN.name in kept and most < usual else 0
    why = (
        f"searching {', '.join(kept)}, which fit {images.images:,} images to search with, of about "
        f"{images.shorter} pixels, {machine.cores} cores, {machine.gpus} GPUs and {seconds:,.0f} s"
        + (f", with {fewer} epochs" if fewer else "")
        + ("; not " + ", ".join(f"{name} ({said})" for name, said in left.items()) if left else "")
    )
    return kept, why, fewer
