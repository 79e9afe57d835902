"""The part of the report that is about the search itself: pictures, and the page
``search.html``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from analysis.figures import search_figures
from analysis.figures.axes import MOST_LINES, MOST_TRIALS, axes_of, thinned
from analysis.figures.drawing import to_png
from analysis.ranking.history import Point, best_so_far, survival
from analysis.ranking.importance import Importance, to_csv
from analysis.ranking.leaderboard import ranked
from analysis.report import search_page
from analysis.report.templates import rendered
from analysis.run.records import TrialRecord

Files = dict[str, str | bytes]


@dataclass(frozen=True)
class SearchPart:
    """What the report says of the search.

    Attributes:
        files: beside the report.
        found_at: the trial after which the best of all was known; None if none is.
        importances: which parameters mattered, space by space.
    """

    files: Files
    found_at: Point | None = None
    importances: Sequence[Importance] = ()

    @property
    def pictures(self) -> list[str]:
        """Files of pictures that are too wide for the report."""
        return [name for name in self.files if name.startswith(("parallel-", "slices-"))]


def search_part(
    run: str,
    records: Sequence[TrialRecord],
    objective: str,
    reference: Mapping[str, float],
    importances: Sequence[Importance],
) -> SearchPart:
    """Pictures and page; empty where no trial is complete.

    Args:
        run: its name.
        reference: named accuracies, drawn where the objective is accuracy.
    """
    history = best_so_far(records, objective)
    if not history:
        return SearchPart({}, importances=importances)
    files: Files = {
        "best-so-far.png": to_png(search_figures.best_so_far(history, objective, reference))
    }
    figures = search_page.best_so_far(history, objective, MOST_TRIALS)
    reached = survival(records)
    if reached:
        files["survival.png"] = to_png(search_figures.survival(reached))
        figures["survival"] = search_page.survival(reached)
    if importances:
        files["importance.csv"] = to_csv(importances)
    if any(item.shares for item in importances):
        files["importance.png"] = to_png(search_figures.importance(importances))
    order = ranked(records, objective)
    spaces: list[dict[str, Any]] = []
    for space in history:
        item = next((item for item in importances if item.space == space), None)
        axes = _space(
            space, [r for r in order if r.space == space], objective, item, files, figures
        )
        spaces.append({"name": space, "importance": item, "axes": axes})
    files["search.html"] = _page(
        run,
        spaces,
        bool(reached),
        any(len(points) > MOST_TRIALS for points in history.values()),
        figures,
    )
    found_at = next(
        point for points in history.values() for point in points if point.record.key == order[0].key
    )
    return SearchPart(files, found_at, importances)


def _space(
    space: str,
    order: list[TrialRecord],
    objective: str,
    item: Importance | None,
    files: Files,
    figures: dict[str, Any],
) -> list[str]:
    """Adds the pictures of one space; returns the parameters that have one."""
    if item and item.shares:
        figures[f"importance {space}"] = search_page.importance(item)
    by_importance = list(item.shares) if item else []
    shown, lines = thinned(order), thinned(order, MOST_LINES)
    axes = axes_of(space, shown, by_importance)
    if not axes:
        return []
    values = np.array([record.metrics[objective] for record in shown])
    if few := axes_of(space, lines, by_importance):
        picture = search_figures.parallel(
            few, np.array([record.metrics[objective] for record in lines]), objective
        )
        files[f"parallel-{space}.png"] = to_png(picture)
    files[f"slices-{space}.png"] = to_png(search_figures.slices(axes, values, objective))
    figures[f"parallel {space}"] = search_page.parallel(axes, values, objective)
    figures |= {
        f"slice {space} {name}": figure
        for name, figure in search_page.slices(axes, values, objective, shown).items()
    }
    return [axis.name for axis in axes]


def _page(
    run: str,
    spaces: list[dict[str, Any]],
    reached: bool,
    thin: bool,
    figures: Mapping[str, search_page.Figure],
) -> str:
    return rendered(
"search.html.j2",
        run=run, spaces=spaces, survival=reached, thinned=thin, most=MOST_TRIALS,
        figures=Markup(search_page.as_json(figures)), plotly=Markup(search_page.plotly_js()),
    )  # fmt: skip
