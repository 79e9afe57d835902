"""Searches of others on a recorded table, in virtual time.

Each is told a seed and tries configurations until it is told that it is over. What it tries is
played on a tape, which adds up the recorded seconds in their order.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from typing import Any

import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution

from benchmarks.search.grids import EPOCHS
from benchmarks.search.tape import EndedError, Tape, drawn


def random(tape: Tape, seed: int) -> None:
    """Each configuration drawn uniformly, and run to its end."""
    draw = np.random.default_rng(10_000 + seed)
    while True:
        tape.whole(drawn(tape.table, draw))


def tpe(tape: Tape, seed: int) -> None:
    """Optuna's TPE as it comes, which knows nothing of stages."""
    _optimized(tape, seed, optuna.pruners.NopPruner())


def hyperband(tape: Tape, seed: int) -> None:
    """Optuna alone: TPE with Hyperband, as they come."""
    pruner = optuna.pruners.HyperbandPruner(min_resource=1, max_resource=EPOCHS)
    _optimized(tape, seed, pruner)


def _optimized(tape: Tape, seed: int, pruner: optuna.pruners.BasePruner) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = tape.table.grid.space

    def objective(trial: optuna.Trial) -> float:
        config = space.sample(lambda name, domain: trial.suggest_categorical(name, domain.values()))
        row = tape.table.row(config)
        if row.stages:
            return tape.whole(config)
        for epoch, (seconds, accuracy) in enumerate(zip(row.seconds, row.accuracy, strict=True)):
            tape.spend(seconds, accuracy)
            trial.report(accuracy, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return row.accuracy[-1]

    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=pruner,
        study_name=f"seed {seed}",  # by which Hyperband draws brackets
    )
    study.optimize(objective)


def ray_tune(tape: Tape, seed: int) -> None:
    """Ray Tune without us: its OptunaSearch and ASHA as they come, one trial at a time."""
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    rows, grid = tape.table.rows, tape.table.grid
    space = {name: CategoricalDistribution(options) for name, options in grid.varied.items()}

    class Recorded(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self.row, self.epoch = rows[grid.key(config)], 0

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

        def step(self) -> dict[str, Any]:
            at, self.epoch = self.epoch, self.epoch + 1
            return {
                "accuracy": self.row.accuracy[at],
                "cost": self.row.seconds[at],
                "done": self.epoch == EPOCHS,
            }

    class Played(tune.Callback):
        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
        ) -> None:
            with contextlib.suppress(EndedError):
                if not over():
                    tape.spend(result["cost"], result["accuracy"])

    def over() -> bool:
        return tape.reached is not None or tape.seconds > tape.most

    class Ends(tune.Stopper):
        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            return False

        def stop_all(self) -> bool:
            return over()

    logging.getLogger("ray").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tune.run(
            Recorded,
            search_alg=OptunaSearch(space, metric="accuracy", mode="max", seed=seed),
            scheduler=ASHAScheduler(
                time_attr="training_iteration", metric="accuracy", mode="max", max_t=EPOCHS
            ),
            callbacks=[Played()],
            stop=Ends(),
            num_samples=-1,
            max_concurrent_trials=1,
            reuse_actors=True,
            verbose=0,
            storage_path=os.environ["RECORDED_RUNS"],
        )
