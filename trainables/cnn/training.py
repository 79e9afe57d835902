"""One configuration of the space ``cnn``, trained an epoch at a time."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from spaces.errors import on_one_line
from spaces.ours.cnn import CnnConfig, parameters
from trainables.cnn import checkpoint as files
from trainables.cnn.data import CnnData, Int64, Resident
from trainables.cnn.memory import TrainingError, shortage_named
from trainables.cnn.models import build
from trainables.cnn.precision import DTYPES, NAMES, chosen_dtype, device_name
from trainables.cnn.size import check_size
from trainables.cnn.steps.augment import added_by_plugins, augment, mirrored_in, mixed
from trainables.cnn.steps.course import Course
from trainables.cnn.steps.optimizer import (
    Average,
    loss_of,
    make_optimizer,
    optimizer_tensors,
    rate_at,
    restore_optimizer,
)
from trainables.cnn.steps.probe import fit_head
from trainables.cnn.steps.randomness import RandomState
from trainables.cnn.steps.resolution import side_at
from trainables.cnn.steps.tuning import first_side, is_probed, of_epoch
from trainables.cnn.use import NetworkUse
from trainables.cnn.weights import begin_from, class_scores, copied
from trainables.data.scores import judged, score
from trainables.stages.allocation import keep_memory

CHECK_EVERY = 16
"""Steps between looks at the loss: each waits for the device."""


class CnnRun:
    """A network, its optimiser and its data on a device.

    On a CPU the same arguments give the same bits, whether in one go or saved and loaded between
    any two epochs, with the same number of threads.

    Args:
        config: what to train and how.
        data: the images; copied to the device.
        classes: how many there are; labels are 0..classes - 1.
        epochs: passes over the training images in all, which the schedule is laid over.
        seed: of weights, order, augmentation and dropout.
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        threads: of the CPU.
        max_model_mb: a larger network is refused before it is built, MiB of float32.
        compile: use ``torch.compile``.
        dtype: of convolutions and products; ``auto`` measures which is faster here. In float16
            losses are scaled, or small gradients would become 0 (Micikevicius et al., 2018).
        parts: that each batch is cut into, whose gradients are added up: less memory, and batch
            statistics of fewer images.
        start: weights to begin from, of the same architecture, and whether its head is kept too.
        shares: of the images that epochs see one after the other (``Course.parts``).

    Raises:
        ModelTooLarge: if the network is over ``max_model_mb``.
        ShortageError: if it does not fit on the device.
    """

    def __init__(
        self,
        config: CnnConfig,
        data: CnnData,
        *,
        classes: int,
        epochs: int,
        seed: int,
        device: str,
        threads: int,
        max_model_mb: float | None = None,
        compile: bool = False,
        dtype: str = "auto",
        parts: int = 1,
        start: tuple[Mapping[str, Tensor], bool] | None = None,
        shares: Sequence[float] = (),
    ) -> None:
        check_size(config, classes, data.size, max_model_mb)
        torch.set_num_threads(threads)
        keep_memory()
        self.config, self.classes, self.epochs = config, classes, epochs
        self.seed, self.threads = seed, threads
        self.device = torch.device(device)
        self.dtype = chosen_dtype(dtype, str(self.device))
        self.parts, self.scaler = parts, self._new_scaler()
        self.random = RandomState(seed, self.device)
        self.epoch, self.history = 0, list[dict[str, float]]()
        self._added = added_by_plugins(config)
        self._scores: Tensor | None = None
        with self._memory():
            self.data = Resident.on(data, self.device)
            self._loss = loss_of(config, self.data.train_labels, classes)
            with self.random.use():
                net = build(config.model, classes, data.size, config.tweaks())
            if start is not None:
                begin_from(net, *start)
            self._probed = start is not None and not start[1] and is_probed(config)
            self.net = net.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
            if config.tweaks().get("whiten") and start is None:
                net.whiten_stem(self.data.normalise(self.data.train_images[:5000]))  # type: ignore[operator]
            self.optimizer = make_optimizer(self.net, config)
            self.ema = Average(self.net, config.ema) if config.ema else None
        self._forward = torch.compile(self.net) if compile else self.net
        order = None if data.order is None else torch.tensor(data.order, device=self.device)
        self.course = Course(config, self.data.train_labels, classes, epochs, shares, order)
        self._equal = compile  # each size of a batch would be compiled anew

    @property
    def done(self) -> bool:
        """Whether all epochs are over."""
        return self.epoch >= self.epochs

    @property
    def judged(self) -> nn.Module:
        """The network that validation images are shown: the averaged one, where there is one."""
        return self.net if self.ema is None else self.ema.module

    def step(self) -> dict[str, float]:
        """Train for one epoch and judge.

        Returns:
            ``epoch`` (from 1), ``seconds``, ``train_accuracy`` and ``train_loss`` (running means
            over the augmented epoch, of the loss that is minimised), and on validation images
            ``val_accuracy``, ``val_loss`` (plain cross-entropy), ``balanced_accuracy``,
            ``macro_f1`` and what plug-ins compute.

        Raises:
            TrainingError: for a loss that is not finite.
            ShortageError: for too little memory.
        """
        if self.done:
            raise ValueError(f"all {self.epochs} epochs are done")
        started = time.perf_counter()
        torch.set_num_threads(self.threads)
        with self._memory(), self.random.use():
            if self._probed and not self.epoch:
                rows, labels = self.course.rows(0), self.data.train_labels
                with self._autocast():
                    fit_head(self.net, self.data.as_judged, rows, labels, self.classes)
            metrics = self._train()
            self.epoch += 1
            self._scores = None
            metrics |= self._judge()
        metrics |= {"epoch": float(self.epoch), "seconds": time.perf_counter() - started}
        self.history.append(metrics)
        return metrics

    def _train(self) -> dict[str, float]:
        config, data, generator = self.config, self.data, self.random.generator
        of_epoch(self.net, config, self.epoch)
        steps = self.course.steps[self.epoch]
        first, whole = first_side(self.net, config), int(data.train_images.shape[2])
        side = side_at(first, self.epoch, self.epochs, whole)
        total, hits = torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        order = self.course.drawn(self.epoch, generator)
        mirrored = mirrored_in(self.epoch, len(data.train_labels), config.flip, self.seed)
        mirrored, count = mirrored.to(self.device), len(order)
        if self._equal:  # a few images, others in each epoch, are left out
            count -= count % steps
            order = order[:count]
        for number, rows in enumerate(order.tensor_split(steps)):
            rate = rate_at(config, self.course.passed(self.epoch, number))
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group.get("lr_scale", 1.0)
            images, labels = data.train_images[rows], data.train_labels[rows]
            images = augment(images, mirrored[rows], config, data, generator, side, self._added)
            images, others, share = mixed(images, labels, config, generator, self.random.host)
            self.optimizer.zero_grad(set_to_none=True)
            pieces = (each.tensor_split(self.parts) for each in (images, labels, others))
            for piece in zip(*pieces, strict=True):
                loss, right = self._learn(*piece, share=share, batch=len(rows))
                total += loss
                hits += right
            if self.scaler is None:
                self.optimizer.step()
            else:
                self.scaler.step(self.optimizer)
                self.scaler.update()
            if self.ema is not None:
                self.ema.update_parameters(self.net)
            if (number % CHECK_EVERY == 0 or number == steps - 1) and not math.isfinite(
                total.item()
            ):
                raise TrainingError(
                    f"loss became {total.item():g} in epoch {self.epoch + 1}, step {number + 1} "
                    f"of {steps}; lower the learning rate"
                )
        return {"train_accuracy": hits.item() / count, "train_loss": total.item() / count}

    def _learn(
        self, images: Tensor, labels: Tensor, others: Tensor, *, share: float, batch: int
    ) -> tuple[Tensor, Tensor]:
        """Add the gradients of a part of a batch of ``batch`` images; the sum of its losses, and
        how many were right, on the device.
        """
        count = len(labels)
        if not count:
            return torch.zeros((), device=self.device), torch.zeros((), device=self.device)
        with self._autocast():
            scores = self._forward(images)
        scores = scores.float()
        loss = self._loss(scores, labels)
        if loss.ndim or not loss.requires_grad:
            name = getattr(self.config, "loss", "")
            raise TrainingError(f"loss {name} must give one number with a gradient")
        if share < 1:
            loss = share * loss + (1 - share) * self._loss(scores, others)
        weighed = loss if count == batch else loss * (count / batch)
        scaled = weighed if self.scaler is None else self.scaler.scale(weighed)
        scaled.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            return loss.detach() * count, (scores.argmax(1) == labels).sum()

    def _judge(self) -> dict[str, float]:
        if self.data.val_images is None or self.data.val_labels is None:
            return {}
        scores, labels = self._val_scores(), self.data.val_labels
        said = labels.cpu().numpy(), self.predictions(), self.classes
        return {
            **judged(score(*said), *said),
            "val_loss": F.cross_entropy(scores, labels).item(),
        }

    def judged_as(self, tensors: Mapping[str, Tensor]) -> dict[str, float]:
        """The validation figures of other weights of this network, which are judged from now on."""
        torch.set_num_threads(self.threads)
        self.judged.load_state_dict(tensors)
        self._scores = None
        with self._memory():
            return self._judge()

    def _val_scores(self) -> Tensor:
        """(m, classes) float32 for the validation images, by the weights there are now."""
        if self._scores is None:
            if self.data.val_images is None:
                raise ValueError("there are no validation images")
            images, mean, std = self.data.val_images, self.data.mean, self.data.std
            views = self.config.test_flip, self.config.test_shift
            self._scores = class_scores(self.judged, images, mean, std, self.dtype, *views)
        return self._scores

    def shares(self) -> npt.NDArray[np.float64]:
        """(m, classes) float64: the probability of each class of each validation image."""
        return np.asarray(self._val_scores().double().softmax(1).cpu().numpy())

    def predictions(self) -> Int64:
        """(m,) int64: the class of each validation image."""
        return self._val_scores().argmax(1).cpu().numpy().astype(np.int64)

    @property
    def use(self) -> NetworkUse:
        """What whoever uses the judged weights must know."""
        size = int(self.data.train_images.shape[2])
        mean, std = (tuple(s.flatten().tolist()) for s in (self.data.mean, self.data.std))
        return NetworkUse(
            size=size, classes=self.classes, mean=mean, std=std,
            dtype=NAMES[self.dtype], device=self.device.type, threads=self.threads,
            epoch=self.epoch, card=device_name(self.device),
        )  # fmt: skip

    def save(self, folder: Path) -> None:
        """Write all that ``load`` needs into ``folder``, whole or not at all."""
        files.write(self.snapshot(), folder)

    def snapshot(self) -> files.Checkpoint:
        """A copy of it on the host, which no later step changes."""
        tensors = {
            "model": self.net.state_dict(),
            "optimizer": optimizer_tensors(self.optimizer),
            "rng": self.random.state(),
        }
        if self.ema is not None:
            self.ema.steps()
            tensors["ema"] = self.ema.state_dict()
        facts = {
            **self._identity(),
            "epoch": self.epoch,
            "history": list(self.history),
            "dtype": NAMES[self.dtype],
            "parts": self.parts,
            "scaler": None if self.scaler is None else self.scaler.state_dict(),
            "torch": torch.__version__,
        }
        return files.Checkpoint({part: copied(named) for part, named in tensors.items()}, facts)

    def load(self, folder: Path, changing: bool = False) -> None:
        """Go on from what ``save`` wrote, also on another device.

        Args:
            changing: it may have been trained with other values of parameters that are read anew
                in each epoch (``Parameter.anew``).

        Raises:
            CheckpointError: if there is nothing, or it is damaged, or of another configuration.
        """
        found = files.read(folder)
        anew = [p.name for p in parameters() if p.anew] if changing else []
        files.check_same(found, self._identity(), folder, anew)
        try:
            self.net.load_state_dict(found.tensors["model"])
            if self.ema is not None:
                self.ema.go_on(found.tensors["ema"])
            restore_optimizer(self.optimizer, found.tensors.get("optimizer", {}))
            self.epoch, self.history = int(found.facts["epoch"]), list(found.facts["history"])
            self.dtype, self.parts = DTYPES[found.facts["dtype"]], found.facts.get("parts", 1)
            self.scaler = self._new_scaler()
            if self.scaler is not None:
                self.scaler.load_state_dict(found.facts["scaler"])
            self.random.restore(found.tensors["rng"], self.seed + self.epoch)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise files.CheckpointError(
                f"{folder}: damaged checkpoint: {on_one_line(error)}"
            ) from error
        self._scores = None

    def _identity(self) -> dict[str, Any]:
        run: dict[str, Any] = {"classes": self.classes, "epochs": self.epochs, "seed": self.seed}
        run["size"] = int(self.data.train_images.shape[2])
        run |= {"parts_seen": list(self.course.parts)} if self.course.parts else {}
        return {"config": asdict(self.config), **run, "train_images": len(self.data.train_labels)}

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype is not torch.float32)

    def _new_scaler(self) -> torch.amp.GradScaler | None:
        return torch.amp.GradScaler(self.device.type) if self.dtype is torch.float16 else None

    def _memory(self) -> AbstractContextManager[None]:
        config = self.config
        return shortage_named(self.device, config.model, config.batch_size, self.parts)
