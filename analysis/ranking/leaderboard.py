"""The leaderboard: finished trials from best to worst, as rows, CSV and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from analysis.run.csv_text import csv_of_dicts
from analysis.run.directory import RunError
from analysis.run.records import TrialRecord
from spaces import SPACES
from spaces.errors import echo
from spaces.objectives import METRICS


def ranked(records: Iterable[TrialRecord], objective: str = "val_accuracy") -> list[TrialRecord]:
    """COMPLETE trials within the constraints, from best to worst by the objective; equals by space
    and number.

    Those that were run again with other seeds come first, by the mean over these: of the others
    nobody knows how lucky they were.
    """
    complete = [
        r for r in records if r.state == "COMPLETE" and objective in r.metrics and not r.violations
    ]
    sign = -1.0 if METRICS[objective].direction == "maximize" else 1.0
    return sorted(
        complete,
        key=lambda record: (
            not record.replicas,
            sign * record.value(objective),
            record.space,
            record.number,
        ),
    )


def replicas(record: TrialRecord, objective: str) -> dict[str, Any] | None:
    """How a trial did with other seeds: {seeds, mean, spread}, the standard deviation as the
    spread; None if it was not run again.
    """
    values = [found[objective] for found in record.replicas.values()]
    if not values:
        return None
    return {
        "seeds": sorted(record.replicas),
        "mean": fmean(values),
        "spread": stdev(values) if len(values) > 1 else 0.0,
    }


def find_record(records: list[TrialRecord], trial: str) -> TrialRecord:
    """The record of trial ``SPACE/N``, or ``N`` where only one space has it.

    Raises:
        RunError: if there is none, or more than one.
    """
    space, _, number = trial.rpartition("/")
    found = [r for r in records if str(r.number) == number and space in ("", r.space)]
    if len(found) == 1:
        return found[0]
    if found:
        raise RunError(
            f"trial {trial} is in several spaces; ask for {' or '.join(r.key for r in found)}"
        )
    known = ", ".join(r.key for r in records[:5]) or "none"
    raise RunError(
        f"no finished trial {echo(trial)}; finished are {known}{' …' if len(records) > 5 else ''}"
    )


def chosen_record(
    records: list[TrialRecord], objective: str, trial: str | None, otherwise: str
) -> TrialRecord:
    """The record of ``trial``; without one, the best.

    Raises:
        RunError: if there is none; saying ``otherwise`` where no trial is complete.
    """
    if trial:
        return find_record(records, trial)
    order = ranked(records, objective)
    if not order:
        raise RunError(otherwise)
    return order[0]


def pareto_front(records: Iterable[TrialRecord], objectives: Sequence[str]) -> list[TrialRecord]:
    """The ranked trials that no other beats in one objective without losing in another; by the
    first objective.
    """
    front: list[TrialRecord] = []
    candidates = [
        record
        for record in ranked(records, objectives[0])
        if all(name in record.metrics for name in objectives)
    ]
    for record in candidates:
        if not any(_dominates(other, record, objectives) for other in candidates):
            front.append(record)
    return front


def _dominates(one: TrialRecord, other: TrialRecord, objectives: Sequence[str]) -> bool:
    pairs = [(METRICS[name], one.metrics[name], other.metrics[name]) for name in objectives]
    return not any(metric.better(b, a) for metric, a, b in pairs) and any(
        metric.better(a, b) for metric, a, b in pairs
    )


def passed(reference: Mapping[str, float], accuracy: float) -> list[str]:
    """Names of the reference lines that an accuracy is above."""
    return [name for name, value in reference.items() if accuracy > value]


def rows(
    records: Iterable[TrialRecord],
    objective: str,
    reference: Mapping[str, float],
    tradeoff: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """One JSON-able row a trial, best first.

    Each row says which reference lines its val_accuracy passes and, with further
    objectives in ``tradeoff``, whether it is on the Pareto front.
    """
    records = list(records)
    front = (
        {record.key for record in pareto_front(records, (objective, *tradeoff))}
        if tradeoff
        else set()
    )
    return [
        {
            "rank": rank,
            "trial": record.key,
            "space": record.space,
            "number": record.number,
            **{name: record.metrics[name] for name in METRICS if name in record.metrics},
            "passes": passed(reference, record.metrics.get("val_accuracy", 0.0)),
            "seconds": record.seconds,
            **({} if record.parent is None else {"parent": f"{record.space}/{record.parent}"}),
            **({"replicas": found} if (found := replicas(record, objective)) else {}),
            "config": record.config,
            **({"front": record.key in front} if tradeoff else {}),
        }
        for rank, record in enumerate(ranked(records, objective), 1)
    ]


def to_csv(table: list[dict[str, Any]]) -> str:
    """Rows as CSV, one column a parameter; empty where a space has no such parameter."""
    parameters = list(dict.fromkeys(name for row in table for name in row["config"]))
    metrics = [name for name in METRICS if any(name in row for row in table)]
    columns = [
        "rank",
        "trial",
        "space",
        "number",
        *dict.fromkeys((*metrics, "seconds")),
        *(["parent"] if any("parent" in row for row in table) else []),
        *parameters,
    ]
    return csv_of_dicts(columns, ({**row, **row["config"]} for row in table))


def short_config(config: Mapping[str, Any], space: str, *, exact: bool = False) -> str:
    """A configuration of ``space`` on one line, ``metric=cityblock size=16 …``, without what does
    not apply; numbers to four significant digits, unless ``exact``.
    """
    parameters = (
        [p for p in SPACES[space].parameters if set(p.when or {}) <= set(config)]
        if space in SPACES
        else []
    )
    idle = {parameter.name for parameter in parameters if not parameter.applies(config)}
    shown = {name: value for name, value in config.items() if name not in idle}
    return " ".join(
        f"{name}={value if exact and not isinstance(value, bool) else readable(value)}"
        for name, value in shown.items()
    )


def readable(value: Any) -> str:
    """A setting for people: a number to four significant digits, but whole ones in full."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
