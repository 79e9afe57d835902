"""Addresses of databases and of MLflow, as a plan has them: made absolute once, and looked at
before anything starts.

A relative path means a file of the directory in which the search is begun. It is made absolute
then, and the plan keeps it so: what resumes, syncs or exports from elsewhere means the same file.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import re
import sqlite3
from pathlib import Path
from typing import Annotated
from urllib.parse import parse_qs, urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator

from spaces.errors import UserError, on_one_line

MOST_ADDRESS = 5000
"""Characters of a path or URL."""
SQLITE = re.compile(r"(sqlite(?:\+\w+)?:///)([^?]*)(.*)", re.DOTALL)
"""Of a URL: what stands before the path, the path, and what stands behind it."""
SERVERS = ("postgresql", "mysql", "mssql")
"""Databases, beside sqlite, in which MLflow keeps runs."""
REMOTE = ("http", "https", "databricks")
STORAGES = ("sqlite:///", "postgresql://", "postgresql+psycopg2://", "mysql://", "mysql+pymysql://")
"""Databases in which Optuna keeps studies."""


class Tracking(BaseModel):
    """Where MLflow is to see the search.

    Attributes:
        enabled: False sends nothing.
        uri: MLflow's tracking URI; by default sqlite in the runs directory. Credentials come from
            MLflow's own environment variables.
        experiment: MLflow experiment.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    enabled: bool = True
    uri: Annotated[str, Field(max_length=MOST_ADDRESS)] | None = None
    experiment: Annotated[str, Field(max_length=250)] = "visiontune"

    @field_validator("uri")
    @classmethod
    def _no_secret(cls, uri: str | None) -> str | None:
        parts = urlsplit(uri or "")
        if (
            parts.password is not None
            or (parts.scheme.startswith("http") and parts.username)
            or "password" in parse_qs(parts.query)
        ):
            raise ValueError(
                "a plan is kept and shown, so neither user nor password belongs in it: put them "
                "into MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, a token into MLFLOW_TRACKING_TOKEN, and a database's "
                "password into PGPASSWORD or ~/.my.cnf"
            )
        return absolute(uri) if uri else None


def absolute(url: str, base: Path | None = None) -> str:
    """``url`` with the path of an sqlite file made absolute: in ``base``, by default the current
    directory.
    """
    found = SQLITE.fullmatch(url)
    if not found or found[2] in ("", ":memory:"):
        return url
    return f"{found[1]}{(base or Path()).absolute() / os.path.expanduser(found[2])}{found[3]}"


def as_begun(url: str, runs_dir: Path) -> str:
    """``url`` as the search meant it that kept it relative, which earlier versions did with
    MLflow's.

    They took it from the directory in which the search was begun, which is the one that holds the
    runs directory, unless ``--runs-dir`` said otherwise. Where no such file is there, and one is in
    the current directory, it is that one.
    """
    begun, here = absolute(url, runs_dir.absolute().parent), absolute(url)
    return here if not _file_of(begun).is_file() and _file_of(here).is_file() else begun


def _file_of(url: str) -> Path:
    found = SQLITE.fullmatch(url)
    return Path(found[2] if found else "")


def sqlite_file(url: str) -> Path | None:
    """The file of an sqlite URL; None of any other."""
    return _file_of(url) if SQLITE.fullmatch(url) else None


def check_tracking(tracking: Tracking, runs_dir: Path) -> None:
    """Refuse an MLflow that can never be told anything; a server that is only away is none of
    these.

    Raises:
        UserError: one line that says what to type.
    """
    if not tracking.enabled:
        return
    uri = tracking.uri
    if uri is None:
        _check_file(
            runs_dir.absolute() / "mlflow.db",
            tracking.experiment,
            True,
            "give another --runs-dir, or --no-tracking",
        )
        return
    _check_form(uri)
    if SQLITE.fullmatch(uri):
        _check_file(
            _file_of(uri),
            tracking.experiment,
            False,
            "give another --tracking-uri, or --no-tracking",
        )
    elif uri.partition(":")[0].partition("+")[0] in SERVERS:
        _check_driver(uri)


