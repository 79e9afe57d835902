"""Several runs side by side, as a page and as tables."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from analysis.ranking.leaderboard import short_config
from analysis.ranking.run_comparison import RunComparison
from analysis.report.templates import rendered
from analysis.run.csv_text import csv_of_dicts
from spaces.objectives import METRICS
from trainables.io.files import write_whole


def write_comparison(
    found: RunComparison, runs: Sequence[str], out: Path, top: int = 10
) -> list[Path]:
    """Write ``comparison.html``, ``.csv`` (all trials) and ``.json`` to ``out``; returns the
    files.
    """
    page = rendered(
        "together.html.j2",
        found=found,
        runs=runs,
        top=top,
        digits=METRICS[found.objective].digits,
        short_config=short_config,
    )
    columns = ["rank", "run", "trial", "space", "model", *METRICS, "config"]
    table = [
        {**row, "config": short_config(row["config"], row["space"], exact=True)}
        for row in found.rows
    ]
    files = {
        "comparison.csv": csv_of_dicts(columns, table),
        "comparison.json": json.dumps(found.facts(top), indent=1, ensure_ascii=False),
        "comparison.html": page,
    }
    for name, content in files.items():
        write_whole(out / name, content)
    return [out / name for name in files]
