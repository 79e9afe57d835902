"""What MLflow shows of a search: one parent with its trials below it, and what came out."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from program import ROOT
from samples import record, run_with
from tracked_run import client, run_directory, stored

from analysis.plan.addresses import Tracking
from search.driver.reporting import write_report
from search.ledger.outbox import Outbox, replica_fact, trial_fact
from search.tracking.sender import Sender
from search.tracking.tracked_facts import run_fact

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # MLflow's own, of its own dependencies


def test_every_trial_is_a_child_with_params_metrics_state_and_times(tmp_path: Path) -> None:
    """The MLflow UI shows a search as one parent with its trials below it."""
    folder = run_directory(tmp_path)
    assert Sender(folder, Tracking()).send() == 4
    (parent,), children = stored(folder)
    assert sorted(child.info.run_name for child in children) == [
        "tiny-image/0",
        "tiny-image/1",
        "tiny-image/2",
    ]
    child = next(c for c in children if c.info.run_name == "tiny-image/1")
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert child.data.tags["visiontune.trial"] == "1"
    assert child.data.params["metric"] == "cityblock"
    assert child.data.metrics["val_accuracy"] == 0.1
    assert (child.info.start_time, child.info.end_time) == (1_010_000, 1_011_500)
    history = client(folder).get_metric_history(child.info.run_id, "accuracy_by_k")
    assert [(point.step, point.value) for point in history] == [(1, 0.5), (2, 0.6)]


def test_a_trial_run_again_with_another_seed_is_a_run_below_it(tmp_path: Path) -> None:
    """A mean over seeds can be believed where the seeds can be seen."""
    folder = run_directory(tmp_path)
    again = record(7).model_copy(update={"metrics": {"val_accuracy": 0.5}})
    Outbox(folder.outbox).append(replica_fact(again, [], of=2, seed=11))
    for _ in range(2):
        Outbox(folder.outbox).mark_sent(0)
        Sender(folder, Tracking()).send()
    children = {child.info.run_name: child for child in stored(folder)[1]}
    assert len(children) == 4
    below = children["tiny-image/2 seed 11"].data
    assert below.tags["mlflow.parentRunId"] == children["tiny-image/2"].info.run_id
    assert (below.tags["visiontune.seed"], below.metrics["val_accuracy"]) == ("11", 0.5)


def test_the_parent_shows_plan_data_versions_leaderboard_report_and_the_best_their_pictures(
    tmp_path: Path,
) -> None:
    """Who looks at MLflow alone must find what was searched, on what, with what, and what came
    out.
    """
    folder = run_with(
        tmp_path, {0: [0] * 10, 1: [0] * 4 + [1] * 6}, plan="abbreviations: {owl: OW}\n"
    )
    outbox, plan = Outbox(folder.outbox), folder.plan()
    outbox.append(run_fact(folder, plan, "f" * 64, 0.0))
    for item in folder.records():
        outbox.append(trial_fact(item, []))
    files = [str(path.relative_to(folder.path)) for path in write_report(folder, plan)]
    outbox.append({"kind": "report", "files": files})
    for _ in range(2):  # sent again after a crash
        outbox.mark_sent(0)
        assert Sender(folder, Tracking()).send() == 4
    (parent,), children = stored(folder)
    assert (parent.data.params["classes"], parent.data.params["images_train"]) == ("3", "10")
    assert [(i.dataset.name, i.dataset.digest) for i in parent.inputs.dataset_inputs] == [
        ("folder:/x", "f" * 36)
    ]
    there = {item.path for item in client(folder).list_artifacts(parent.info.run_id)}
    assert there == {"plan.yaml", "data.json", "report", "leaderboard.json"}
    shown = {item.path for item in client(folder).list_artifacts(parent.info.run_id, "report")}
    assert shown == {f"report/{Path(name).name}" for name in files}
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"]) == [
        {"path": "leaderboard.json", "type": "table"}
    ]
    table = json.loads(
        Path(
            client(folder).download_artifacts(parent.info.run_id, "leaderboard.json", str(tmp_path))
        ).read_text()
    )
    assert [dict(zip(table["columns"], row, strict=True))["trial"] for row in table["data"]] == [
        "tiny-image/1",
        "tiny-image/0",
    ]
    best = next(child for child in children if child.info.run_name == "tiny-image/1")
    assert parent.data.tags["visiontune.best_run_id"] == best.info.run_id
    pictures = {item.path for item in client(folder).list_artifacts(best.info.run_id)}
    assert pictures == {"log.txt", "accuracy-by-k.png", "confusion.png"}


def test_a_plan_that_was_extended_is_told_although_params_cannot_change(tmp_path: Path) -> None:
    """MLflow refuses another value of a param; the refusal would hold up everything behind it for
    ever.
    """
    folder = run_directory(tmp_path)
    Sender(folder, Tracking()).send()
    Outbox(folder.outbox).append(
        {
            "kind": "run",
            "time": 2000.0,
            "note": "more",
            "params": {"trials": 9, "seed": 1},
            "tags": {},
        }
    )
    assert Sender(folder, Tracking()).send() == 1
    (parent,), _ = stored(folder)
    assert parent.data.params == {"trials": "3", "seed": "1"}
    assert parent.data.tags["visiontune.now.trials"] == "9"


@pytest.mark.parametrize("kind", [None, "no_inferred_type", "genai_development"])
def test_the_experiment_opens_as_model_training_and_every_run_has_a_source(
    tmp_path: Path, kind: str | None
) -> None:
    """MLflow opens what it knows nothing of as work on language models, with judges and traces,
    and its column of sources would be empty. What somebody chose is left as it is.
    """
    folder = run_directory(tmp_path)
    tags = {} if kind is None else {"mlflow.experimentKind": kind}
    client(folder).create_experiment("visiontune", tags=tags)
    sender = Sender(folder, Tracking())
    sender.send()
    experiment = client(folder).get_experiment_by_name("visiontune")
    chosen = kind if kind == "genai_development" else "custom_model_development"
    assert experiment.tags["mlflow.experimentKind"] == chosen
    parents, children = stored(folder)
    for run in (*parents, *children):
        assert run.data.tags["mlflow.source.name"] == "visiontune"
        assert run.data.tags["mlflow.source.type"] == "LOCAL"
        if (ROOT / ".git").exists():
            assert re.fullmatch("[0-9a-f]{40}", run.data.tags["mlflow.source.git.commit"])
    page = sender.parent_url("http://x")
    assert page.startswith(f"http://x/#/experiments/{experiment.experiment_id}/runs/")
    assert page.endswith("?workflowType=machine_learning")
