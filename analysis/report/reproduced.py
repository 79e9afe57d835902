"""What ``visiontune reproduce`` found, as numbers beside the report's, pictures, and one HTML
page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from analysis.figures import drawing as figures
from analysis.report.templates import data_uri, rendered
from analysis.run.csv_text import csv_of_dicts
from trainables.io.files import write_whole

TableFacts = Mapping[str, Any]
CLOSE = 0.02
"""Difference up to which an accuracy is called close to the report's."""
COLUMNS = {
    "train_accuracy": "train accuracy", "val_accuracy": "validation accuracy",
    "train_loss": "train loss", "val_loss": "validation loss",
}  # fmt: skip
SIZES = {
    "layers": "rows of the layer table", "parameters": "parameters",
    "parameters_mb": "parameters, MiB",
    "passes_mb": "forward and backward pass, MiB", "total_mb": "in all, MiB",
}  # fmt: skip


@dataclass(frozen=True)
class Number:
    """A number that the report prints, beside the one that this program finds.

    Attributes:
        relation: ``is`` where the report gives the number itself; ``above`` or ``below`` where it
            gives a bound for it.
        difference: ours minus the report's; None where ours is missing.
        holds: whether ours lies on the right side of the bound; None where the report gives no
            bound.
        shortened: how the run that gave our number was shortened; empty if it was not.
        n: number of images that our number was measured on; None where it is no accuracy.
        spread: standard deviation of our number over several vocabularies, where there are several.
    """

    table: str
    what: str
    report: float
    relation: str
    ours: float | None
    difference: float | None
    holds: bool | None
    shortened: str
    n: int | None
    digits: int = 4
    spread: float | None = None

    @property
    def figure(self) -> bool:
        """Whether the report prints it as a figure, and ours comes from a run in full."""
        return self.relation == "is" and not self.shortened and self.ours is not None

    @property
    def equal(self) -> bool:
        return self.ours is not None and round(self.ours, self.digits) == round(
            self.report, self.digits
        )


def number(
    table: str, what: str, report: float, ours: float | None, *, relation: str = "is", **facts: Any
) -> Number:
    """A number with its difference, and whether its bound holds."""
    difference = None if ours is None else round(ours - report, 6)
    holds = (
        None
        if relation == "is" or ours is None
        else (ours > report if relation == "above" else ours < report)
    )
    return Number(
        table,
        what,
        report,
        relation,
        ours,
        difference,
        holds,
        facts.pop("shortened", ""),
        facts.pop("n", None),
        **facts,
    )


def numbers_of(found: Mapping[str, TableFacts]) -> list[Number]:
    """Every number of the report that ``found`` has an answer to, table by table."""
    return [
        item for name, table in found.items() for item in _OF.get(name, _by_column)(name, table)
    ]


def _table1(name: str, table: TableFacts) -> Iterator[Number]:
    for space, side in table["sides"].items():
        yield number(name, f"{space}, accuracy", side["report"], side["accuracy"], n=side["n"])


def _by_column(name: str, table: TableFacts) -> Iterator[Number]:
    label = "step" if "step" in table else "k"
    spreads = table.get("spread") or [None] * len(table["ours"])
    for column, report, ours, spread in zip(
        table[label], table["report"], table["ours"], spreads, strict=True
    ):
        yield number(name, f"{label} = {column}", report, ours, n=table["n"], spread=spread)


def _table5(name: str, table: TableFacts) -> Iterator[Number]:
    for network, facts in table["networks"].items():
        cut = facts["cut"]
        for metric, what in COLUMNS.items():
            where = {} if metric.startswith("train") else {"n": facts["n"]}
            yield number(
                name,
                f"{network}, {what}",
                facts["report"][metric],
                facts["metrics"][metric],
                digits=5,
                shortened=cut,
                **where,
            )
        ours = facts["metrics"]["val_accuracy"]
        yield number(
            name,
            f"{network}, accuracy beside the table",
            facts["report"]["accuracy"],
            ours,
            shortened=cut,
            n=facts["n"],
        )


def _architecture(name: str, table: TableFacts) -> Iterator[Number]:
    for network, facts in table["networks"].items():
        for key, what in SIZES.items():
            digits = 2 if key.endswith("_mb") else 0
            yield number(
                name, f"{network}, {what}", facts["report"][key], facts["ours"][key], digits=digits
            )
        yield number(
            name,
            f"{network}, rows that are the same",
            facts["report"]["layers"],
            facts["same_rows"],
            digits=0,
        )


def _ladder(name: str, table: TableFacts) -> Iterator[Number]:
    for step in table["steps"]:
        facts = {
            "shortened": step["cut"],
            "n": step["n"],
            "digits": 2 if step.get("metric") == "model_mb" else 4,
        }
        if facts["digits"] == 2:
            facts["n"] = None
        if "accuracy" in step:
            yield number(name, step["what"], step["accuracy"], step["ours"], **facts)
        for side in ("below", "above"):
            if side in step:
                what = (
                    f"{step['what']} (against {step['other']})" if "other" in step else step["what"]
                )
                yield number(name, what, step[side], step["ours"], relation=side, **facts)


