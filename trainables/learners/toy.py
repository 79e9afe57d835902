"""The toy learner: a made-up curve, and every way in which a trial can go wrong, on demand."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path
from typing import Any

from spaces import TOY, TOY_FOLDS, ToyConfig
from trainables.contract.assignment import Assignment, Config
from trainables.contract.learner import Learner, Trial
from trainables.io.checkpoint import read_state, write_state

NOISE = 0.02
"""Standard deviation of a fold's accuracy around the learner's own."""


class ToyRun(Trial):
    """One configuration, a step at a time; deterministic.

    Accuracy after step s is quality × (1 − exp(−rate × (1 + momentum) × (s + 1))), where rate and
    momentum may change on the way, and each step counts with those that it was done with; in folds,
    the accuracy on fold s is quality plus noise that is the same for every configuration.

    Args:
        config: what to do, and what to do wrong.
        folds: report folds instead of steps.
        seed: of the folds' noise.

    Raises:
        RuntimeError: at once, for the fault ``reset``.
    """

    def __init__(self, config: ToyConfig, *, folds: bool = False, seed: int = 0) -> None:
        import numpy as np

        if config.fault == "reset":
            raise RuntimeError("this toy was told to fail when it is set up")
        self._config = config
        self._folds = folds
        self._noise = np.random.default_rng(seed).normal(0.0, NOISE, config.steps)
        self._step = 0
        self._reports: list[float] = []
        self._pace = config.rate * (1.0 + config.momentum)
        self._learnt, self._since = 0.0, 0

    def step(self) -> dict[str, Any]:
        """The next step's report: ``val_accuracy`` of the trial so far, and ``report`` for the
        pruner.
        """
        import numpy as np

        config, step = self._config, self._step
        time.sleep(config.pause)
        value = self._accuracy(step)
        self._reports.append(value)
        self._step += 1
        accuracy = float(np.mean(self._reports)) if self._folds else value
        result: dict[str, Any] = {
            "step": step,
            "val_accuracy": accuracy,
            "val_loss": -math.log(max(accuracy, 1e-6)),
            "report": value,
            "model_mb": model_mb(config),
            "latency_ms": 1.0 + config.width / 16,
            "done": self._step >= config.steps,
        }
        if config.fault != "none" and step == config.fault_step:
            self._go_wrong(result)
        return result

    def _accuracy(self, step: int) -> float:
        config = self._config
        if self._folds:
            return float((config.quality + self._noise[step]).clip(0.0, 1.0))
        return config.quality * (
            1.0 - math.exp(-self._learnt - self._pace * (step + 1 - self._since))
        )

    def _go_wrong(self, result: dict[str, Any]) -> None:
        fault = self._config.fault
        if fault == "error":
            raise RuntimeError(f"this toy was told to fail in step {self._config.fault_step}")
        if fault == "hang":
            time.sleep(1e6)
        if fault == "die":
            os._exit(1)
        if fault == "missing":
            del result["val_accuracy"], result["report"]
        else:
            result["val_accuracy"] = result["report"] = {"nan": math.nan, "infinite": math.inf}[
                fault
            ]

    def save(self, folder: Path) -> None:
        """Write all that the next step depends on."""
        own = {"pace": self._pace, "learnt": self._learnt, "since": self._since}
        write_state(folder, self._step, {"reports": self._reports, **own})

    def load(self, folder: Path) -> None:
        """Go on from what ``save`` wrote."""
        self._step, state = read_state(folder)
        self._reports = list(state["reports"])
        before = state.get("pace", self._pace)
        self._learnt, self._since = state.get("learnt", 0.0), state.get("since", 0)
        if before != self._pace:  # it goes on with other values
            self._learnt += before * (self._step - self._since)
            self._since = self._step


def model_mb(config: ToyConfig) -> float:
    """Made-up size of the model, MiB."""
    return config.width**2 / 40


def _steps(assignment: Assignment) -> Trial:
    return ToyRun(TOY.typed(assignment.config), seed=assignment.seed)


def _folds(assignment: Assignment) -> Trial:
    return ToyRun(TOY.typed(assignment.config), folds=True, seed=assignment.seed)


def _known(config: Config, classes: int, size: int) -> dict[str, float]:
    return {"model_mb": model_mb(TOY.typed(config))}


TOY_STEPS = Learner(TOY, _steps, known=_known, holds_cores=False, gpu="asked")
TOYS_IN_FOLDS = Learner(TOY_FOLDS, _folds, known=_known, holds_cores=False, gpu="asked")
