"""One configuration of the space ``cnn`` as a trial: an epoch a step, with its best and last
weights kept.
"""

from __future__ import annotations

import hashlib
import logging
import math
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spaces import CnnConfig
from spaces.ours.tuning import PRETRAINED
from trainables.cnn import weights
from trainables.cnn.checkpoint import contents
from trainables.cnn.data import CnnData
from trainables.cnn.images import data_stages, statistics_stage
from trainables.cnn.memory import ShortageError, TrainingError, cap, give_back
from trainables.cnn.start import Known, backbone_of, started
from trainables.cnn.training import CnnRun
from trainables.cnn.use import NetworkUse
from trainables.contract.assignment import Assignment, TrainingSettings
from trainables.contract.learner import Trial
from trainables.data.scores import answers
from trainables.io.checkpoint import MANIFEST, manifest, write_manifest
from trainables.io.remote import join_place, read_file
from trainables.pretrained.network import weights_stage

logger = logging.getLogger("visiontune.trial")
LAST, BEST = "last.safetensors", "best.safetensors"
_Judged = tuple[dict[str, Tensor], NetworkUse]


def make_run(
    config: CnnConfig,
    data: CnnData,
    settings: TrainingSettings,
    classes: tuple[str, ...],
    *,
    seed: int,
    device: str,
    threads: int,
    parts: int = 1,
    known: Known | None = None,
) -> CnnRun:
    """The training of one configuration; what a search and a refit do alike.

    Args:
        known: weights of a pretrained network.

    Where ``settings.deterministic`` cannot be held, the training fails in its first step.
    """
    torch.use_deterministic_algorithms(settings.deterministic)
    start, data = started(config, data, settings, classes, known)
    return CnnRun(
        config, data, classes=len(classes), epochs=settings.epochs, seed=seed, device=device,
        threads=threads,
        compile=settings.compile, start=start, dtype=settings.precision, parts=parts,
        shares=settings.parts,
    )  # fmt: skip


