"""Syne Tune's schedulers on the recorded networks, in an environment of its own.

    PYTHONPATH=. SYNE/bin/python benchmarks/search/with_syne_tune.py [--seeds 20]

Syne Tune wants other versions than ours, so ``pip install syne-tune`` into another environment,
whose Python runs this. Its schedulers are asked and told as its own tuner does, by one worker, at
their defaults; BOHB and ASHA with BORE are its multi-fidelity methods that need nothing more.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import logging
import warnings

import numpy as np
from syne_tune.backend.trial_status import Trial
from syne_tune.config_space import choice
from syne_tune.optimizer.baselines import ASHA, ASHABORE, BOHB
from syne_tune.optimizer.scheduler import SchedulerDecision

from benchmarks.search.grids import EPOCHS
from benchmarks.search.tables import table
from benchmarks.search.tape import GENEROUS, EndedError, Tape, goal

METHODS = {"ASHA": ASHA, "BOHB": BOHB, "ASHA with BORE": ASHABORE}


def search(method: type, tape: Tape, seed: int) -> None:
    """Play what a scheduler tries."""
    np.random.seed(seed)  # its own draw of a bracket
    grid = tape.table.grid
    scheduler = method(
        config_space={name: choice(options) for name, options in grid.varied.items()},
        metric="accuracy", do_minimize=False, time_attr="epoch", max_t=EPOCHS, random_seed=seed,
    )  # fmt: skip
    for number in range(2000):
        config = scheduler.suggest().config
        trial = Trial(number, config, datetime.datetime.now())
        scheduler.on_trial_add(trial)
        row = tape.table.row(config)
        for epoch, (seconds, accuracy) in enumerate(
            zip(row.seconds, row.accuracy, strict=True), start=1
        ):
            tape.spend(seconds, accuracy)
            result = {"accuracy": accuracy, "epoch": epoch}
            if epoch == len(row.accuracy):
                scheduler.on_trial_complete(trial, result)
            elif scheduler.on_trial_result(trial, result) != SchedulerDecision.CONTINUE:
                scheduler.on_trial_remove(trial)
                break


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=20)
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    networks = table("cnn")
    for name, method in METHODS.items():
        found = []
        for seed in range(options.seeds):
            target, cost, _ = goal(networks, seed)
            tape = Tape(networks, target, GENEROUS * cost)
            with contextlib.suppress(EndedError):
                search(method, tape, seed)
            found.append((tape.found, tape.reached is not None))
        seconds = [one for one, _ in found]
        print(
            f"Syne Tune: {name:16} n={len(found)} median {np.median(seconds):7.1f}, "
            f"found {sum(reached for _, reached in found)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
