"""Pictures: accuracy against k, and confusion matrices. Drawn with matplotlib, off any screen."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import get_font_names
from matplotlib.text import Text

from spaces.errors import shortened, shown

Int64 = npt.NDArray[np.int64]
MOST_CELLS_WITH_NUMBERS = 20
"""Classes up to which a confusion matrix shows a number in each cell."""
MOST_LABELS = 60
"""Classes that are named along a side of a confusion matrix; of more, every second, third, … is: a
label each takes matplotlib most of a minute for a thousand of them, and nobody can read any."""
LONGEST_LABEL = 28
"""Characters of a name in a picture."""


WIDE_FONTS = (
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "WenQuanYi Zen Hei",
    "IPAGothic",
    "Noto Sans Arabic",
    "Noto Sans Devanagari",
)
"""Fonts that class names outside Latin, Greek and Cyrillic are drawn in, where one is installed."""


def to_png(figure: Figure, dpi: int = 120) -> bytes:
    """``figure`` as the bytes of a PNG file; a letter that no installed font has is drawn as a
    box.
    """
    out = io.BytesIO()
    FigureCanvasAgg(figure)
    families = ["DejaVu Sans", *(font for font in WIDE_FONTS if font in get_font_names())]
    for text in figure.findobj(Text):
        text.set_fontfamily(families)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(out, format="png", dpi=dpi)
    return out.getvalue()


def accuracy_by_k(
    series: Mapping[str, Sequence[float]], chosen: Mapping[str, int], reference: Mapping[str, float]
) -> Figure:
    """Validation accuracy for k = 1, 2, … of one configuration a line.

    Args:
        series: label to accuracies for k = 1, 2, ….
        chosen: label to the k that the configuration has, marked by a dot.
        reference: named lines to compare with.
    """
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for label, values in series.items():
        (line,) = axes.plot(range(1, len(values) + 1), values, label=plain(label), linewidth=1.6)
        k = min(chosen[label], len(values))
        axes.plot(k, values[k - 1], "o", color=line.get_color())
        axes.annotate(
            f"k = {k}: {values[k - 1]:.4f}",
            (k, values[k - 1]),
            xytext=(6, 6),
            textcoords="offset points",
            fontsize=8,
        )
    reference_lines(axes, reference, "--")
    axes.set(xlabel="k, number of neighbours", ylabel="validation accuracy")
    axes.grid(alpha=0.25)
    axes.margins(y=0.15)
    axes.legend(fontsize=8, loc="best")
    return figure


def confusion(counts: Int64, classes: Sequence[str], title: str) -> Figure:
    """A confusion matrix, each row divided by its sum: of the images of a true class, the share
    given each class.

    Args:
        counts: (c, c); row: true class, column: predicted class.
        classes: names, in the order of rows and columns.
    """
    return confusions([(counts, classes, title)])


def confusions(matrices: Sequence[tuple[Int64, Sequence[str], str]]) -> Figure:
    """Confusion matrices side by side: (counts, classes, title) of each, as ``confusion`` draws
    one.
    """
    most = max(len(classes) for _, classes, _ in matrices)
    side = max(4.5, 2.5 + 0.42 * most) if most <= MOST_LABELS else 18.0
    figure = Figure(figsize=((side + 1) * len(matrices), side), layout="constrained")
    for axes, matrix in zip(
        figure.subplots(1, len(matrices), squeeze=False)[0], matrices, strict=True
    ):
        _confusion(figure, axes, *matrix)
    return figure


def _confusion(
    figure: Figure, axes: Axes, counts: Int64, classes: Sequence[str], title: str
) -> None:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    picture = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, fraction=0.046, pad=0.02, label="share of the true class")
    cells, every = range(len(classes)), -(-len(classes) // MOST_LABELS)
    ticks = cells[::every]
    labels = [label(classes[tick]) for tick in ticks]
    axes.set_xticks(ticks, labels, rotation=90, fontsize=8)
    axes.set_yticks(ticks, labels, fontsize=8)
    some = f" (one in {every} is named)" if every > 1 else ""
    axes.set(xlabel=f"predicted class{some}", ylabel=f"true class{some}")
    axes.set_title(plain(title), fontsize=10)
    if len(classes) <= MOST_CELLS_WITH_NUMBERS:
        for row in cells:
            for column in cells:
                share = shares[row, column]
                if share >= 0.005:
                    color = "white" if share > 0.5 else "black"
                    axes.text(
                        column,
                        row,
                        f"{share:.2f}".lstrip("0"),
                        ha="center",
                        va="center",
                        fontsize=6.5,
                        color=color,
                    )


def reference_lines(axes: Axes, reference: Mapping[str, float], linestyle: str) -> None:
    """Named lines across a plot, each with its name and value at its left end."""
    for name, value in reference.items():
        axes.axhline(value, color="0.5", linestyle=linestyle, linewidth=1)
        axes.annotate(
            f"{label(name)} {value:g}",
            (1, value),
            xytext=(2, 3),
            textcoords="offset points",
            fontsize=8,
            color="0.4",
        )


def label(name: str) -> str:
    """A name as a picture has room for it: in one line, cut in its middle."""
    return plain(shortened(shown(name), LONGEST_LABEL))


def plain(text: str) -> str:
    """Text with matplotlib's own markup switched off: a class may be called ``a$b$``."""
    return text.replace("$", r"\$")


def reliability(series: Mapping[str, Sequence[tuple[float, float, int]]]) -> Figure:
    """How often a class is right against the probability that it was given.

    Args:
        series: label to (probability, share that is right, images) of each bin.
    """
    figure = Figure(figsize=(4.6, 4.2), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color="0.6", linewidth=1, linestyle="--")
    for label, bins in series.items():
        sure, right, images = zip(*bins, strict=True)
        (line,) = axes.plot(sure, right, label=plain(label), linewidth=1.2)
        sizes = [8 + 90 * n / sum(images) for n in images]
        axes.scatter(sure, right, s=sizes, color=line.get_color())
    axes.set(xlabel="probability of the class that is given", ylabel="share that is right")
    axes.set(xlim=(0, 1.02), ylim=(0, 1.02))
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8, loc="upper left")
    return figure
