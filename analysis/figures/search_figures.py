"""Pictures of how a search went and of what its parameters did, drawn with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.figures.axes import Axis, Float64
from analysis.figures.drawing import plain
from analysis.ranking.history import Point, clock_unit
from analysis.ranking.importance import Importance
from spaces.objectives import METRICS

MOST_AXES = 12
"""Parameters that one picture has room for."""
OUTSIDE = 0.05
"""Share of the trials, the worst, that pictures leave out."""
ABSENT = -0.12
"""Where a line passes an axis whose parameter does not apply."""


def best_so_far(
    history: Mapping[str, Sequence[Point]], objective: str, reference: Mapping[str, float]
) -> Figure:
    """The best of each space so far, against trials and against time; a dot a trial."""
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    scale, unit = clock_unit(max(point.seconds for points in history.values() for point in points))
    for number, (space, points) in enumerate(history.items()):
        best = [point.best for point in points]
        for axes, x in (
            (left, [p.count for p in points]),
            (right, [p.seconds / scale for p in points]),
        ):
            axes.plot(
                x, [p.value for p in points], ".", color=f"C{number}", alpha=0.3, markersize=4
            )
            axes.step(x, best, where="post", color=f"C{number}", linewidth=1.8, label=plain(space))
    values = np.array([point.value for points in history.values() for point in points])
    left.set_ylim(
        *_limits(values, objective, list(reference.values()) if objective == "val_accuracy" else [])
    )
    for name, value in reference.items() if objective == "val_accuracy" else ():
        for axes in (left, right):
            axes.axhline(value, color="0.5", linestyle="--", linewidth=1)
        left.annotate(
            f"{plain(name)} {value:g}", (0, value), xycoords=("axes fraction", "data"), xytext=(4,
            3), textcoords="offset points",
            fontsize=8, color="0.4",
        )  # fmt: skip
    left.set(xlabel="trials", ylabel=objective)
    right.set(xlabel=f"time in which trials ran, {unit}")
    for axes in (left, right):
        axes.grid(alpha=0.25)
    right.legend(
        fontsize=8,
        loc="lower right" if METRICS[objective].direction == "maximize" else "upper right",
    )
    return figure


def _limits(values: Float64, objective: str, lines: list[float]) -> tuple[float, float]:
    """Limits that leave out the worst twentieth: one trial that went wrong would flatten all
    others.
    """
    maximize = METRICS[objective].direction == "maximize"
    out = OUTSIDE if len(values) >= 1 / OUTSIDE else 0.0
    good, bad = (
        (values.max(), np.quantile(values, out))
        if maximize
        else (values.min(), np.quantile(values, 1 - out))
    )
    low, high = min(good, bad, *lines), max(good, bad, *lines)
    margin = 0.08 * (high - low) or 0.05 * abs(high) or 0.05
    return float(low - margin), float(high + margin)


def survival(reached: Mapping[str, Sequence[int]]) -> Figure:
    """How many trials reached each step."""
    figure = Figure(figsize=(6, 3.2), layout="constrained")
    axes = figure.add_subplot()
    for number, (space, counts) in enumerate(reached.items()):
        axes.step(
            range(1, len(counts) + 1),
            counts,
            where="mid",
            color=f"C{number}",
            linewidth=1.8,
            label=plain(space),
        )
        axes.fill_between(
            range(1, len(counts) + 1), counts, step="mid", color=f"C{number}", alpha=0.15
        )
    axes.set(xlabel="step", ylabel="trials that reached it", ylim=(0, None))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    return figure


def importance(found: Sequence[Importance]) -> Figure:
    """Shares as bars, one panel a space."""
    judged = [item for item in found if item.shares]
    rows = [min(len(item.shares), MOST_AXES) for item in judged]
    figure = Figure(figsize=(7, sum(rows) * 0.28 + 0.8 * len(rows) + 0.3), layout="constrained")
    panels = figure.subplots(len(judged), 1, squeeze=False, height_ratios=rows, sharex=True)[:, 0]
    for number, (axes, item) in enumerate(zip(panels, judged, strict=True)):
        shares = dict(list(item.shares.items())[:MOST_AXES])
        bars = axes.barh(list(shares), list(shares.values()), color=f"C{number}", height=0.7)
        axes.bar_label(bars, [f"{share:.0%}" for share in shares.values()], padding=3, fontsize=8)
        axes.invert_yaxis()
        axes.tick_params(labelsize=8)
        axes.margins(x=0.12)
        axes.set_title(plain(item.headline), fontsize=9, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def parallel(axes_: Sequence[Axis], values: Float64, objective: str) -> Figure:
    """A line a trial through its parameters, coloured by the objective; the best are drawn last."""
    shown = axes_[:MOST_AXES]
    figure = Figure(figsize=(max(6.0, 1.15 * len(shown) + 2.5), 4.2), layout="constrained")
    axes = figure.add_subplot()
    # or trials with the same values would be one line
    spread = np.random.default_rng(0).uniform(-0.025, 0.025, len(values))
    heights = np.column_stack(
        [
            np.nan_to_num(axis.scaled(), nan=ABSENT) + spread * (axis.few is not None)
            for axis in shown
        ]
    )
    worst_first = np.argsort(
        values if METRICS[objective].direction == "maximize" else -values, kind="stable"
    )
    lines = [np.column_stack([np.arange(len(shown)), heights[i]]) for i in worst_first]
    colors = "viridis" if METRICS[objective].direction == "maximize" else "viridis_r"
    drawn = LineCollection(
        lines,
        array=values[worst_first],
        cmap=colors,
        norm=_norm(values, objective),
        linewidths=1.1,
        alpha=0.55,
    )
    axes.add_collection(drawn)
    bar = ScalarMappable(drawn.norm, colors)  # the lines' own would be as pale as they are
    figure.colorbar(bar, ax=axes, label=objective, pad=0.02)
    for place, axis in enumerate(shown):
        axes.axvline(place, color="0.6", linewidth=0.8)
        for height, label in _ticks(axis):
            axes.annotate(
                label,
                (place, height),
                xytext=(3, 0),
                textcoords="offset points",
                fontsize=7,
                va="center",
                bbox=LABEL,
            )
    axes.set_xticks(
        range(len(shown)), [plain(axis.name) for axis in shown], rotation=25, ha="right", fontsize=8
    )
    axes.set(xlim=(-0.1, len(shown) - 0.5), ylim=(ABSENT - 0.06, 1.08))
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    return figure


LABEL = {"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}


def _ticks(axis: Axis) -> list[tuple[float, str]]:
    """What is written at which height of an axis."""
    absent = [(ABSENT, "–")] if bool(np.isnan(axis.values).any()) else []
    if axis.words:
        return [
            *absent,
            *((i / (len(axis.words) - 1), plain(word)) for i, word in enumerate(axis.words)),
        ]
    if axis.few is not None:
        return [
            *absent,
            *zip(
                np.unique(axis.scaled())[: len(axis.few)].tolist(),
                [f"{value:.3g}" for value in axis.few],
                strict=True,
            ),
        ]
    low, high = float(np.nanmin(axis.values)), float(np.nanmax(axis.values))
    middle = math.sqrt(low * high) if axis.log else (low + high) / 2
    return [*absent, (0.0, f"{low:.3g}"), (0.5, f"{middle:.3g}"), (1.0, f"{high:.3g}")]


def _norm(values: Float64, objective: str) -> Normalize:
    maximize = METRICS[objective].direction == "maximize"
    low, high = (
        (np.quantile(values, 0.1), values.max())
        if maximize
        else (values.min(), np.quantile(values, 0.9))
    )
    return Normalize(low, high if high > low else low + 1e-9)


def slices(axes_: Sequence[Axis], values: Float64, objective: str) -> Figure:
    """Draw the objective against each parameter: one dot for each trial, a ring around the best."""
    shown = axes_[:MOST_AXES]
    columns = min(4, len(shown))
    rows = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(2.7 * columns, 2.4 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    maximize = METRICS[objective].direction == "maximize"
    best = int(np.argmax(values) if maximize else np.argmin(values))
    for axes, axis in zip(panels, shown, strict=False):
        _slice(axes, axis, values, best)
    panels[0].set_ylim(*_limits(values, objective, []))
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    figure.supylabel(objective, fontsize=9)
    return figure


def _slice(axes: Axes, axis: Axis, values: Float64, best: int) -> None:
    spread = (
        np.random.default_rng(0).uniform(-0.18, 0.18, len(values))
        if axis.words
        else np.zeros(len(values))
    )
    axes.scatter(axis.values + spread, values, s=7, alpha=0.4, linewidths=0)
    axes.scatter(
        axis.values[best] + spread[best],
        values[best],
        s=45,
        facecolors="none",
        edgecolors="C3",
        linewidths=1.3,
    )
    if axis.words:
        axes.set_xticks(
            range(len(axis.words)), [plain(word) for word in axis.words], rotation=35, ha="right"
        )
    elif axis.log:
        axes.set_xscale("log")
        low, high = float(np.nanmin(axis.values)), float(np.nanmax(axis.values))
        steps = (1,) if high / low > 100 else (1, 2, 5)
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        ticks = [
            step * 10.0**decade
            for decade in decades
            for step in steps
            if low <= step * 10.0**decade <= high
        ]
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
    axes.set_title(plain(axis.name), fontsize=9)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.2)
