"""Learning curves: accuracy and loss, on training and validation images, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.drawing import plain, reference_lines
from analysis.run.csv_text import csv_text

COLUMNS = ("train_accuracy", "train_loss", "val_accuracy", "val_loss")
"""The four curves of a network."""
Rows = Sequence[Mapping[str, float]]
"""What ``RunDirectory.steps`` gives of a trial: ``step`` counted from 0, and the metrics."""


def learning_curves(series: Mapping[str, Rows], reference: Mapping[str, float]) -> Figure:
    """Accuracy beside loss; validation solid, training dashed, one colour a network.

    Args:
        series: label to the epochs of a network.
        reference: named accuracies to compare with.
    """
    figure = Figure(figsize=(10, 4), layout="constrained")
    for axes, what in zip(figure.subplots(1, 2), ("accuracy", "loss"), strict=True):
        for number, (label, rows) in enumerate(series.items()):
            for part, style in (("val", "-"), ("train", "--")):
                _curve(axes, rows, f"{part}_{what}", f"{plain(label)}, {part}", style, f"C{number}")
        axes.set(xlabel="epoch", ylabel=what if what == "accuracy" else "loss, nats")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        axes.legend(fontsize=8)
        if what == "accuracy":
            reference_lines(axes, reference, ":")  # dashed is training
    return figure


def _curve(axes: Axes, rows: Rows, name: str, label: str, style: str, color: str) -> None:
    points = [(row["step"] + 1, row[name]) for row in rows if name in row]
    if points:
        axes.plot(
            *zip(*points, strict=True),
            style,
            label=label,
            color=color,
            linewidth=1.6,
            marker="." if len(points) < 3 else "",
        )


def to_csv(series: Mapping[str, Rows]) -> str:
    """A line an epoch of a network: trial, epoch and the four figures."""
    rows = (
        [label, int(row["step"]) + 1, *(row.get(name) for name in COLUMNS)]
        for label, rows in series.items()
        for row in rows
    )
    return csv_text(["trial", "epoch", *COLUMNS], rows)