class CnnTrial(Trial):
    """The run of one trial."""

    def __init__(self, trial: Assignment) -> None:
        data, settings = trial.data, trial.training
        assert data is not None
        assert settings is not None
        self._settings = settings
        self._folder = join_place(trial.folder, "weights")
        config = CnnConfig.of(trial.config)
        size = config.side_of(settings.image_size)
        order = (data.order(),) if settings.parts else ()
        stages = (*data_stages(data, size), statistics_stage(data, size), *order)
        arrays, _ = trial.fetch(*stages)
        known: Known | None = None
        if config.model == PRETRAINED and not settings.start:
            facts = trial.weights[backbone_of(config)]
            (own,), _ = trial.fetch(weights_stage(facts))
            known = facts, own
        device = "cuda" if settings.gpus else "cpu"
        if settings.gpus:
            cap(settings.gpus)

        def made(parts: int) -> CnnRun:
            return make_run(
                config, CnnData(*arrays), settings, data.classes, seed=trial.seed, device=device,
                threads=settings.cpus_per_trial, parts=parts, known=known,
            )  # fmt: skip

        self._begins, self._changes = trial.begins, bool(trial.before)
        self._until = trial.until or settings.epochs
        self._best: _Judged | None = None
        self._written: _Judged | None = None
        self._writing = threading.Lock()
        self._made = made
        self._run = self._fitting(1)
        self._model_mb = sum(p.numel() for p in self._run.net.parameters()) * 4 / 2**20
        logger.info(
            "%s, %.2f MiB, on %s in %s", config.model, self._model_mb, device, self._run.use.dtype
        )

    def _fitting(self, parts: int) -> CnnRun:
        """The training with its batches in ``parts``, or in more where memory does not suffice and
        the plan allows it.
        """
        try:
            return self._made(parts)
        except ShortageError as error:
            if 2 * parts > self._settings.accumulate:
                raise
            said = str(error)
        give_back()  # only now, when no exception holds what did not fit
        logger.warning("%s; tried again with batches in %d parts", said, 2 * parts)
        return self._fitting(2 * parts)

    def _first_step(self) -> dict[str, float]:
        """The first epoch, begun anew with batches in more parts where memory does not suffice."""
        while True:
            try:
                return self._run.step()
            except ShortageError as error:
                parts = 2 * self._run.parts
                if parts > self._settings.accumulate:
                    raise
                said = str(error)
            del self._run
            give_back()
            logger.warning("%s; tried again with batches in %d parts", said, parts)
            self._run = self._fitting(parts)

    def step(self) -> dict[str, Any]:
        """The next epoch: its metrics, and after the last one the (n,) uint16 predictions; those of
        the best epoch, in a step of its own, where a training may end early.
        """
        settings = self._settings
        if settings.patience and self._over():
            return self._stood_by()
        metrics = _without_seconds(self._run.step() if self._run.epoch else self._first_step())
        run = self._run
        if not math.isfinite(metrics["val_loss"]):
            raise TrainingError(
                f"val_loss became {metrics['val_loss']:g} in epoch {run.epoch}; lower the "
                "learning rate"
            )
        logger.info(
            "epoch %d: %s",
            run.epoch,
            ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if name != "epoch"),
        )
        values = self._values()
        if values[-1] == (max(values) if settings.maximize else min(values)):
            self._best = weights.copied(run.judged.state_dict()), run.use
        result: dict[str, Any] = {
            **metrics,
            "step": run.epoch - 1,
            "model_mb": self._model_mb,
            "done": run.epoch >= self._until and not settings.patience,
        }
        if result["done"]:  # before anybody is told: a trial that is COMPLETE has its weights
            self._write_best()
            weights.write(join_place(self._folder, LAST), run.judged.state_dict(), run.use)
            result |= self._kept()
        return result

    def _values(self) -> list[float]:
        """The objective after each epoch of its own."""
        name, own = self._settings.objective, self._run.history[self._begins :]
        return [epoch.get(name, epoch["val_accuracy"]) for epoch in own]

    def _over(self) -> bool:
        """Whether no epoch is to follow: there are no more, or too many were no better."""
        values = self._values()
        best = (max if self._settings.maximize else min)(values, default=0.0)
        since = values[::-1].index(best) if values else 0
        return self._run.done or since >= self._settings.patience > 0

    def _stood_by(self) -> dict[str, Any]:
        """What a training that may end early comes to: its best epoch, judged again."""
        run = self._run
        self._write_best()
        tensors, use = weights.read(join_place(self._folder, BEST))
        judged = run.judged_as(tensors)
        weights.write(join_place(self._folder, LAST), tensors, use)
        logger.info("ends after epoch %d and stands by epoch %d", run.epoch, use.epoch)
        told = {"step": run.epoch - 1, "model_mb": self._model_mb, "done": True}
        return {**_without_seconds(run.history[use.epoch - 1]), **judged, **told, **self._kept()}

    def _kept(self) -> dict[str, Any]:
        """Digests of the weights that are there, and what the network says of the validation
        images.
        """
        places = {name: join_place(self._folder, name) for name in (LAST, BEST)}
        digests = {
            f"weights/{name}": hashlib.sha256(read_file(place)).hexdigest()
            for name, place in places.items()
        }
        return {"digests": digests, **answers(self._run.predictions(), self._run.shares())}

    def _write_best(self) -> None:
        """Write the weights of the best epoch so far, if they are not there already."""
        with self._writing:  # older ones never follow newer ones
            if (best := self._best) is not None and best is not self._written:
                weights.write(join_place(self._folder, BEST), *best)
                self._written = best

    def save(self, folder: Path) -> None:
        """Write all that the next epoch depends on."""
        self._write_best()
        self._run.save(folder)
        write_manifest(folder, self._run.epoch)

    def snapshot(self) -> Callable[[], Mapping[str, bytes]]:
        """A copy of it on the host; made into files beside the next epoch, after the best weights
        have been written, which a trial that goes on from it counts on.
        """
        copy, epoch = self._run.snapshot(), self._run.epoch

        def files() -> Mapping[str, bytes]:
            self._write_best()
            found = contents(copy)
            return {**found, MANIFEST: manifest(epoch, found)}

        return files

    def load(self, folder: Path) -> None:
        """Go on from what ``save`` wrote."""
        self._run.load(folder, changing=self._changes)

    def close(self) -> None:
        """Give back the device's memory."""
        del self._run, self._made
        self._best = self._written = None
        give_back()


def _without_seconds(epoch: dict[str, float]) -> dict[str, float]:
    """The metrics of an epoch; a step takes longer, as weights are written in it."""
    return {name: value for name, value in epoch.items() if name != "seconds"}
