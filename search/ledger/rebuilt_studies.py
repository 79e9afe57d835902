"""Opens the studies of a run, and builds them again from the trials' folders where they are
missing, short, or say otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial

from analysis.plan.plan import Plan
from analysis.run.directory import RunDirectory, RunError
from analysis.run.notes import note
from analysis.run.working_copy import remote_of
from search.ledger.kept_checkpoints import drop_checkpoints, drop_unknown
from search.ledger.status import ENDED
from search.sampling.optuna_internals import study_ids
from search.study.folders import Shelf, differs, read_shelves, trials_of
from search.study.storage import (
    close,
    directions_of,
    open_journal,
    open_storage,
    study_name,
    trials_in,
)
from search.study.study import open_study
from spaces import Space
from spaces.errors import UserError, on_one_line
from trainables.io.files import set_aside, temporary_name

Shelves = dict[str, Shelf]


def whole_studies(
    run: RunDirectory, plan: Plan, shelves: Shelves, say: Callable[[str], None]
) -> tuple[BaseStorage, Shelves]:
    """The storage of a run's studies, which agree with its trials' folders, and what these hold.

    Trials whose record is lost or damaged are unfinished in it: they are run again under their
    numbers, and that is noted.

    Raises:
        RunError: if the storage cannot be reached.
    """
    spaces = plan.search_spaces()
    storage, there, broken = _open(run, plan, say)
    if not broken and _drop_ahead(run, there):
        shelves = read_shelves(run, plan.spaces)
    finished = sum(len(shelf.records) for shelf in shelves.values())
    again = {name: _run_again(there.get(name, ()), shelf) for name, shelf in shelves.items()}
    why = broken or next(
        (
            found
            for name, space in spaces.items()
            if (found := _disagreement(there.get(name), shelves[name], plan, space))
        ),
        "",
    )
    if not why and storage is not None:
        return storage, shelves
    trials = {
        name: list(trials_of(run, plan, space, shelves[name], there.get(name, ())))
        for name, space in spaces.items()
    }
    if why and (finished or broken or any(there.values())):
        kept = f"{finished} finished trials" if finished != 1 else "1 finished trial"
        note(
            f"the study in {plan.storage or run.journal} {why}; it is built again from the "
            f"folders of the trials: {kept}"
        )
    for name, numbers in again.items():
        for number, reason in numbers.items():
            note(f"{reason}; trial {name}/{number} is run again under its number")
            _begin_anew(run, name, number)
            shelves[name].damaged.pop(number, None)
            shelves[name].others.add(number)
        for number in shelves[name].others - numbers.keys():
            # nobody knows any more what its steps and checkpoints are of
            if not trials[name][number].params:
                _begin_anew(run, name, number)
    if plan.storage:
        assert storage is not None
        _rewrite(storage, run, plan, trials)
    else:
        if storage is not None:
            close(storage)
        storage = _replace_journal(run, plan, trials)
    return storage, shelves


def _begin_anew(run: RunDirectory, space: str, number: int) -> None:
    """Let a trial begin at its first step: what it left is moved aside, and its checkpoints go."""
    if run.trial(space, number).is_dir():
        run.set_trial_aside(space, number)
    drop_checkpoints(run, space, number)


def _open(
    run: RunDirectory, plan: Plan, say: Callable[[str], None]
) -> tuple[BaseStorage | None, dict[str, list[FrozenTrial]], str]:
    """The storage, its trials by space, and what is wrong with all of it."""
    try:
        storage = open_storage(run, plan.storage, say)
        there = trials_in(storage, run, plan.storage)
        wrong = [
            name for name in there if directions_of(storage, run, plan, name) != _directions(plan)
        ]
        return storage, there, f"is of other objectives ({', '.join(wrong)})" if wrong else ""
    except UserError:
        raise
    except PermissionError as error:
        raise RunError(
            f"{run.journal}: cannot be read ({error.strerror}); make it readable and writable "
            "for this user"
        ) from None
    except Exception as error:  # what a damaged journal says can make Optuna raise anything
        if plan.storage:
            raise RunError(
                f"storage {plan.storage} cannot be read ({on_one_line(error)}); put the "
                "database back"
            ) from error
        return None, {}, f"cannot be read ({on_one_line(error)[:120] or type(error).__name__})"


def _directions(plan: Plan) -> list[str]:
    from spaces.objectives import METRICS

    return [METRICS[name].direction for name in plan.objectives]


def _drop_ahead(run: RunDirectory, there: Mapping[str, Sequence[FrozenTrial]]) -> bool:
    """At a URI records may be ahead of the journal, which is sent after them; not so where the
    journal has lost what the note counts.
    """
    if remote_of(run.path) is None:
        return False
    noted = run.state().trials
    if sum(trial.state.is_finished() for trials in there.values() for trial in trials) < sum(
        noted.get(name, 0) for name in ENDED
    ):
        return False
    for name, trials in there.items():
        drop_unknown(run, name, len(trials))
    return True


def _disagreement(
    trials: Sequence[FrozenTrial] | None, shelf: Shelf, plan: Plan, space: Space
) -> str:
    """What is wrong with the study of one space; empty if nothing is."""
    if trials is None:
        return f"is missing ({space.name})" if shelf.count else ""
    for number, record in shelf.records.items():
        if number >= len(trials):
            return f"lacks trial {record.key}"
        if differs(record, trials[number], plan, space):
            return f"says otherwise of trial {record.key} than its record"
    return next(
        (f"calls trial {space.name}/{number} finished" for number in _run_again(trials, shelf)), ""
    )


def _run_again(trials: Sequence[FrozenTrial], shelf: Shelf) -> dict[int, str]:
    """Trials that have ended, and whose record is gone: number to why."""
    gone = {
        t.number: "its result.json is missing"
        for t in trials
        if t.state.is_finished() and t.number not in shelf.records
    }
    return {**gone, **shelf.damaged}


def _rewrite(
    storage: BaseStorage, run: RunDirectory, plan: Plan, trials: Mapping[str, Sequence[FrozenTrial]]
) -> None:
    """In a database: in place of the studies that are there. Killed in between, it is done again:
    the folders are the truth.
    """
    names = study_ids(storage)
    for space, found in trials.items():
        name = study_name(run, plan.storage, space)
        if name in names:
            storage.delete_study(names[name])
        open_study(storage, name, plan).add_trials(found)


def _replace_journal(
    run: RunDirectory, plan: Plan, trials: Mapping[str, Sequence[FrozenTrial]]
) -> BaseStorage:
    """A new journal, whole, in place of the one that is there, which is kept beside it."""
    temporary = temporary_name(run.journal)
    try:
        storage = open_journal(temporary, forced=False)
        for space, found in trials.items():
            open_study(storage, study_name(run, "", space), plan).add_trials(found)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        _keep_beside(run.journal)
        os.replace(temporary, run.journal)
    finally:
        temporary.unlink(missing_ok=True)
    return open_journal(run.journal)


def _keep_beside(journal: Path) -> None:
    if journal.is_file() and not journal.is_symlink():
        if journal.stat().st_size:
            os.replace(journal, journal.with_name(f"{journal.name}.replaced"))
    elif journal.is_symlink() or journal.exists():
        set_aside(journal)
