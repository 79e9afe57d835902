"""The replicas of a run: jobs.json says which trial each of them runs again, with which seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from analysis.run.notes import note
from analysis.run.records import TrialRecord
from analysis.run.sealed import RunError
from analysis.run.trial_files import TrialFiles
from spaces.errors import on_one_line
from spaces.objectives import metrics_of
from trainables.io.files import read_json, write_whole


@dataclass(frozen=True)
class Job:
    """One trial to be run again with one seed; its place in jobs.json is its number among the
    replicas.
    """

    space: str
    trial: int
    seed: int


def write_jobs(replicas: Path, jobs: Sequence[Job]) -> None:
    """Keep them, in a folder of a run."""
    text = json.dumps([asdict(job) for job in jobs])
    write_whole(replicas / "jobs.json", text, within=replicas.parent)


def read_jobs(replicas: Path) -> list[Job]:
    """Those that were kept; none if no trial was run again.

    Raises:
        RunError: if jobs.json cannot be read.
    """
    path = replicas / "jobs.json"
    try:
        found = read_json(path)
        fits = isinstance(found, list) and all(
            isinstance(job, dict)
            and {name: type(value) for name, value in job.items()}
            == {"space": str, "trial": int, "seed": int}
            for job in found
        )
        why = "" if fits else "no list of jobs"
    except FileNotFoundError:
        if not any((replicas / "trials").glob("*/*/result.json")):
            return []
        why = "missing"
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror or "unreadable" if isinstance(error, OSError) else on_one_line(error)
    if why:
        raise RunError(
            f"{path}: {why}; it says which trials were run again, and nothing can be ranked "
            "without it: put it back, "
            f"or move {replicas} away and run them again with visiontune replicate"
        )
    return [Job(**job) for job in found]


def replicated(replicas: Path) -> dict[str, dict[int, dict[str, float]]]:
    """Of each trial that was run again with every seed that was asked for: seed to metrics."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    unfinished = set[str]()
    records = {(record.space, record.number): record for record in TrialFiles(replicas).records()}
    for number, job in enumerate(read_jobs(replicas)):
        key, record = f"{job.space}/{job.trial}", records.get((job.space, number))
        if record is None:
            unfinished.add(key)
        elif record.state == "COMPLETE":
            found.setdefault(key, {})[job.seed] = record.metrics
    return {key: metrics for key, metrics in found.items() if key not in unfinished}


def with_replicas(records: Iterable[TrialRecord], replicas: Path) -> list[TrialRecord]:
    """Records of trials, with what came out when they were run again; one of whose replicas says
    too little is noted, and stands by itself.
    """
    again, found = replicated(replicas), []
    for record in records:
        seeds = again.get(record.key, {})
        known = set(metrics_of(record.metrics))
        if lacking := sorted({name for own in seeds.values() for name in known - set(own)}):
            note(
                f"{replicas / 'trials'}: a replica of trial {record.key} says nothing of "
                f"{', '.join(lacking)}; the trial stands by itself"
            )
            seeds = {}
        found.append(record.model_copy(update={"replicas": seeds}) if seeds else record)
    return found
