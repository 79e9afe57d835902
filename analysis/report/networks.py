"""What a report says of networks: learning curves, final figures a model, architecture and layers
of the best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.figures import drawing as figures
from analysis.figures.curves import COLUMNS, Rows, learning_curves, to_csv
from analysis.ranking.leaderboard import find_record, ranked
from analysis.ranking.schedule import steps_of
from analysis.run.csv_text import csv_of_dicts
from analysis.run.directory import RunDirectory, RunError
from analysis.run.records import TrialRecord
from spaces import CNN, CnnConfig

CURVES = 3
"""Networks whose curves are drawn unless asked otherwise: the best."""


def best_networks(records: Sequence[TrialRecord], objective: str) -> list[TrialRecord]:
    """Finished trials that trained networks, best first."""
    return [record for record in ranked(records, objective) if record.space == CNN.name]


def curves_of(
    run: RunDirectory, objective: str, trials: Sequence[str] = (), top: int = CURVES
) -> Mapping[str, Rows]:
    """The epochs of the ``top`` networks, or of ``trials``, which may still run.

    Raises:
        RunError: if there are none.
    """
    if trials:
        found = {}
        for trial in trials:
            space, _, number = trial.rpartition("/")
            rows = run.steps(space or CNN.name, int(number)) if number.isdigit() else []
            if not rows or any(row["step"] for row in rows[:1]):  # or it went on from another
                record = find_record(run.records(), trial)
                found[record.key] = steps_of(run, record)
            else:
                found[f"{space or CNN.name}/{int(number)}"] = rows
    else:
        found = {
            record.key: steps_of(run, record)
            for record in best_networks(run.records(), objective)[:top]
        }
    if not any(found.values()):
        raise RunError(
            f"run {run.name} has no trial yet whose epochs could be drawn; only networks have "
            "learning curves"
        )
    return found


def network_files(
    run: RunDirectory,
    records: Sequence[TrialRecord],
    objective: str,
    reference: Mapping[str, float],
    size: int,
) -> dict[str, str | bytes]:
    """Files of the report; none where no network was trained.

    Args:
        reference: named accuracies, drawn beside the curves.
        size: side of the images, pixels.
    """
    best = best_networks(records, objective)
    if not best:
        return {}
    curves = curves_of(run, objective)
    files: dict[str, str | bytes] = {
        "curves.png": figures.to_png(learning_curves(curves, reference)),
        "curves.csv": to_csv(curves),
    }
    table = model_table(best)
    return {
        **files,
        "models.csv": csv_of_dicts(list(table[0]), table),
        "architecture.txt": architecture_text(best[0], len(run.data().classes), size),
    }


def model_table(best: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """The best trial of each model, as the report's Table 5 shows them: accuracy and loss on
    training and validation images.
    """
    first = {str(record.config["model"]): record for record in reversed(best)}
    rows = [
        {
            "model": model,
            "trial": record.key,
            **{name: record.metrics.get(name, "") for name in (*COLUMNS, "model_mb", "epoch")},
        }
        for model, record in first.items()
    ]
    order = [record.key for record in best]
    return sorted(rows, key=lambda row: order.index(str(row["trial"])))


def architecture_text(record: TrialRecord, classes: int, size: int) -> str:
    """A trial's network as ``visiontune describe`` prints it; nothing is computed."""
    import torch  # a report of kNN needs none of it

    from trainables.cnn.layers import architecture, layer_table
    from trainables.cnn.models import build

    config = CnnConfig.of(record.config)
    size = config.side_of(size)
    with torch.device("meta"):
        net = build(config.model, classes, size, config.tweaks())
    return f"{architecture(net)}\n\n{layer_table(net, size)}\n"
