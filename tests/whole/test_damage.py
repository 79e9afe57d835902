"""Every file of a run directory, damaged in every way, under every command: right, or one line that
names the file.
"""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cnn_search import arguments
from damage_table import FAST, SLOW, cases, check
from damages import DAMAGES
from finished import scored, shares
from one_ray import OneRay
from program import typed

from analysis.plan.plan import Plan, make_plan
from analysis.plan.replicate import Replicate
from analysis.ranking.looks import count_look
from analysis.run import provenance
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts, Measured
from search.driver.beginning import create
from search.ledger import requests
from search.ledger.ledger import Ledger
from search.ledger.replicas import Replicas
from search.ledger.trial_source import Proposal
from search.sampling.guided import Earlier, keep_earlier
from search.tracking.tracked_facts import run_fact
from trainables.data import Dataset, read_dataset
from trainables.data.scores import answers
from trainables.data.source import DataSource, data_source

DEAR = ("sync", "export", "ensemble")
"""Commands that take seconds; they are tried by the slow tests."""
SAMPLE = 40
"""Combinations that are tried by default; all of them as slow."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs directory with a finished run ``k`` of tiny images on digits, as its driver leaves
    it, every kind of file in it.
    """
    runs = tmp_path_factory.mktemp("whole")
    every = read_dataset("digits")
    assert every.test is not None
    some = {"x_train": np.stack(every.train.images[:300]), "y_train": every.train.labels[:300]}
    test = {"x_test": np.stack(every.test.images[:100]), "y_test": every.test.labels[:100]}
    np.savez(runs / "images.npz", **some, **test, classes=np.array(every.classes))
    spec = f"npz:{runs / 'images.npz'}"
    plan = make_plan(
        {
            "spaces": ["tiny-image"],
            "dataset": spec,
            "trials": 5,
            "name": "k",
            "sampler": "random",
            "seed": 1,
        }
    )
    data = read_dataset(spec)
    labels = data.train.labels
    folder = RunDirectory(runs / "k")
    facts = DataFacts(
        spec=spec,
        classes=data.classes,
        sizes={"train": len(labels), "test": 100},
        fingerprint=data.fingerprint,
    )
    lock = create(folder, plan, facts, labels)
    provenance.note(folder, provenance.facts(plan, data.fingerprint))
    ledger = Ledger(folder, plan)
    ledger.outbox.append(run_fact(folder, plan, data.fingerprint, 0.0))
    source = data_source(data, plan.read_options())
    while (proposal := ledger.propose()) is not None:
        if proposal.number == 2:
            ledger.end(proposal.key, {"failure": "boom", "traceback": "Traceback …"})
            continue
        ledger.end(proposal.key, ended(proposal, data, source, plan))
    again = Replicas(folder, Replicate(top=1, seeds=1), "val_accuracy", 1, ledger.outbox, print)
    while (proposal := again.propose()) is not None:
        again.end(proposal.key, ended(proposal, data, source, plan))
    count_look(
        folder,
        folder.records()[0],
        Measured(
            split="test", n=100, scheme="s", accuracy=0.9, balanced_accuracy=0.9, macro_f1=0.9
        ),
    )
    earlier = Earlier(source="run e", taken="values", trials=(folder.records()[0],))
    keep_earlier(folder, (earlier,))
    requests.ask(folder, "enqueue", "tiny-image", {"k": 3})
    next(folder.requests.iterdir()).rename(folder.requests / "enqueue-1.json")
    state = folder.state().model_copy(
        update={"state": "finished", "trials": ledger.states(), "seconds": 3.0}
    )
    folder.write_state(state)
    (folder.path / "driver.log").write_text("2026 INFO said\n")
    os.close(lock)
    return runs


def ended(proposal: Proposal, data: Dataset, source: DataSource, plan: Plan) -> dict[str, Any]:
    """What a worker says of a trial that has come to its end."""
    found = scored(proposal.space, proposal.config, data, source, plan)
    return {
        **shares(found),
        **answers(found.predictions, found.shares),
        "accuracy_by_k": found.accuracy_by_k,
        "seconds": 0.5,
        "log": "fine\n",
    }


