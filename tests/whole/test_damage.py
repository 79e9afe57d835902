"""Every file of a run directory, damaged in every way, under every command: right, or one line that
names the file.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damages import DAMAGES, Done, content, damages_of, judge
from finished import scored, shares
from one_ray import OneRay
from program import typed
from tracked_run import new_database

from analysis.plan.plan import Plan, make_plan
from analysis.plan.replicate import Replicate
from analysis.ranking.looks import count_look
from analysis.run import provenance
from analysis.run.directory import RunDirectory
from analysis.run.notes import taken
from analysis.run.records import DataFacts, Measured
from search.driver.beginning import create
from search.ledger import requests
from search.ledger.ledger import Ledger
from search.ledger.replicas import Replicas
from search.ledger.trial_source import Proposal
from search.study.guided import Earlier, keep_earlier
from search.study.kept import check_files, check_kept
from search.tracking.tracked_facts import run_fact
from spaces.errors import UserError
from trainables.data import Dataset, read_dataset
from trainables.data.scores import answers
from trainables.data.source import DataSource, data_source

DEAR = ("sync", "export", "ensemble")
"""Commands that take seconds; they are tried by the slow tests."""
SAMPLE = 40
"""Combinations that are tried by default; all of them as slow."""
NEVER_THERE_TWICE = {"lock", "plan.lock"}


EDITABLE = {"plan.yaml"}
"""A user may change it by hand: what a turned bit makes of it is a plan, or none."""
UNSEALED = {
    "driver.log",
    "log.txt",
    "traceback.txt",
    "provenance.json",
    "enqueue-1.json",
    "facts.jsonl",
}
"""What these say is looked at by nobody, or was said by a user a moment ago: a turned bit in the
midst of a word is not noticed.
"""


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


def opened(runs: Path) -> Done:
    """What ``resume`` does before Ray starts to work, in this process."""
    folder = RunDirectory(runs / "k")
    taken()
    try:
        plan = folder.plan()
        check_files(folder, plan)
        check_kept(folder, plan)
        folder.data()
        ledger = Ledger(folder, plan)
        ledger.take_requests()
        provenance.note(folder, provenance.facts(plan, folder.data().fingerprint))
        left = ledger.plan.trials - ledger.tally.done
        return Done(
            [],
            0,
            f"{left} left, best {ledger.tally.best and ledger.tally.best.key}",
            "\n".join(taken()),
        )
    except UserError as error:
        taken()
        return Done([], 2, "", f"visiontune: {error}")
    except OSError as error:
        taken()
        return Done([], 1, "", f"visiontune: {error}")


def without_tracking(done: Done) -> Done:
    """How much MLflow has not been told is what a damaged outbox changes, rightly."""
    found = json.loads(done.stdout or "{}")
    found.pop("tracking", None)
    return Done(done.args, done.returncode, json.dumps(found), done.stderr)


def command(*words: str) -> Callable[[Path], Done]:
    return lambda runs: typed(words[0], "k", *words[1:], "--runs-dir", runs)


COUNT = itertools.count()


def synced(runs: Path) -> Done:
    """Each time at a place of its own: MLflow holds every database open that it has opened."""
    place = runs.rename(runs.with_name(f"synced-{next(COUNT)}"))
    (place / "mlflow.db").write_bytes(new_database())
    done = typed("sync", "k", "--runs-dir", place)
    place.rename(runs)
    told = done.stdout.replace(str(place), str(runs))
    return Done(done.args, done.returncode, told, done.stderr)


FAST: dict[str, Callable[[Path], Done]] = {
    "status": lambda runs: without_tracking(typed("status", "k", "--runs-dir", runs, "--json")),
    "best": command("best", "--top", "5", "--json"),
    "leaderboard": command("leaderboard", "--json"),
    "report": command("report"),
    "confusion": command("confusion", "--json"),
    "check": lambda runs: typed("check", "--run", "k", "--runs-dir", runs, "--json"),
    "importance": command("importance", "--json"),
    "retry": command("retry"),
    "enqueue": command("enqueue", "--set", "k=5"),
    "sync": synced,
    "open": opened,
}


def exported(runs: Path, *more: object) -> Done:
    """With what the bundle says of itself, but for when and with what it was made."""
    done = typed("export", "k", "--out", runs / "out", "--runs-dir", runs, *more)
    if done.returncode:
        assert list(runs.glob("out")) + list(runs.glob(".out.*")) == [], "half a bundle was left"
        return done
    facts = json.loads((runs / "out" / "bundle.json").read_bytes())
    told = {name: facts[name] for name in ("trial", "config", "val", "test", "test_evaluations")}
    return Done(done.args, 0, json.dumps(told), done.stderr)


FAST["export"] = exported
FAST["ensemble"] = lambda runs: exported(runs, "--ensemble", 2, "--no-test")


def started(*words: str) -> Callable[[Path], Done]:
    """In this process, Ray's but for."""

    def act(runs: Path) -> Done:
        done = OneRay().typed(words[0], "k", *words[1:], "--runs-dir", runs, "--json")
        told = json.loads(done.stdout or "{}")
        best = told.get("best") or {}
        same = [told.get(name) for name in ("state", "reason", "trials")]
        same += [best.get(name) for name in ("number", "config", "accuracy_by_k")]
        return Done(done.args, done.returncode, json.dumps(same), done.stderr)

    return act


