"""A finished search of kNN spaces, made in this process without Ray, for tests of what is done with
its results.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from samples import record

from analysis.plan.plan import Plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts, DriverState
from spaces import get_space
from trainables.data import Dataset, read_dataset
from trainables.data.scores import answers
from trainables.data.source import DataSource, data_source
from trainables.knn.pipeline import Evaluation, KnnConfig, evaluate, validation_stage
from trainables.stages.stage import compute

TINY: dict[str, Any] = {
    "metric": "cityblock", "size": 8, "resampling": "box", "centring": False, "norm": "l1", "k": 3,
    "vote": "distance", "mirrored": True,
}  # fmt: skip
BAG: dict[str, Any] = {
    "step": 8, "bin_size": 4, "fast": True, "transform": "root", "vocabulary_step": 8,
    "vocabulary_size": 12, "metric": "cityblock",
    "norm": "l1", "k": 3, "vote": "distance", "scales": 2, "assignment": "soft",
    "regions": "pyramid", "idf": True, "mirrored": True,
}  # fmt: skip
"""A configuration of each kNN space in which every part has its say."""
HARD = BAG | {"assignment": "hard"}
"""Soft words are a little in every image, so that idf weighs them all alike; whether idf is right
shows with hard ones.
"""


def finished(
    runs: Path,
    spec: str,
    trials: Sequence[tuple[str, dict[str, Any]]],
    name: str = "made",
    **settings: Any,
) -> RunDirectory:
    """A run ``name`` below ``runs`` whose trials (space, configuration) were scored as a search
    scores them.
    """
    plan = Plan(
        spaces=tuple(dict.fromkeys(space for space, _ in trials)),
        dataset=spec,
        name=name,
        **settings,
    )
    options = plan.read_options()
    dataset = read_dataset(spec, options)
    data = data_source(dataset, options)
    validation = plan.validation_for(data.sizes)
    folder = RunDirectory(runs / name)
    folder.path.mkdir(parents=True)
    folder.plan_file.write_text(plan.to_yaml())
    folder.write_state(DriverState(id="0", state="finished"))
    folder.write_data(
        DataFacts(
            spec=dataset.spec, classes=data.classes, sizes=data.sizes, fingerprint=data.fingerprint
        )
    )
    labels = dataset.splits()[validation.split].labels
    folder.write_validation_labels(labels)
    memo = {data.stage.digest: dataset}
    for number, (space, given) in enumerate(trials):
        found = scored(space, given, dataset, data, plan, memo)
        item = record(
            number,
            space=space,
            config=vars(config_of(space, given)),
            metrics=shares(found),
            accuracy_by_k=found.accuracy_by_k,
        )
        told = answers(found.predictions, found.shares)
        folder.write_record(item, "", None, told["predictions"], told["shares"])
    return folder


def config_of(space: str, given: Mapping[str, Any]) -> KnnConfig:
    config: KnnConfig = get_space(space).typed(get_space(space).check(dict(given)))
    return config


def scored(
    space: str,
    given: Mapping[str, Any],
    dataset: Dataset,
    data: DataSource,
    plan: Plan,
    memo: dict[str, Any] | None = None,
) -> Evaluation:
    """A configuration as a trial finds it, on the images that the plan validates on."""
    validation = plan.validation_for(data.sizes)
    config = config_of(space, given)
    stage = validation_stage(config, data, validation, plan.seed)
    neighbours = compute(stage, memo or {data.stage.digest: dataset}, workers=1)
    labels = dataset.splits()[validation.split].labels
    return evaluate(config, neighbours, dataset.train.labels, labels, len(data.classes))


def shares(found: Evaluation) -> dict[str, float]:
    """What a trial reports of it."""
    return {
        "val_accuracy": found.scores.accuracy,
        "balanced_accuracy": found.scores.balanced_accuracy,
        "macro_f1": found.scores.macro_f1,
    }