@pytest.fixture
def untracked(whole: Path, tmp_path: Path) -> Path:
    """The same for searches that go on: MLflow would take most of their time."""
    runs = Path(shutil.copytree(whole, tmp_path / "untracked"))
    plan = runs / "k" / "plan.yaml"
    text = plan.read_text()
    assert "enabled: true" in text
    plan.write_text(text.replace("enabled: true", "enabled: false"))
    return runs


@pytest.fixture(scope="module")
def several(whole: Path, one_ray: OneRay, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same of two spaces, one of networks, with their weights."""
    runs = tmp_path_factory.mktemp("several")
    shutil.copy(whole / "images.npz", runs)
    spec = f"npz:{runs / 'images.npz'}"
    done = one_ray.typed(*arguments(runs, "k", 4, 2, "--space", "tiny-image", dataset=spec))
    assert done.returncode == 0, done.stderr
    assert list((runs / "k" / "trials" / "cnn").glob("*/weights/*")), "weights are what it is for"
    return runs


def test_a_damaged_file_changes_nothing_silently(whole: Path, tmp_path: Path) -> None:
    """A disk, a sync client or a hand damages files; what cannot be believed must be said, and must
    cost no finished work.
    """
    every = cases(whole, FAST)
    check(
        whole,
        tmp_path / "runs",
        FAST,
        random.Random(20).sample([case for case in every if case[2] not in DEAR], SAMPLE),
    )


def test_a_bundle_that_was_made_stands_though_the_report_cannot_be_made(
    whole: Path, tmp_path: Path
) -> None:
    """Whoever exports wants the bundle; the report that tells of its test score is made again at
    the end, and is the first to read how trials began.
    """
    runs = Path(shutil.copytree(whole, tmp_path / "runs"))
    assert typed("report", "k", "--runs-dir", runs).returncode == 0
    page = runs / "k" / "report" / "report.html"
    before, begun = page.read_bytes(), runs / "k" / "trials" / "tiny-image" / "00001" / "trial.json"
    DAMAGES["a newer version"](begun)
    done = typed("export", "k", "--out", runs / "out", "--runs-dir", runs)
    assert (done.returncode, (runs / "out" / "bundle.json").is_file()) == (0, True)
    assert [line for line in done.stderr.splitlines() if f"{begun}: written by a newer" in line]
    assert page.read_bytes() == before


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning")  # MLflow's own, of its own dependencies
@pytest.mark.parametrize("what", FAST)
def test_every_damage_of_every_file_under_every_command(
    whole: Path, tmp_path: Path, what: str
) -> None:
    """The same, all of it."""
    check(whole, tmp_path / "runs", FAST, [case for case in cases(whole, FAST) if case[2] == what])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning")  # Ray's own
@pytest.mark.parametrize("what", sorted(FAST.keys() - {"sync", "retry", "enqueue"}))
def test_every_damage_of_a_network_s_files_under_every_command(
    several: Path, tmp_path: Path, what: str
) -> None:
    """Weights and steps are files that other trials do not have."""
    every = cases(several, FAST, below="trials/cnn")
    check(several, tmp_path / "runs", FAST, [case for case in every if case[2] == what])


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("what", SLOW)
def test_every_damage_of_every_file_before_a_search_goes_on(
    untracked: Path, tmp_path: Path, one_ray: OneRay, what: str, damage: str
) -> None:
    """The same with Ray: a search goes on, or is refused and the run is as it was."""
    chosen = [case for case in cases(untracked, SLOW) if case[1:] == (damage, what)]
    most = min(len(chosen), int(os.environ.get("VISIONTUNE_DAMAGED", "2")))
    check(untracked, tmp_path / "runs", SLOW, random.Random(what).sample(chosen, most))
