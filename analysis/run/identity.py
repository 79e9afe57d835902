"""Who a run is: a name with a UUID, in a file that is written once, when its directory becomes a
run.

Where the directory lies and what it is called may change; by its identity MLflow's runs and the
studies of a database are found.
"""

from __future__ import annotations

import uuid
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict

from analysis.run.sealed import DamagedError, read_as, sealed
from trainables.io.files import write_whole

FILE = "run.json"


class Identity(BaseModel):
    """What run.json says.

    Attributes:
        study: the run among all runs anywhere: the name that it was begun under, and a UUID.
        sha256s: of the files that were written with it and never change, by name.
        plugins: SHA-256 of the source of each plug-in that it needs, by the name of its module.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    study: str
    sha256s: dict[str, str] = {}
    plugins: dict[str, str] = {}


def new_study(name: str) -> str:
    """A name that no other run has, for one that is begun as ``name``."""
    return f"{name}-{uuid.uuid4().hex}"


def read_identity(run: Path) -> Identity | None:
    """What run.json says; None where it is missing or damaged, or where a version before it wrote
    the run.

    Raises:
        NewerError: if a newer version wrote it.
    """
    path = run / FILE
    try:
        return read_as(Identity, path.read_bytes(), path)
    except (OSError, DamagedError):
        return None


def write_identity(run: Path, identity: Identity) -> None:
    # versions before that know no plug-ins
    left_out = None if identity.plugins else {"plugins"}
    write_whole(run / FILE, sealed(identity.model_dump(exclude=left_out)), within=run)


def name_at_first(run: Path) -> str:
    """The name that a run was begun under, which its plan keeps; that of its folder, if the plan
    cannot be read.
    """
    try:
        settings = yaml.safe_load((run / "plan.yaml").read_text(encoding="utf-8"))
        return str(settings["name"] or run.name)
    except (OSError, ValueError, TypeError, KeyError, RecursionError, yaml.YAMLError):
        return run.name
