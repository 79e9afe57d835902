"""Where Optuna's studies live: a journal in the run directory, or a database by its URL."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial

from analysis.plan.addresses import sqlite_file
from analysis.plan.plan import Plan
from analysis.run.directory import RunDirectory, RunError
from analysis.run.records import TrialRecord
from search.sampling.optuna_internals import TURNS, study_ids
from search.study.study import CONFIG
from spaces import SPACES
from spaces.errors import UserError, on_one_line
from spaces.objectives import METRICS
from trainables.io.files import append_lines, cut_half_line

PATIENCE = 600.0
"""Seconds that a search waits for a database that is locked, or that restarts."""
READERS_PATIENCE = 30.0
"""The same for commands that only read."""


class Journal(JournalFileBackend):
    """Optuna's journal file, forced to disk when a trial begins and ends instead of at every word
    between. Some fifteen lines are written for a trial, and waiting for the disk after
    each was a third of the driver's time.

    Optuna's lock file beside the journal, made and removed for every line, was another tenth, and
    guards nothing here: a run has one driver at a time, which holds the kernel's lock on the run,
    and nobody else writes its journal.

    A killed driver loses nothing by it: the system has what was written. A power cut may lose what
    a running trial had been given since the last line that was forced, and it is run again.
    A full disk keeps no half of a line, after which Optuna could read nothing any more.

    Args:
        forced: False where whoever writes it forces the whole file.
    """

    def __init__(self, path: str, forced: bool = True) -> None:
        super().__init__(path)
        self._path = Path(path)
        self._forced = forced

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        lines = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs)
        append_lines(
            self._path,
            lines,
            forced=self._forced and bool(TURNS.intersection(log["op_code"] for log in logs)),
        )


def _nobody(line: str) -> None:
    """Told what nobody asked to hear; by name, since Optuna pickles storages."""


def _reader(line: str) -> None:
    print(line, file=sys.stderr)


def open_storage(run: RunDirectory, url: str, say: Callable[[str], None] = _nobody) -> BaseStorage:
    """The storage of a run; for the driver, which alone writes it.

    Args:
        say: told when a database makes the driver wait.

    Raises:
        RunError: if a database cannot be reached.
        FailedError: if one stays locked.
    """
    return _database(url, say, PATIENCE) if url else open_journal(run.journal)


def open_journal(journal: Path, forced: bool = True) -> JournalStorage:
    """The storage in ``journal``.

    Args:
        forced: on the disk when a trial begins and ends.

    A driver killed while it wrote leaves half a line or a lock: both are removed, since
    what was not written whole was not said.
    """
    journal.parent.mkdir(parents=True, exist_ok=True)
    for lock in journal.parent.glob(f"{journal.name}.lock*"):
        lock.unlink(missing_ok=True)
    cut_half_line(journal)
    return JournalStorage(Journal(str(journal.absolute()), forced))


def _database(url: str, say: Callable[[str], None], patience: float) -> RDBStorage:
    import sqlalchemy

    from search.study.database import Database

    try:
        return Database(url, say, patience)
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        cause = on_one_line(getattr(error, "orig", None) or error)
        raise RunError(
            f"storage {url} cannot be opened ({cause}); check that the database is there and "
            "may be written"
        ) from error


def study_name(run: RunDirectory, url: str, space: str) -> str:
    """The name of a space's study: the space in the run's own journal; run and space in a database
    that others use too.
    """
    return f"visiontune/{run.identity()}/{space}" if url else space


def trials_in(storage: BaseStorage, run: RunDirectory, url: str) -> dict[str, list[FrozenTrial]]:
    """Every trial of a run by space, as Optuna has them."""
    prefix = study_name(run, url, "")
    return {
        name.removeprefix(prefix): storage.get_all_trials(study, deepcopy=False)
        for name, study in study_ids(storage).items()
        if name.startswith(prefix)
    }


def directions_of(storage: BaseStorage, run: RunDirectory, plan: Plan, space: str) -> list[str]:
    """Which way a space's study takes its objectives to be better: ``maximize`` or ``minimize``."""
    study = storage.get_study_id_from_name(study_name(run, plan.storage, space))
    return [direction.name.lower() for direction in storage.get_study_directions(study)]


