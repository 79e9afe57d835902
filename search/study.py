"""The Optuna studies of one search: one per space, on a durable journal.

Only the driver writes them; anything may read them, plain Optuna included.
"""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, Trial, TrialState

from spaces.domain import Choice, Domain, Integer, Space, Value

optuna.logging.set_verbosity(optuna.logging.WARNING)

GRID_INDEX = "visiontune:grid_index"
FAILURE = "visiontune:failure"
CONFIG = "visiontune:config"


def open_storage(journal: Path) -> JournalStorage:
    """The storage in ``journal``; for the driver, which alone writes it.

    A driver killed while it wrote leaves half a line or a lock: both are removed, since
    what was not written whole was not said.
    """
    journal.parent.mkdir(parents=True, exist_ok=True)
    for lock in journal.parent.glob(f"{journal.name}.lock*"):
        lock.unlink(missing_ok=True)
    cut_half_line(journal)
    return JournalStorage(JournalFileBackend(str(journal.absolute())))


def cut_half_line(path: Path) -> None:
    """Remove what follows the last line end of a file that is only appended to, line by line."""
    if not path.is_file():
        return
    with open(path, "r+b") as file:
        end = file.seek(0, 2)
        position = end
        while position > 0:
            start = max(0, position - 65536)
            file.seek(start)
            found = file.read(position - start).rfind(b"\n")
            if found >= 0:
                position = start + found + 1
                break
            position = start
        if position < end:
            file.truncate(position)


def read_trials(journal: Path) -> dict[str, list[FrozenTrial]]:
    """Every trial by space, as Optuna has them; for reading beside a driver that writes."""
    if not journal.is_file():
        return {}
    storage = JournalStorage(JournalFileBackend(str(journal.absolute())))
    return {study.study_name: storage.get_all_trials(study._study_id, deepcopy=False) for study in storage.get_all_studies()}


class SpaceStudy:
    """The study of one space: numbers its trials, proposes their configs, is told their ends.

    Args:
        storage: where it lives; created there or continued.
        space: as narrowed by the plan.
        sampler: ``tpe``, ``random`` or ``grid``.
        seed: of the sampler. A continued study draws other numbers than it drew before.
    """

    def __init__(self, storage: JournalStorage, space: Space, sampler: str, seed: int) -> None:
        self.space = space
        self._study = optuna.create_study(study_name=space.name, storage=storage, direction="maximize", load_if_exists=True)
        trials = self.trials()
        self._study.sampler = _make_sampler(sampler, seed + len(trials))
        self._grid = space.grid() if sampler == "grid" else None
        if self._grid is not None:
            reached = 1 + max((t.user_attrs.get(GRID_INDEX, -1) for t in trials), default=-1)
            self._next_index = reached
            self._grid = itertools.islice(self._grid, reached, None)

    def trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def ask(self) -> tuple[int, dict[str, Value]] | None:
        """The next trial's number and complete config; None if a grid has no more."""
        if self._grid is not None:
            point = next(self._grid, None)
            if point is None:
                return None
            self._study.enqueue_trial(point, user_attrs={GRID_INDEX: self._next_index})
            self._next_index += 1
        return self._begin(self._study.ask())

    def continue_trial(self, number: int) -> tuple[int, dict[str, Value]]:
        """The same trial again: its number, and its config with what was not yet drawn."""
        frozen = self.trials()[number]
        if frozen.state == TrialState.WAITING:
            return self._begin(self._study.ask())  # Optuna hands out waiting trials first
        return self._begin(Trial(self._study, frozen._trial_id))

    def _begin(self, trial: Trial) -> tuple[int, dict[str, Value]]:
        config = self.space.sample(lambda name, domain: _suggest(trial, name, domain))
        trial.set_user_attr(CONFIG, config)
        return trial.number, config

    def complete(self, number: int, value: float, metrics: dict[str, float]) -> None:
        """Tell that a trial ended with ``value``; the metrics are kept as user attributes."""
        trial_id = self.trials()[number]._trial_id
        for name, metric in metrics.items():
            self._study._storage.set_trial_user_attr(trial_id, name, metric)
        self._study.tell(number, value)

    def fail(self, number: int, cause: str) -> None:
        """Tell that a trial failed, and why."""
        trial_id = self.trials()[number]._trial_id
        self._study._storage.set_trial_user_attr(trial_id, FAILURE, cause)
        self._study.tell(number, state=TrialState.FAIL)


def _make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    if name == "tpe":
        # group=True: parameters that apply under different conditions are modelled apart.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=seed)
    return optuna.samplers.RandomSampler(seed=seed)  # a grid's points are enqueued; nothing is left to draw


def _suggest(trial: Trial, name: str, domain: Domain) -> Value:
    if isinstance(domain, Choice):
        value: Any = trial.suggest_categorical(name, domain.options)
        return value
    if isinstance(domain, Integer):
        return trial.suggest_int(name, domain.low, domain.high, log=domain.log)
    return trial.suggest_float(name, domain.low, domain.high, log=domain.log)
