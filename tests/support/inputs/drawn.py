"""Pictures read back: a spy that keeps every figure that is drawn, and what can be read off one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures import drawing as figures
from analysis.report import search_files


def keep_figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that becomes a PNG from now on; it becomes one all the same."""
    kept: list[Figure] = []
    draw = figures.to_png

    def spied(figure: Figure, *arguments: Any, **options: Any) -> bytes:
        kept.append(figure)
        return draw(figure, *arguments, **options)

    for module in (figures, search_files):
        monkeypatch.setattr(module, "to_png", spied)
    return kept


def matrix(axes: Axes) -> tuple[np.ndarray, list[str], list[str], dict[tuple[int, int], str]]:
    """A drawn confusion matrix: its cells as an array [y, x], names down the left and along the
    bottom, and the text in each cell.
    """
    (picture,) = axes.images
    at = [(text.get_position(), text.get_text()) for text in axes.texts]
    texts = {(round(y), round(x)): text for (x, y), text in at}
    down, along = (
        [label.get_text() for label in labels]
        for labels in (axes.get_yticklabels(), axes.get_xticklabels())
    )
    return np.asarray(picture.get_array()), down, along, texts


def lines(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """The points of every line that has a name, by name."""
    found = {str(line.get_label()): line for line in axes.lines}
    return {
        name: [
            (float(x), float(y)) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
        ]
        for name, line in found.items()
        if not name.startswith("_")
    }