def _none(name: str, table: TableFacts) -> Iterator[Number]:
    yield from ()  # the report's learning curves are pictures


_OF = {
    "table1": _table1,
    "table5": _table5,
    "table6": _none,
    "table7": _none,
    "architecture": _architecture,
    "ladder": _ladder,
}


def write_page(
    found: Mapping[str, TableFacts], out: Path, machine: str, seconds: float
) -> list[Path]:
    """Write ``reproduce.html``, its pictures, ``numbers.csv`` and ``reproduce.json`` to ``out``;
    returns the files.

    Args:
        machine: where it ran, in words.
        seconds: that it took, whenever that was.
    """
    numbers = numbers_of(found)
    pictures = {f"{name}.png": figures.to_png(figure) for name, figure in _figures(found)}
    rows = [asdict(item) for item in numbers]
    files: dict[str, str | bytes] = {
        **pictures,
        "numbers.csv": csv_of_dicts(list(Number.__dataclass_fields__), rows),
        "reproduce.json": json.dumps(
            {**found, "numbers": rows, "machine": machine, "seconds": seconds},
            indent=1,
            ensure_ascii=False,
        ),
    }
    files["reproduce.html"] = rendered(
        "reproduced.html.j2",
        found=found,
        numbers={name: [item for item in numbers if item.table == name] for name in found},
        pictures={name: data_uri(content, "png") for name, content in pictures.items()},
        said=summary(numbers),
        seconds=seconds,
        machine=machine,
    )
    for name, content in files.items():
        write_whole(out / name, content)
    return [out / name for name in files]


def summary(numbers: Sequence[Number]) -> dict[str, Any]:
    """How many numbers came out how: in full equal, close, and the furthest off; bounds that hold;
    how many were shortened.
    """
    whole = [item for item in numbers if item.figure]
    accuracies = [item for item in whole if item.table != "architecture"]
    off = max(accuracies, key=lambda item: abs(item.difference or 0.0), default=None)
    bounds = [item for item in numbers if item.holds is not None and not item.shortened]
    return {
        "numbers": len(numbers),
        "whole": len(whole),
        "equal": sum(item.equal for item in whole),
        "accuracies": len(accuracies),
        "close": sum(abs(item.difference or 0.0) <= CLOSE for item in accuracies),
        "off": off,
        "bounds": len(bounds),
        "hold": sum(bool(item.holds) for item in bounds),
        "shortened": sum(bool(item.shortened) for item in numbers),
    }


def _figures(found: Mapping[str, TableFacts]) -> Iterator[tuple[str, Figure]]:
    for name, table in found.items():
        if name == "table1":
            yield (
                name,
                figures.confusions(
                    [
                        (np.array(s["confusion"]), s["names"], _side_title(space, s))
                        for space, s in table["sides"].items()
                    ]
                ),
            )
        elif name in ("table6", "table7"):
            yield name, curves(table)
        elif "report" in table and "ours" in table:
            yield name, columns(table)


def _side_title(space: str, side: TableFacts) -> str:
    return f"{space}: accuracy {side['accuracy']:.4f}, asymmetry {side['asymmetry']:.3f}"


def columns(table: TableFacts) -> Figure:
    """Ours and the report's accuracy by k or by step."""
    label = "step" if "step" in table else "k"
    ours = np.array([np.nan if value is None else value for value in table["ours"]])
    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(table[label], table["report"], "s--", color="0.45", label="the report")
    spread = [value or 0.0 for value in table["spread"]] if "spread" in table else None
    axes.errorbar(table[label], ours, yerr=spread, fmt="o-", color="C0", capsize=3, label="ours")
    axes.set(xlabel=label, ylabel="test accuracy", xticks=table[label])
    axes.grid(alpha=0.25)
    axes.legend(fontsize=8)
    return figure


def curves(table: TableFacts) -> Figure:
    """The four learning curves of one network, training above, validation below, as the report lays
    them out.
    """
    figure = Figure(figsize=(8, 5), layout="constrained")
    epochs = [row["epoch"] for row in table["history"]]
    for row, part in zip(figure.subplots(2, 2, sharex=True), ("train", "val"), strict=True):
        for axes, what in zip(row, ("accuracy", "loss"), strict=True):
            axes.plot(
                epochs,
                [epoch[f"{part}_{what}"] for epoch in table["history"]],
                color="C0" if part == "train" else "C1",
                marker=".",
            )
            axes.set(
                title=f"{'training' if part == 'train' else 'validation'} {what}",
                xlabel="epoch" if part == "val" else "",
            )
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.grid(alpha=0.25)
    return figure
