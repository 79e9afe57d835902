"""The page ``search.html``: how a search went, to be pointed at and dragged; plotly.js is inside,
so it needs no network.

The figures are plain data for plotly.js: its Python classes take a second to load, and are not
needed to write them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import numpy as np

from analysis.figures.axes import Axis, Float64
from analysis.ranking.history import Point, clock_unit
from analysis.ranking.importance import Importance
from analysis.ranking.leaderboard import short_config
from analysis.run.records import TrialRecord
from spaces.objectives import METRICS

COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")
Figure = dict[str, Any]
"""``data`` and ``layout``, as plotly.js takes them."""


def plotly_js() -> str:
    """plotly.js as the Python package ships it."""
    return (resources.files("plotly") / "package_data" / "plotly.min.js").read_text(
        encoding="utf-8"
    )


def as_json(figures: Mapping[str, Figure]) -> str:
    """Figures as JSON that may stand inside a script element, whatever words are in it."""
    text = json.dumps(figures, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("&", r"\u0026").replace("<", r"\u003c").replace(">", r"\u003e")


def best_so_far(
    history: Mapping[str, Sequence[Point]], objective: str, most: int
) -> dict[str, Figure]:
    """The best of each space so far, against trials and against time, with every trial's
    configuration.
    """
    scale, unit = clock_unit(max(point.seconds for points in history.values() for point in points))
    titles = {"best-trials": "trials", "best-time": f"time in which trials ran, {unit}"}
    figures = {}
    for name, title in titles.items():
        data: list[dict[str, Any]] = []
        for number, (space, points) in enumerate(history.items()):
            color = COLORS[number % len(COLORS)]
            gains = [
                p
                for i, p in enumerate(points)
                if i in (0, len(points) - 1) or p.best != points[i - 1].best
            ]
            shown = points[:: max(1, math.ceil(len(points) / most))]
            x = {
                p.record.key: p.count if name == "best-trials" else round(p.seconds / scale, 4)
                for p in points
            }
            line = {
                "x": [x[p.record.key] for p in gains],
                "y": [p.best for p in gains],
                "name": f"best of {space}",
            }
            dots = {
                "x": [x[p.record.key] for p in shown],
                "y": [p.value for p in shown],
                "name": space,
            }
            data.append(
                {
                    **line,
                    "mode": "lines",
                    "line": {"shape": "hv", "color": color},
                    "hoverinfo": "skip",
                }
            )
            hover = [
                f"{p.record.key}<br>{_wrapped(short_config(p.record.config, p.record.space))}"
                for p in shown
            ]
            data.append({**dots, **_dots(hover, color)})
        figures[name] = {"data": data, "layout": _layout(title, objective)}
    return figures


def survival(reached: Mapping[str, Sequence[int]]) -> Figure:
    """How many trials reached each step."""
    data = [
        {
            "x": list(range(1, len(counts) + 1)),
            "y": list(counts),
            "name": space,
            "line": {"shape": "hvh"},
            "fill": "tozeroy",
        }
        for space, counts in reached.items()
    ]
    return {"data": data, "layout": _layout("step", "trials that reached it")}


def importance(found: Importance) -> Figure:
    """Shares as bars, and in how many trials each parameter applied."""
    names = list(found.shares)[::-1]
    bars = {
        "type": "bar",
        "orientation": "h",
        "x": [found.shares[name] for name in names],
        "y": names,
        "hovertext": [
            f"applied in {found.applied[name]} of {found.trials} trials" for name in names
        ],
        "marker": {"color": COLORS[0]},
    }
    layout = _layout("share", "")
    layout["xaxis"] |= {"tickformat": ".0%", "rangemode": "tozero"}
    layout["yaxis"] |= {"automargin": True}
    return {"data": [bars], "layout": {**layout, "height": 120 + 26 * len(names)}}


def parallel(axes: Sequence[Axis], values: Float64, objective: str) -> Figure:
    """A line a trial through its parameters, to be filtered by dragging along an axis."""
    maximize = METRICS[objective].direction == "maximize"
    dimensions = [_dimension(axis) for axis in axes]
    dimensions.append({"label": objective, "values": _numbers(values)})
    low, high = (
        (np.quantile(values, 0.1), values.max())
        if maximize
        else (values.min(), np.quantile(values, 0.9))
    )
    line = {
        "color": _numbers(values), "colorscale": "Viridis", "reversescale": not maximize,
        "showscale": True,
        "cmin": float(low), "cmax": float(high if high > low else low + 1e-9),
    }  # fmt: skip
    data = {
        "type": "parcoords",
        "dimensions": dimensions,
        "line": line,
        "labelangle": -20,
        "labelside": "bottom",
    }
    return {
        "data": [data],
        "layout": {
            "height": 480,
            "margin": {"l": 60, "r": 40, "t": 30, "b": 90},
            "width": 110 * len(dimensions) + 160,
        },
    }


def _dimension(axis: Axis) -> dict[str, Any]:
    values = np.log10(axis.values) if axis.log else axis.values
    low, high = float(np.nanmin(values)), float(np.nanmax(values))
    ticks: dict[float, str] = {}
    if axis.words:
        ticks = {float(i): word for i, word in enumerate(axis.words)}
    elif axis.few is not None or axis.log:
        there = axis.few if axis.few is not None else np.geomspace(10**low, 10**high, 5)
        ticks = {float(np.log10(value) if axis.log else value): f"{value:.3g}" for value in there}
    absent = low - 0.12 * (high - low)
    if np.isnan(values).any():
        ticks = {
            absent: "–",
            **(ticks or {float(v): f"{v:.3g}" for v in np.linspace(low, high, 5)}),
        }
        low = absent
    dimension: dict[str, Any] = {
        "label": axis.name,
        "values": _numbers(np.nan_to_num(values, nan=absent)),
        "range": [low, high],
    }
    return (
        {**dimension, "tickvals": list(ticks), "ticktext": list(ticks.values())}
        if ticks
        else dimension
    )


def slices(
    axes: Sequence[Axis], values: Float64, objective: str, records: Sequence[TrialRecord]
) -> dict[str, Figure]:
    """The objective against each parameter, one figure each."""
    found = {}
    for axis in axes:
        on = [int(i) for i in np.flatnonzero(~np.isnan(axis.values))]
        x = axis.values[on]
        layout = {**_layout(axis.name, objective), "height": 300, "showlegend": False}
        if axis.words:
            x = x + np.random.default_rng(0).uniform(-0.18, 0.18, len(on))
            layout["xaxis"] |= {
                "tickvals": list(range(len(axis.words))),
                "ticktext": list(axis.words),
            }
        if axis.log:
            layout["xaxis"] |= {"type": "log"}
        dots = {
            "x": _numbers(x),
            "y": _numbers(values[on]),
            **_dots([records[i].key for i in on], COLORS[0]),
        }
        found[axis.name] = {"data": [dots], "layout": layout}
    return found


def _dots(hover: list[str], color: str) -> dict[str, Any]:
    marker = {"size": 6, "opacity": 0.45, "color": color}
    return {
        "mode": "markers",
        "marker": marker,
        "text": hover,
        "hovertemplate": "%{y}<br>%{text}<extra></extra>",
    }


def _wrapped(text: str, words: int = 4) -> str:
    parts = text.split(" ")
    return "<br>".join(" ".join(parts[i : i + words]) for i in range(0, len(parts), words))


def _numbers(values: Float64) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def _layout(x: str, y: str) -> dict[str, Any]:
    return {
        "xaxis": {"title": {"text": x}, "gridcolor": "#e6e9ec", "zeroline": False},
        "yaxis": {"title": {"text": y}, "gridcolor": "#e6e9ec", "zeroline": False},
        "margin": {"l": 60, "r": 15, "t": 15, "b": 50},
        "height": 380,
        "hovermode": "closest",
        "legend": {"orientation": "h", "y": 1.12},
        "font": {"family": "system-ui, sans-serif", "size": 12},
    }