SLOW: dict[str, Callable[[Path], Done]] = {
    "resume": started("resume"),
    "extend": started("extend", "--trials", "1"),
    "replicate": started("replicate", "--top", "1", "--seeds", "1"),
}


def files_of(runs: Path) -> list[str]:
    """Every kind of file of the run once: of trials the best, and one that failed."""
    found = [
        path.relative_to(runs / "k").as_posix()
        for path in sorted((runs / "k").rglob("*"))
        if path.is_file()
    ]
    return [
        name
        for name in found
        if name not in NEVER_THERE_TWICE
        and not name.startswith(("trials/tiny-image/00001", "trials/tiny-image/00003"))
    ]


def tried(
    whole: Path,
    runs: Path,
    name: str,
    damage: str,
    act: Callable[[Path], Done],
    usual: str,
    what: str,
) -> str:
    """One combination of file, damage and command; returns how it went."""
    shutil.rmtree(runs, ignore_errors=True)
    shutil.copytree(whole, runs)
    path = runs / "k" / name
    DAMAGES[damage](path)
    before = content(runs / "k", NEVER_THERE_TWICE)
    done = act(runs)
    case = f"{what} with {name} {damage}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    after = content(runs / "k", NEVER_THERE_TWICE)
    silent = (
        path.name in EDITABLE
        or (damage == "one bit turned" and path.name in UNSEALED)
        or (damage == "missing" and name.startswith("requests/"))  # nobody asked, then
    )
    judge(done, usual, path, case, silent, name == "plan.yaml")
    if done.returncode:
        assert after == before, case
    for record, bytes_ in before.items():
        if record.endswith("result.json") and record != name:
            assert after.get(record) == bytes_, case
    shutil.rmtree(runs)
    return "refused in a line" if done.returncode else "right"


def usual_of(whole: Path, runs: Path, acts: dict[str, Callable[[Path], Done]]) -> dict[str, str]:
    """What each command says of the whole run."""
    found = {}
    for what, act in acts.items():
        shutil.rmtree(runs, ignore_errors=True)
        shutil.copytree(whole, runs)
        done = act(runs)
        assert done.returncode == 0, (what, done.stdout, done.stderr)
        found[what] = done.stdout
    return found


def cases(whole: Path, acts: dict[str, Callable[[Path], Done]]) -> list[tuple[str, str, str]]:
    return [
        (name, damage, what)
        for name in files_of(whole)
        for damage in damages_of(whole / "k" / name)
        for what in acts
    ]


def check(
    whole: Path,
    runs: Path,
    acts: dict[str, Callable[[Path], Done]],
    chosen: list[tuple[str, str, str]],
) -> None:
    usual = usual_of(
        whole,
        runs,
        {what: act for what, act in acts.items() if what in {what for _, _, what in chosen}},
    )
    failures, outcomes = [], Counter[str]()
    for name, damage, what in chosen:
        try:
            outcomes[tried(whole, runs, name, damage, acts[what], usual[what], what)] += 1
        except AssertionError as error:
            failures.append(str(error).partition("\nassert")[0])
    print(f"{len(chosen)} tried: {dict(outcomes)}, {len(failures)} wrong")
    assert not failures, f"{len(failures)} of {len(chosen)}:\n" + "\n".join(failures)


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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::Warning")  # MLflow's own, of its own dependencies
@pytest.mark.parametrize("what", FAST)
def test_every_damage_of_every_file_under_every_command(
    whole: Path, tmp_path: Path, what: str
) -> None:
    """The same, all of it."""
    check(whole, tmp_path / "runs", FAST, [case for case in cases(whole, FAST) if case[2] == what])


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
