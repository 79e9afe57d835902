"""Learning curves: accuracy and loss, on training and validation images, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.drawing import plain, reference_lines
from analysis.ranking.schedule import Stretch, changing
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


def schedule_figure(way: Sequence[Stretch]) -> Figure:
    """The values of what changed on the way to a trial, epoch by epoch, each on an axis of its
    own.
    """
    names = changing(way)
    figure = Figure(figsize=(10, 1.1 + 1.1 * len(names)), layout="constrained")
    ends = [way[0].first - 1, *(one.until for one in way)]
    for axes, name in zip(
        figure.subplots(max(len(names), 1), 1, sharex=True, squeeze=False)[:, 0],
        names,
        strict=False,
    ):
        values = [float(one.record.config[name]) for one in way]
        axes.stairs(values, ends, baseline=None, linewidth=1.8)
        axes.set_ylabel(plain(name), fontsize=8)
        axes.margins(y=0.2)
        axes.grid(alpha=0.25)
    figure.axes[-1].set_xlabel("epoch")
    return figure
