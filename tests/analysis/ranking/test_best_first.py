"""Best comes first, whichever way a metric is better, wherever trials are ranked, drawn or named;
and a mean is no maximum.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import keep_figures
from program import typed
from samples import CONFIG, LABELS, record, run_with

from analysis.figures import search_figures
from analysis.figures.axes import axes_of, thinned
from analysis.ranking.history import best_so_far
from analysis.ranking.leaderboard import chosen_record, pareto_front, passed, ranked, replicas, rows
from analysis.ranking.run_comparison import JudgedRun, compare_runs
from analysis.report import search_page
from analysis.report.comparison import write_comparison
from analysis.report.networks import best_networks, model_table
from analysis.report.page import ReportSettings, write_report
from analysis.run.directory import RunDirectory
from analysis.run.records import TrialRecord
from spaces.objectives import METRICS

LARGER_IS_BETTER = {
    "val_accuracy": True, "balanced_accuracy": True, "macro_f1": True, "val_loss": False,
    "train_accuracy": True, "train_loss": False,
    "epoch": True, "model_mb": False, "latency_ms": False, "seconds": False,
}  # fmt: skip
OBJECTIVES = ["val_accuracy", "val_loss"]
VALUES = [0.3, 0.9, 0.5, 0.7]
"""Of trials 0 to 3: neither the first nor the last is best or worst."""


def order_of(objective: str) -> list[int]:
    """Numbers of those trials, best first."""
    return [1, 3, 2, 0] if LARGER_IS_BETTER[objective] else [0, 2, 3, 1]


def trial(number: int, objective: str, value: float, **more: Any) -> TrialRecord:
    return record(
        number,
        metrics={objective: value} | more.pop("metrics", {}),
        config=CONFIG | {"k": number + 1},
        **more,
    )


def trials(objective: str, **more: Any) -> list[TrialRecord]:
    return [trial(number, objective, value, **more) for number, value in enumerate(VALUES)]


def test_each_metric_is_better_the_way_it_is_meant() -> None:
    """One direction turned round makes every search look for the worst."""
    assert {
        name: metric.direction == "maximize" for name, metric in METRICS.items()
    } == LARGER_IS_BETTER
    for name, larger in LARGER_IS_BETTER.items():
        assert (METRICS[name].better(2.0, 1.0), METRICS[name].better(1.0, 2.0)) == (
            larger,
            not larger,
        )
        assert not METRICS[name].better(1.0, 1.0)


@pytest.mark.parametrize("objective", list(LARGER_IS_BETTER))
def test_a_leaderboard_has_the_best_first(objective: str) -> None:
    """All else that names a best goes by this order."""
    records, order = trials(objective), order_of(objective)
    assert [item.number for item in ranked(records, objective)] == order
    table = rows(records, objective, {})
    assert [(row["rank"], row["number"]) for row in table] == list(enumerate(order, 1))
    assert chosen_record(records, objective, None, "none").number == order[0]
    assert chosen_record(records, objective, "3", "none").number == 3
    assert [item.number for item in thinned(ranked(records, objective), 2)][-1] == order[-1]
    assert [item.number for item in pareto_front(records, [objective])] == order[:1]


def test_a_line_is_passed_above_it_alone() -> None:
    """To equal a known result is not to beat it."""
    assert passed({"low": 0.25, "same": 0.5, "high": 0.75}, 0.5) == ["low"]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_front_has_what_nothing_beats_both_ways(objective: str) -> None:
    """With a small model better and a good objective better, only who is worse in both leaves the
    front.
    """
    sizes = [1.0, 4.0, 3.0, 5.0]
    records = [trial(n, objective, VALUES[n], metrics={"model_mb": sizes[n]}) for n in range(4)]
    # trial 3 is larger than trial 1 and no more accurate
    expected = {"val_accuracy": [1, 2, 0], "val_loss": [0]}[objective]
    assert [item.number for item in pareto_front(records, [objective, "model_mb"])] == expected
    equal = [trial(n, objective, 0.5, metrics={"model_mb": 1.0}) for n in (4, 5)]
    assert [item.number for item in pareto_front(equal, [objective, "model_mb"])] == [4, 5], (
        "equals do not beat each other"
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_who_breaks_a_constraint_or_did_not_end_is_not_ranked(objective: str) -> None:
    """The best of all is no good if it may not be used."""
    others = [trial(4, objective, value, violations=("too large",)) for value in (0.0, 2.0)]
    others += [trial(5, objective, value, state="PRUNED") for value in (0.0, 2.0)]
    assert [item.number for item in ranked([*others, *trials(objective)], objective)] == order_of(
        objective
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_trials_run_again_go_by_the_mean_of_their_seeds(objective: str) -> None:
    """Trial 1 has the single best seed and the worse mean: by its maximum (of a loss, minimum) it
    would win.
    """
    lucky, steady = (
        ((0.9, 0.1), (0.6, 0.6)) if LARGER_IS_BETTER[objective] else ((0.1, 0.9), (0.4, 0.4))
    )
    own = {1: lucky[0], 2: steady[0]}
    records = [
        trial(
            n,
            objective,
            own[n],
            replicas={seed: {objective: value} for seed, value in enumerate(values, 7)},
        )
        for n, values in ((1, lucky), (2, steady))
    ]
    assert {item.number: item.value(objective) for item in records} == pytest.approx(
        {1: 0.5, 2: steady[0]}
    )
    assert [
        item.number for item in ranked([*records, trial(3, objective, lucky[0])], objective)
    ] == [2, 1, 3]
    assert replicas(records[0], objective) == {
        "seeds": [7, 8],
        "mean": pytest.approx(0.5),
        "spread": pytest.approx(0.8 / 2**0.5),
    }
    assert replicas(trial(4, objective, 0.5), objective) is None


def predictions_of(number: int) -> np.ndarray:
    """What trial ``number`` predicts: as many of the ten images right as its value says."""
    labels, right = np.array(LABELS), round(10 * VALUES[number])
    return np.where(np.arange(10) < right, labels, (labels + 1) % 3)


def two_runs(tmp_path: Path, objective: str) -> list[RunDirectory]:
    """Trials 0 and 1 in ``first``, 2 and 3 in ``second``; each predicted something of its own."""
    found = []
    for name, numbers in (("first", (0, 1)), ("second", (2, 3))):
        (tmp_path / name).mkdir()
        folder = run_with(tmp_path / name, {}, plan=f"objective: {objective}\n")
        folder.path.rename(tmp_path / name / name)
        folder = RunDirectory(tmp_path / name / name)
        for number in numbers:
            folder.write_record(
                trial(number, objective, VALUES[number]),
                "",
                None,
                predictions_of(number).astype(np.uint16),
            )
        found.append(folder)
    return found


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_several_runs_are_one_leaderboard_best_first(tmp_path: Path, objective: str) -> None:
    """Monday's best under Tuesday's worst would be chosen by whoever reads from the top."""
    folders = two_runs(tmp_path, objective)
    found = compare_runs([JudgedRun(folder, objective, "leave-one-out", {}) for folder in folders])
    order = order_of(objective)
    assert [(row["rank"], row["run"], row["number"]) for row in found.rows] == [
        (rank, "first" if number < 2 else "second", number) for rank, number in enumerate(order, 1)
    ]
    assert [row["number"] for row in found.boards["tiny-image"]] == order
    assert found.against is not None
    _first, other = order[:2]
    assert found.against.trial.endswith(f"tiny-image/{other}")
    assert (found.against.only_first, found.against.only_other) == (
        (2, 0) if objective == "val_accuracy" else (0, 2)
    )
    write_comparison(found, ["first", "second"], tmp_path / "out")
    table = list(csv.DictReader((tmp_path / "out" / "comparison.csv").read_text().splitlines()))
    assert [int(row["trial"].rpartition("/")[2]) for row in table] == order
    paths = [folder.path for folder in folders]
    best = json.loads(typed("best", *paths, "--top", 4, "--json").stdout)
    assert [row["number"] for row in best] == order
    boards = json.loads(typed("leaderboard", *paths, "--top", 4, "--json").stdout)["boards"]
    assert [row["number"] for row in boards["tiny-image"]] == order


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_runs_whose_best_were_run_again_are_ranked_by_the_means(
    tmp_path: Path, objective: str
) -> None:
    """The value that chose a trial was lucky, in every run alike."""
    folders = two_runs(tmp_path, objective)
    # the first has the better value of its own
    first, other = (1, 3) if LARGER_IS_BETTER[objective] else (0, 2)
    good, bad = (0.8, 0.4) if LARGER_IS_BETTER[objective] else (0.4, 0.8)
    for folder, number, values in (
        (folders[0], first, (bad, bad)),
        (folders[1], other, (good, bad)),
    ):
        jobs = [{"space": "tiny-image", "trial": number, "seed": seed} for seed in (1, 2)]
        folder.replicas.path.mkdir()
        (folder.replicas.path / "jobs.json").write_text(json.dumps(jobs))
        for job, value in enumerate(values):
            folder.replicas.write_record(trial(job, objective, value), "", None, None)
    found = compare_runs([JudgedRun(folder, objective, "leave-one-out", {}) for folder in folders])
    again = [(row["number"], row["replicas"]["mean"]) for row in found.rows if "replicas" in row]
    assert again == [(other, pytest.approx(0.6)), (first, pytest.approx(bad))]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_report_is_of_the_best_of_each_space(tmp_path: Path, objective: str) -> None:
    """Curves and matrices of a space's worst trial would be taken for what the space can do."""
    bag = (
        dict.fromkeys(("step", "bin_size", "vocabulary_step", "vocabulary_size"), 8)
        | CONFIG
        | {"fast": True, "transform": "raw"}
    )
    items = trials(objective) + [
        trial(n, objective, value, space="bag-of-sift") for n, value in enumerate(VALUES)
    ]
    items = [
        item.model_copy(
            update={
                "accuracy_by_k": (0.1 + item.number / 10, 0.5),
                "config": (bag if item.space == "bag-of-sift" else CONFIG) | {"k": item.number + 1},
            }
        )
        for item in items
    ]
    folder = run_with(tmp_path, {})
    for item in items:
        folder.write_record(item, "", None, predictions_of(item.number).astype(np.uint16))
    write_report(folder, ReportSettings(objective=objective))
    best = order_of(objective)[0]
    curve = (folder.report / "accuracy_by_k.csv").read_text().splitlines()
    assert sorted(curve[0].split(",")[1:]) == [f"bag-of-sift/{best}", f"tiny-image/{best}"]
    assert curve[1:] == [f"1,{0.1 + best / 10:.6f},{0.1 + best / 10:.6f}", "2,0.500000,0.500000"]
    matrix = np.array(
        [row[1:] for row in csv.reader((folder.report / "confusion.csv").read_text().splitlines())][
            1:
        ],
        int,
    )
    expected = np.zeros((3, 3), int)
    np.add.at(expected, (np.array(LABELS), predictions_of(best)), 1)
    assert matrix.tolist() == expected.tolist()
    page = (folder.report / "report.html").read_text()
    assert f"<strong>{VALUES[best]:.4f}</strong> {objective}, trial bag-of-sift/{best}" in page
    assert f"The best was found by trial number {2 * best + 1} to end" in page
    table = json.loads((folder.report / "leaderboard.json").read_text())
    assert [row["number"] for row in table] == [
        number for number in order_of(objective) for _ in range(2)
    ]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_each_network_is_shown_by_its_best_trial(objective: str) -> None:
    """A model's worst trial beside another's best is no comparison."""
    models = ["lenet", "vgg16", "lenet", "vgg16"]
    items = [
        trial(n, objective, VALUES[n], space="cnn").model_copy(
            update={"config": {"model": models[n]}}
        )
        for n in range(4)
    ]
    order = order_of(objective)
    assert [item.number for item in best_networks([*items, *trials(objective)], objective)] == order
    table = model_table(best_networks(items, objective))
    assert [(row["model"], row["trial"]) for row in table] == (
        [("vgg16", "cnn/1"), ("lenet", "cnn/2")]
        if objective == "val_accuracy"
        else [("lenet", "cnn/0"), ("vgg16", "cnn/3")]
    )


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_best_so_far_only_gets_better(
    tmp_path: Path, objective: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drawn the other way round, a search looks as if it had forgotten what it found."""
    points = best_so_far(trials(objective), objective)["tiny-image"]
    expected = [0.3, 0.9, 0.9, 0.9] if objective == "val_accuracy" else [0.3] * 4
    assert [point.best for point in points] == expected
    figure = search_figures.best_so_far({"tiny-image": points}, objective, {"line": 0.95})
    for axes in figure.axes:
        dots, steps = axes.lines[:2]
        assert list(dots.get_ydata()) == VALUES
        assert list(steps.get_ydata()) == expected
        assert steps.get_drawstyle() == "steps-post"
        low, high = axes.get_ylim()
        assert low < min(VALUES) < max(VALUES) < high
    assert list(figure.axes[0].lines[1].get_xdata()) == [1, 2, 3, 4]
    assert [line.get_ydata()[0] for line in figure.axes[0].lines[2:]] == (
        [0.95] if objective == "val_accuracy" else []
    )
    page = search_page.best_so_far({"tiny-image": points}, objective, 1000)["best-trials"]["data"]
    assert page[0]["y"][-1] == expected[-1]
    assert page[1]["y"] == VALUES


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_pictures_leave_out_the_worst_twentieth_and_never_the_best(objective: str) -> None:
    """One trial that diverged would flatten all others; the best is what the picture is for."""
    good, bad = (1.0, 0.0) if objective == "val_accuracy" else (0.0, 1.0)
    values = np.array([bad, good, *np.full(38, 0.5)])
    axes = axes_of("tiny-image", [trial(n % 40, objective, 0.5) for n in range(40)])
    figure = search_figures.slices(axes, values, objective)
    low, high = figure.axes[0].get_ylim()
    assert low < good < high
    assert not low < bad < high


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_the_best_is_ringed_drawn_last_and_at_the_bright_end(objective: str) -> None:
    """In a picture of many trials these are all that tell good from bad."""
    order, values = order_of(objective), np.array(VALUES)
    axes = axes_of("tiny-image", trials(objective))
    assert [axis.name for axis in axes] == ["k"]
    ring = search_figures.slices(axes, values, objective).axes[0].collections[1].get_offsets()
    assert ring.tolist() == [[order[0] + 1, values[order[0]]]]
    figure = search_figures.parallel(axes, values, objective)
    (lines,) = figure.axes[0].collections
    assert lines.get_array().tolist() == [VALUES[number] for number in reversed(order)]
    best, worst = (lines.cmap(lines.norm(values[number])) for number in (order[0], order[-1]))
    assert sum(best[:3]) > sum(worst[:3]), "viridis ends in yellow, which is the best"
    color = search_page.parallel(axes, values, objective)["data"][0]["line"]
    assert color["color"] == VALUES
    assert color["reversescale"] == (objective == "val_loss")
    assert color["cmin"] <= values[order[0]] <= color["cmax"]


def test_whoever_reaches_a_step_is_counted_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two trials of one step and one of three: at step 1 all three are there, at step 2 one."""
    kept = keep_figures(monkeypatch)
    folder = run_with(
        tmp_path, {}, tuple(record(n, steps=steps) for n, steps in enumerate((1, 1, 3)))
    )
    write_report(folder, ReportSettings())
    (axes,) = [
        axes
        for figure in kept
        for axes in figure.axes
        if axes.get_ylabel() == "trials that reached it"
    ]
    assert [
        (x, y)
        for line in axes.lines
        for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True)
    ] == [(1, 3), (2, 1), (3, 1)]
