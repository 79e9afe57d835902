"""What is said of several runs together, for the commands ``leaderboard``, ``best`` and
``report``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analysis.plan.settings import NO_DATASET
from analysis.ranking.leaderboard import short_config
from analysis.ranking.run_comparison import JudgedRun, RunComparison, compare_runs
from analysis.run.finding import find_run
from spaces.objectives import METRICS


def best_of_several(run: Sequence[str], top: int, runs_dir: Path, json_: bool) -> None:
    """``visiontune best`` of several runs: the best trials of all."""
    found = compared(run, runs_dir)
    if json_:
        print(
            json.dumps(
                [{**row, "comparable": not found.differences} for row in found.rows[:top]],
                ensure_ascii=False,
            )
        )
        return
    warn(found)
    for row in found.rows[:top]:
        say_row(row["run"], row, found.objective)
    if found.against:
        print(f"     {found.against}")


def report_of_several(run: Sequence[str], out: Path | None, runs_dir: Path) -> list[Path]:
    """``visiontune report`` of several runs: one page; returns the files written."""
    from analysis.report.comparison import write_comparison

    found = compared(run, runs_dir)
    warn(found)
    names = [find_run(name, runs_dir).name for name in run]
    return write_comparison(found, names, out or runs_dir / f"comparison-{'-'.join(names)}"[:120])


def compared(run: Sequence[str], runs_dir: Path) -> RunComparison:
    """Several runs, as their plans want them judged."""
    judged = []
    for name in run:
        folder = find_run(name, runs_dir)
        plan = folder.plan()
        scheme = (
            "no images"
            if plan.dataset == NO_DATASET
            else plan.validation_for(folder.data().sizes).scheme
        )
        judged.append(JudgedRun(folder, plan.objective, scheme, plan.reference))
    return compare_runs(judged)


def warn(found: RunComparison) -> None:
    """Say on standard error why figures cannot be compared."""
    for line in found.differences:
        print(f"not comparable: {line}", file=sys.stderr)


def say_row(run: str, row: dict[str, Any], objective: str) -> None:
    """Print one trial."""
    digits = METRICS[objective].digits
    again = row.get("replicas")
    mean = (
        (
            f"  mean {again['mean']:.{digits}f} ± {again['spread']:.{digits}f} of "
            f"{len(again['seeds'])} other seeds"
        )
        if again
        else ""
    )
    print(
        f"{row['rank']:>3}  {run}: {row['trial']:<18} {objective} {row[objective]:.{digits}f}{mean}"
    )
    print(f"     {short_config(row['config'], row['space'])}")
