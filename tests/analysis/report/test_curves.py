"""Learning curves read back from the picture's own data and from the table beside it."""

from __future__ import annotations

from typing import Any

from analysis.figures.curves import learning_curves, to_csv

ONE = [
    {"step": 0, "train_accuracy": 0.1, "train_loss": 2.5, "val_accuracy": 0.2, "val_loss": 1.5},
    {"step": 1, "train_accuracy": 0.3, "train_loss": 2.25, "val_accuracy": 0.4, "val_loss": 1.25},
    {"step": 2, "train_accuracy": 0.5, "train_loss": 2.0, "val_accuracy": 0.35, "val_loss": 1.75},
]
OTHER = [
    {"step": 0, "train_accuracy": 0.6, "train_loss": 0.75, "val_accuracy": 0.7, "val_loss": 0.5},
    {"step": 1, "train_loss": 0.25},
]


def drawn(axes: Any) -> dict[str, tuple[list[float], list[float], str]]:
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()), line.get_linestyle())
        for line in axes.lines
    }


def test_each_curve_is_where_its_name_says() -> None:
    """Accuracy on the left and loss on the right, epochs from 1, validation solid and training
    dashed, or a reader learns the opposite.
    """
    figure = learning_curves({"cnn/3": ONE, "cnn/14": OTHER}, {})
    left, right = figure.axes
    assert (left.get_ylabel(), right.get_ylabel(), left.get_xlabel()) == (
        "accuracy",
        "loss, nats",
        "epoch",
    )
    assert drawn(left) == {
        "cnn/3, val": ([1, 2, 3], [0.2, 0.4, 0.35], "-"),
        "cnn/3, train": ([1, 2, 3], [0.1, 0.3, 0.5], "--"),
        "cnn/14, val": ([1], [0.7], "-"),
        "cnn/14, train": ([1], [0.6], "--"),
    }
    assert drawn(right) == {
        "cnn/3, val": ([1, 2, 3], [1.5, 1.25, 1.75], "-"),
        "cnn/3, train": ([1, 2, 3], [2.5, 2.25, 2.0], "--"),
        "cnn/14, val": ([1], [0.5], "-"),
        "cnn/14, train": ([1, 2], [0.75, 0.25], "--"),
    }
    colours = {line.get_label(): line.get_color() for axes in figure.axes for line in axes.lines}
    assert (
        colours["cnn/3, val"]
        == colours["cnn/3, train"]
        != colours["cnn/14, val"]
        == colours["cnn/14, train"]
    )


def test_a_reference_is_an_accuracy_and_stands_beside_no_loss() -> None:
    """An accuracy of 0.9 on an axis of losses would be read as one."""
    left, right = learning_curves({"cnn/3": ONE}, {"MyNet": 0.9}).axes
    assert [
        list(line.get_ydata()) for line in left.lines if "cnn/3" not in str(line.get_label())
    ] == [[0.9, 0.9]]
    assert [text.get_text() for text in left.texts] == ["MyNet 0.9"]
    assert (len(right.lines), len(right.texts)) == (2, 0)


def test_the_table_has_the_same_figures_in_the_order_of_its_head() -> None:
    """A column that changed places would be believed."""
    assert to_csv({"cnn/3": ONE[:2], "cnn/14": OTHER}).splitlines() == [
        "trial,epoch,train_accuracy,train_loss,val_accuracy,val_loss",
        "cnn/3,1,0.1,2.5,0.2,1.5",
        "cnn/3,2,0.3,2.25,0.4,1.25",
        "cnn/14,1,0.6,0.75,0.7,0.5",
        "cnn/14,2,,0.25,,",
    ]
