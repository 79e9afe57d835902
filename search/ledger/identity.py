"""Who a run is, settled by its driver: whatever still says it is asked, and it is written down
where it was not or is no longer.
"""

from __future__ import annotations

from analysis.plan.plan import Plan
from analysis.run.directory import RunDirectory
from analysis.run.identity import (
    FILE,
    Identity,
    name_at_first,
    new_study,
    read_identity,
    write_identity,
)
from analysis.run.notes import note
from analysis.run.trial_files import LABELS
from search.ledger.outbox import Outbox
from search.study.storage import runs_in
from spaces import plugins
from trainables.io.files import set_aside, sha256

KEPT = ("data.json", LABELS)
"""Files that never change."""


def make_identity(run: RunDirectory, study: str, plan: Plan) -> None:
    """Write run.json: the run's identity, with digests of the files that are there and of the
    plug-ins that the plan needs.
    """
    paths = [run.path / name for name in KEPT]
    write_identity(
        run.path,
        Identity(
            study=study,
            sha256s={path.name: sha256(path) for path in paths if path.is_file()},
            plugins=plugins.sha256s(plan.words(), asked=True),
        ),
    )


def renew_digests(run: RunDirectory) -> None:
    """Have run.json say what the files that never change are now: they were lost, and another
    version may write the same facts otherwise.
    """
    known = read_identity(run.path)
    if known is None:
        return
    paths = [run.path / name for name in KEPT if name in known.sha256s]
    found = {path.name: sha256(path) for path in paths if path.is_file()}
    if {**known.sha256s, **found} != known.sha256s:
        write_identity(run.path, known.model_copy(update={"sha256s": {**known.sha256s, **found}}))


def settle_identity(run: RunDirectory, plan: Plan) -> None:
    """Write run.json where there is none: of a run of old, or one that has lost it.

    Raises:
        NewerError: if a newer version wrote the run.
        RunError: if a database that may tell cannot be reached.
    """
    if read_identity(run.path) is not None:
        return
    study = run.identity() or _told(run) or _in_database(run, plan)
    if not study:
        study = new_study(name_at_first(run.path))
        if any((run.path / "trials").glob("*/*/result.json")):
            note(
                f"{run.path / 'run.json'}: missing, and nothing else says who this run is: "
                "MLflow is told all of it as a new one"
            )
    if (path := run.path / FILE).is_dir():
        note(f"{path}: no file; moved to {set_aside(path)}")
    make_identity(run, study, plan)


def _told(run: RunDirectory) -> str:
    """As MLflow was last told it."""
    return next(
        (
            fact["study"]
            for fact, _ in Outbox(run.outbox).read()
            if fact["kind"] == "run" and fact.get("study")
        ),
        "",
    )


def _in_database(run: RunDirectory, plan: Plan) -> str:
    """As the one run of that name in a database of studies."""
    found = runs_in(plan.storage, name_at_first(run.path), plan.spaces[0]) if plan.storage else []
    return found[0] if len(found) == 1 else ""
