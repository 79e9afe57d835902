"""What of Optuna's private parts is used: a version of Optuna without one of them is named here,
not by a study that cannot be read.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from private_names import private_uses

from search.sampling import optuna_internals
from search.sampling.optuna_internals import CONSTRAINTS, TRANSACTIONS, TURNS


def _studied(**options: Any) -> optuna.Study:
    """A study with a trial that was enqueued and asked for."""
    study = optuna.create_study(**options)
    study.enqueue_trial({"x": 0.5})
    study.ask()
    return study


def _live() -> bool:
    study = _studied()
    trial = optuna_internals.live(study, study.get_trials()[0])
    trial.suggest_float("x", 0, 1)
    study.tell(trial, 1.0)
    return study.trials[0].value == 1.0


def _study_ids() -> bool:
    study = _studied(study_name="a")
    return optuna_internals.study_ids(study._storage) == {"a": study._study_id}


def _fixed() -> bool:
    (trial,) = _studied().get_trials()
    return optuna_internals.fixed(trial) == {optuna_internals.FIXED: {"x": 0.5}}


def _constraints() -> bool:
    study = _studied()
    trial = optuna_internals.live(study, study.get_trials()[0])
    trial.set_constraint("size", 2.0)
    (frozen,) = study.get_trials()
    kept = [name for name in frozen.system_attrs if name.startswith(CONSTRAINTS)]
    return bool(kept) and not set(kept) & set(optuna_internals.of_sampler(frozen))


def _transactions() -> bool:
    """A method that opens a session is in the list, but for heartbeats, which are off."""
    opening = {
        name
        for name, method in inspect.getmembers(RDBStorage, inspect.isfunction)
        if "_create_scoped_session(self.scoped_session" in inspect.getsource(method)
    }
    return opening - {"_get_stale_trial_ids", "record_heartbeat"} <= set(TRANSACTIONS)


NEEDED: dict[str, Callable[[], bool]] = {
    "FrozenTrial._trial_id and Trial(study, trial_id)": _live,
    "FrozenStudy._study_id": _study_ids,
    "the system attribute fixed_params": _fixed,
    "the system attributes of constraints": _constraints,
    "every transaction of RDBStorage's in our list": _transactions,
    "the journal's op_code of beginnings and ends": lambda: (
        [code.value for code in sorted(TURNS)] == [0, 4, 6]
    ),
    **{
        f"RDBStorage.{name}": lambda name=name: callable(getattr(RDBStorage, name))  # type: ignore[misc]
        for name in TRANSACTIONS
    },
}
"""Each private part, and whether it is there as it is used."""


@pytest.mark.parametrize("name", NEEDED)
def test_optuna_still_has(name: str) -> None:
    """A search would wait for no database, or lose what was asked to be tried, where one of them is
    gone.
    """
    try:
        there = NEEDED[name]()
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        pytest.fail(f"this version of Optuna has no {name} any more: {error}")
    assert there, f"this version of Optuna has {name} in another shape"


def test_nothing_else_of_ours_names_a_private_part_of_optuna() -> None:
    """Whoever takes up a new version of Optuna has one file to read."""
    assert private_uses("optuna") == {"search/sampling/optuna_internals.py"}
