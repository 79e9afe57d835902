"""One configuration of the space ``cnn`` as a trial: an epoch a step, with its best and last
weights kept.
"""

from __future__ import annotations

import gc
import hashlib
import logging
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from spaces import CnnConfig
from trainables.cnn import weights
from trainables.cnn.data import CnnData
from trainables.cnn.images import How, data_stages
from trainables.cnn.training import CnnRun, TrainingError
from trainables.data.source import DataSource
from trainables.io.checkpoint import write_manifest
from trainables.io.remote import join_place, read_file
from trainables.stages.registry import NAMESPACE, fetch

logger = logging.getLogger("visiontune.trial")
LAST, BEST = "last.safetensors", "best.safetensors"


def make_run(
    config: CnnConfig,
    data: CnnData,
    how: How,
    classes: tuple[str, ...],
    *,
    seed: int,
    device: str,
    threads: int,
) -> CnnRun:
    """The training of one configuration; what a search and a refit do alike."""
    # without it CUDA refuses to be deterministic
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(how.deterministic, warn_only=True)
    start = None
    if how.start:
        tensors, _ = weights.read(how.start)
        start = (tensors, classes == how.start_classes)
    return CnnRun(
        config, data, classes=len(classes), epochs=how.epochs, seed=seed, device=device,
        threads=threads,
        compile=how.compile, start=start,
    )  # fmt: skip


class CnnTrial:
    """The run of one trial.

    Args:
        trial: its ``config`` and ``number``, the name of the stage ``registry``, ``data``, ``seed``
            and ``how``.
    """

    def __init__(self, trial: dict[str, Any]) -> None:
        how: How = trial["how"]
        data: DataSource = trial["data"]
        self._how = how
        self._folder = join_place(how.trials, f"{trial['number']:05d}", "weights")
        registry = ray.get_actor(trial["registry"], namespace=NAMESPACE)
        arrays, _ = fetch(registry, *data_stages(data, how.image_size))
        device = "cuda" if how.gpus else "cpu"
        config = CnnConfig.of(trial["config"])
        options: dict[str, Any] = {
            "seed": trial["seed"],
            "device": device,
            "threads": how.cpus_per_trial,
        }
        self._run = make_run(config, CnnData(*arrays), how, data.classes, **options)
        self._model_mb = sum(p.numel() for p in self._run.net.parameters()) * 4 / 2**20
        logger.info(
            "%s, %.2f MiB, on %s in %s", config.model, self._model_mb, device, self._run.use.dtype
        )

    def step(self) -> dict[str, Any]:
        """The next epoch: its metrics, and after the last one the (n,) uint16 predictions."""
        run, how = self._run, self._how
        metrics = run.step()
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
        values = [epoch.get(how.objective, epoch["val_accuracy"]) for epoch in run.history]
        if values[-1] == (max(values) if how.maximize else min(values)):
            weights.write(join_place(self._folder, BEST), run.judged.state_dict(), run.use)
        result: dict[str, Any] = {
            **metrics,
            "step": run.epoch - 1,
            "model_mb": self._model_mb,
            "done": run.done,
        }
        if run.done:  # before anybody is told: a trial that is COMPLETE has its weights
            weights.write(join_place(self._folder, LAST), run.judged.state_dict(), run.use)
            places = {name: join_place(self._folder, name) for name in (LAST, BEST)}
            result["digests"] = {
                f"weights/{name}": hashlib.sha256(read_file(place)).hexdigest()
                for name, place in places.items()
            }
            result["predictions"] = run.predictions().astype(np.uint16)
        return result

    def save(self, folder: Path) -> None:
        """Write all that the next epoch depends on."""
        self._run.save(folder)
        write_manifest(folder, self._run.epoch)

    def load(self, folder: Path) -> None:
        """Go on from what ``save`` wrote."""
        self._run.load(folder)

    def close(self) -> None:
        """Give back the device's memory: this process may wait long for its next trial."""
        del self._run
        gc.collect()
        if self._how.gpus:
            torch.cuda.empty_cache()