def _check_form(uri: str) -> None:
    instead = (
        "type --tracking-uri http://HOST:PORT for a server, sqlite:///FILE.db for a file, "
        "or leave it out for mlflow.db among the runs"
    )
    if re.match(r"sqlite\b", uri) and (
        not (found := SQLITE.fullmatch(uri)) or found[2] in ("", ":memory:")
    ):
        raise UserError(
            f"tracking.uri {uri!r} names no file that is still there when the search has ended; "
            f"{instead}"
        )
    scheme = uri.partition(":")[0].lower()
    if re.fullmatch(r"[\w.-]+:\d{1,5}(/.*)?|\[[0-9a-fA-F:]+\]:\d{1,5}(/.*)?|localhost(/.*)?", uri):
        raise UserError(f"tracking.uri {uri!r} has no scheme; type --tracking-uri http://{uri}")
    if scheme == "file" or ("://" not in uri and scheme != "databricks"):
        raise UserError(
            f"tracking.uri {uri!r} is a folder, and MLflow keeps runs in folders no more; {instead}"
        )
    if scheme in ("http", "https"):
        try:
            named = urlsplit(uri).hostname and (urlsplit(uri).port or 1)
        except ValueError:
            named = None
        if not named:
            raise UserError(
                f"tracking.uri {uri!r} names no host, or no port from 1 to 65535; {instead}"
            )
    known = {*REMOTE, *SERVERS, "sqlite"}
    if scheme.partition("+")[0] not in known:
        others = {
            entry.name for entry in importlib.metadata.entry_points(group="mlflow.tracking_store")
        }
        if scheme not in others:
            better = f"postgresql://{uri.partition('://')[2]}" if scheme == "postgres" else ""
            there = (
                f"type {better}"
                if better
                else f"MLflow knows {', '.join(sorted(known | others))}; {instead}"
            )
            raise UserError(
                f"tracking.uri {uri!r} begins with {scheme}://, which MLflow does not know; {there}"
            )


def _check_driver(uri: str) -> None:
    """Refuse a database for which no module is installed."""
    import sqlalchemy

    try:
        sqlalchemy.make_url(uri).get_dialect().import_dbapi()
    except (ImportError, sqlalchemy.exc.ArgumentError) as error:
        raise UserError(
            f"tracking.uri {uri!r} cannot be used ({on_one_line(error)}); install that, or name "
            "its driver in the URI"
        ) from error


def _check_file(path: Path, experiment: str, made: bool, instead: str) -> None:
    """Refuse a file that cannot be written or is no database, and an experiment that was deleted.

    Args:
        made: its folder is made where it is not there.
        instead: what to type.
    """
    place = next(parent for parent in path.parents if parent.exists())
    cause = ""
    if path.is_dir():
        cause = "is a folder"
    elif made and not path.exists():
        return  # whoever makes the folder says what is wrong with that
    elif not place.is_dir():
        cause = f"cannot be made: {place} is no folder"
    elif place != path.parent:
        cause = f"cannot be made: there is no folder {path.parent}"
    elif not os.access(place, os.W_OK | os.X_OK) or (
        path.exists() and not os.access(path, os.R_OK | os.W_OK)
    ):
        cause = "cannot be written"
    elif path.exists():
        cause = _unfit(path, experiment)
    if cause:
        raise UserError(f"MLflow's database {path} {cause}; {instead}")


def _unfit(path: Path, experiment: str) -> str:
    """Why a file cannot be MLflow's database of this experiment; empty where it can, or that cannot
    be told now.
    """
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=1)
        ) as database:
            query = (
                "select experiment_id from experiments where name = ? and lifecycle_stage = "
                "'deleted'"
            )
            found = database.execute(query, (experiment,)).fetchone()
    except sqlite3.OperationalError:  # locked, or without tables yet: not for ever
        return ""
    except sqlite3.DatabaseError as error:
        return f"is none ({on_one_line(error)})"
    if found:
        raise UserError(deleted(experiment, f"sqlite:///{path}", str(found[0])))
    return ""


def deleted(experiment: str, uri: str, identity: str) -> str:
    """What is said of an experiment that was deleted."""
    return (
        f"MLflow's experiment {experiment!r} was deleted; bring it back with "
        f"MLFLOW_TRACKING_URI={uri} mlflow experiments restore --experiment-id {identity}, or "
        "name another in the plan, tracking.experiment"
    )


def study_storage(url: str) -> str:
    """Where Optuna's studies are to live, as a plan keeps it; empty for a journal in the run.

    Raises:
        ValueError: if it is nowhere that studies can, or should, be kept.
    """
    if url and not url.startswith(STORAGES):
        raise ValueError(
            f"a storage is a URL that begins with {', '.join(STORAGES)}; leave it out for a "
            "journal in the run directory"
        )
    if urlsplit(url).password is not None:
        raise ValueError(
            "a plan is kept and shown, so no password belongs in it: put it into PGPASSWORD "
            "or ~/.pgpass, or ~/.my.cnf"
        )
    if url in ("sqlite:///", "sqlite:///:memory:"):
        raise ValueError(
            "a storage in memory would be gone with the search: name a file, sqlite:///studies.db"
        )
    return absolute(url)