def read_trials(run: RunDirectory, url: str = "") -> dict[str, list[FrozenTrial]]:
    """Every trial by space, as Optuna has them; for reading beside a driver that writes.

    Raises:
        RunError: if they cannot be read.
    """
    if not url and not run.journal.is_file():
        return {}
    try:
        storage = (
            _to_read(url)
            if url
            else JournalStorage(JournalFileBackend(str(run.journal.absolute())))
        )
        try:
            return trials_in(storage, run, url)
        finally:
            close(storage)
    except UserError:
        raise
    except Exception as error:  # what a damaged journal says can make Optuna raise anything
        where = f"storage {url}" if url else run.journal
        raise RunError(
            f"{where}: no readable study ({on_one_line(error)}); visiontune resume builds it "
            "again from the trials"
        ) from error


def study_records(place: str, plan: Plan) -> list[TrialRecord]:
    """The trials of a study anywhere as records, whoever made them.

    Args:
        place: URL of a database or path of a journal, and ``#NAME`` where it has several studies.
        plan: of the search that is to know them: of its space they are taken to be, unless the
            study's name says another, and by its objectives, unless the study says otherwise.

    Raises:
        RunError: if there is no such study, or it is of other objectives.
    """
    url, _, name = place.partition("#")
    if (file := sqlite_file(url)) and not file.is_file():  # which asking would make
        raise RunError(f"{url}: there is no such file; name a study that is there")
    try:
        storage: BaseStorage = (
            JournalStorage(JournalFileBackend(url)) if Path(url).is_file() else _to_read(url)
        )
        try:
            names = list(study_ids(storage))
            if len(names) != 1 and name not in names:
                raise RunError(
                    f"{url}: say which study, as in {url}#NAME; there are "
                    f"{', '.join(names[:8]) or 'none'}"
                )
            study = optuna.load_study(study_name=name or names[0], storage=storage)
            return _as_records(study, plan)
        finally:
            close(storage)
    except UserError:
        raise
    except Exception as error:  # what a damaged journal says can make Optuna raise anything
        raise RunError(f"{url}: no readable study {name} ({on_one_line(error)})") from error


def _as_records(study: optuna.Study, plan: Plan) -> list[TrialRecord]:
    space = study.study_name.rpartition("/")[2]
    if space not in SPACES:
        if len(plan.spaces) > 1:
            raise RunError(
                f"study {study.study_name!r} does not say of which space it is; give one --space"
            )
        space = plan.spaces[0]
    names = tuple(study.metric_names or plan.objectives)
    ours = [METRICS[name].direction for name in names if name in METRICS]
    if ours != [direction.name.lower() for direction in study.directions]:
        theirs = ", ".join(study.metric_names or [d.name.lower() for d in study.directions])
        raise RunError(
            f"study {study.study_name!r} is of {theirs}, and this search of "
            f"{', '.join(plan.objectives)}"
        )
    records = []
    for trial in study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,)):
        said = {name: value for name, value in trial.user_attrs.items() if name in METRICS}
        seconds = trial.duration.total_seconds() if trial.duration else 0.0
        try:
            records.append(
                TrialRecord(
                    space=space,
                    number=trial.number,
                    state="COMPLETE",
                    config=trial.user_attrs.get(CONFIG, trial.params),
                    metrics={**said, **dict(zip(names, trial.values, strict=True))},
                    started=trial.datetime_start.timestamp() if trial.datetime_start else 0.0,
                    seconds=said.get("seconds", seconds),
                )
            )
        except ValueError:  # what somebody else's trial is made of can be anything
            continue
    return records


def runs_in(url: str, name: str, space: str) -> list[str]:
    """Who the runs are that were begun as ``name`` and have a study of ``space`` in a database."""
    storage = _to_read(url)
    try:
        names = [study.study_name for study in storage.get_all_studies()]
    finally:
        close(storage)
    found = [
        one.removeprefix("visiontune/").removesuffix(f"/{space}")
        for one in names
        if one.endswith(f"/{space}")
    ]
    return [one for one in found if re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{8,32}}", one)]


def _to_read(url: str) -> RDBStorage:
    """A database, for a command that only reads."""
    return _database(url, _reader, READERS_PATIENCE)


def close(storage: BaseStorage) -> None:
    """Give back a database's connections; a journal has none."""
    if isinstance(storage, RDBStorage):
        storage.remove_session()
        storage.engine.dispose()
