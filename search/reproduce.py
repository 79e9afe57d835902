"""The report's tables, made again from the plans in ``plans/report`` with its numbers beside ours.

The report chose by test accuracy, so these tables show test accuracy. Nothing else in
visiontune selects on test images.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from search.plan import Plan, PlanError, read_plan
from spaces.domain import Domain, Value
from trainables.data import read_dataset
from trainables.knn.pipeline import CONFIG_TYPES, data_source, evaluate, neighbours_stage
from trainables.stages import compute

PLANS = Path(__file__).parent.parent / "plans" / "report"
AVAILABLE = ("2",)


def reproduce(tables: str, scenes: Path | None) -> dict[str, Any]:
    """The tables asked for, by name.

    Args:
        tables: numbers separated by commas.
        scenes: folder of the 15 scenes.

    Returns:
        ``table2``: {title, split, n, k, report, ours}.

    Raises:
        PlanError: for a table that is not available, or missing images.
    """
    wanted = [number.strip() for number in tables.split(",")]
    unknown = [number for number in wanted if number not in AVAILABLE]
    if unknown:
        raise PlanError(f"--tables must name tables among {', '.join(AVAILABLE)}, but got {', '.join(unknown)}")
    if scenes is None:
        raise PlanError("table 2 needs the 15 scenes: give --scenes DIR with DIR/train/CLASS/*.jpg and DIR/test/CLASS/*.jpg")
    numbers = yaml.safe_load((PLANS / "numbers.yaml").read_text(encoding="utf-8"))
    return {f"table{number}": _by_k(read_plan(PLANS / f"table{number}.yaml"), scenes, numbers[f"table{number}"]) for number in wanted}


def _by_k(plan: Plan, scenes: Path, numbers: dict[str, Any]) -> dict[str, Any]:
    """A table of test accuracy by k, for the one configuration that the plan fixes."""
    options = plan.read_options()
    dataset = read_dataset(f"folder:{scenes}", options)
    if dataset.test is None:
        raise PlanError(f"{scenes} has no test images; expected {scenes}/test/CLASS/*.jpg")
    (space,) = plan.search_spaces().values()
    config = CONFIG_TYPES[space.name](**space.sample(_only))  # type: ignore[arg-type]
    data = data_source(dataset, options)
    neighbours = compute(neighbours_stage(config, data, "test", plan.seed), {data.stage.digest: dataset})
    found = evaluate(config, neighbours, dataset.train.labels, dataset.test.labels, len(dataset.classes))
    report = list(numbers["accuracy"])
    return {
        "title": numbers["title"],
        "split": "test",
        "n": len(dataset.test),
        "k": list(range(1, len(report) + 1)),
        "report": report,
        "ours": [round(value, 4) for value in found.accuracy_by_k[: len(report)]],
    }


def _only(name: str, domain: Domain) -> Value:
    values = domain.values()
    if len(values) != 1:
        raise PlanError(f"a plan of one configuration must fix {name}, but it may be {domain}")
    return values[0]
