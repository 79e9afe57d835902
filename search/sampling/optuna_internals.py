"""What we ask of Optuna beyond what it promises, all in one place: ids of trials and studies, what
its storages write, and what its samplers leave in a trial.

``tests/search/sampling/test_optuna_internals.py`` says which of it a version of Optuna has no more.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.storages.journal._storage import JournalOperation
from optuna.trial import FrozenTrial, Trial, TrialState

optuna.logging.set_verbosity(optuna.logging.WARNING)
TRANSACTIONS = (
    "create_new_study", "delete_study", "set_study_user_attr", "set_study_system_attr",
    "get_study_id_from_name",
    "get_study_name_from_id", "get_study_directions", "get_study_user_attrs",
    "get_study_system_attrs", "get_all_studies",
    "_create_new_trial", "_set_trial_param", "set_trial_state_values",
    "set_trial_intermediate_value", "set_trial_user_attr",
    "set_trial_system_attr", "get_trial", "get_trial_id_from_study_id_trial_number", "_get_trials",
    "_get_best_trial_id", "get_trial_user_attrs", "get_trial_system_attrs", "get_trial_param",
)  # fmt: skip
"""Methods of ``optuna.storages.RDBStorage`` that open a transaction of their own."""
TURNS = {
    JournalOperation.CREATE_STUDY,
    JournalOperation.CREATE_TRIAL,
    JournalOperation.SET_TRIAL_STATE_VALUES,
}
"""What a line of the journal says, as its ``op_code``, where a study or a trial begins or ends."""
FIXED = "fixed_params"
"""The system attribute with the parameters of a trial that was enqueued."""
CONSTRAINTS = "constraints"
"""What those begin with in which samplers keep constraints."""


def live(study: optuna.Study, trial: FrozenTrial) -> Trial:
    """A trial that runs, to go on with."""
    return Trial(study, trial._trial_id)


def study_ids(storage: optuna.storages.BaseStorage) -> dict[str, int]:
    """Name to id of every study."""
    return {study.study_name: study._study_id for study in storage.get_all_studies()}


def fixed(trial: FrozenTrial) -> dict[str, Any]:
    """The system attribute of a trial that was enqueued, if it was."""
    return {FIXED: trial.system_attrs[FIXED]} if FIXED in trial.system_attrs else {}


def breaks_constraint(trial: FrozenTrial) -> bool:
    """Whether it is known to."""
    return any(excess > 0 for excess in (trial.constraints or {}).values())


def of_sampler(trial: FrozenTrial) -> dict[str, Any]:
    """All that samplers, and Optuna itself, keep in a trial, but for constraints."""
    return {
        name: value
        for name, value in trial.system_attrs.items()
        if not name.startswith(CONSTRAINTS)
    }


class _StorageSeen:
    """A storage as ``BruteForceSampler`` is to see it, which asks no study for trials."""

    def __init__(
        self, storage: BaseStorage, fit: Callable[[FrozenTrial], FrozenTrial | None]
    ) -> None:
        self._storage, self._fit = storage, fit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._storage, name)

    def get_all_trials(self, *args: Any, **options: Any) -> list[FrozenTrial]:
        """As Optuna's."""
        found = map(self._fit, self._storage.get_all_trials(*args, **options))
        return [trial for trial in found if trial is not None]


class StudySeen:
    """A study as a sampler is to see it: with other trials before its own, and of its own those
    that fit; all else is the study's.

    Args:
        fit: a trial of its own as the sampler is to see it; None if it is not to.
        before: complete trials of number -1, by which Optuna's caches of what a study has in common
            take them for neither new nor known.
    """

    def __init__(
        self,
        study: optuna.Study,
        before: Sequence[FrozenTrial],
        fit: Callable[[FrozenTrial], FrozenTrial | None] | None = None,
    ) -> None:
        self._study, self._before, self._fit = study, before, fit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._study, name)

    @property
    def _storage(self) -> Any:
        return _StorageSeen(self._study._storage, self._fit) if self._fit else self._study._storage

    def get_trials(
        self, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        """As Optuna's."""
        return self._get_trials(deepcopy, states)

    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        own = self._study._get_trials(deepcopy, states, use_cache)
        if self._fit:
            own = [trial for trial in map(self._fit, own) if trial is not None]
        before = self._before if states is None or TrialState.COMPLETE in states else ()
        return [*before, *own]
