"""Every file of a run directory, damaged in every way, under every command: right, or one line that
names the file.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import numpy as np
import pytest
from program import typed, visiontune

from analysis.plan.plan import make_plan
from analysis.ranking.looks import count_look
from analysis.run import provenance
from analysis.run.directory import RunDirectory
from analysis.run.notes import taken
from analysis.run.records import DataFacts, Measured
from search.driver.beginning import create
from search.ledger import requests
from search.ledger.ledger import Ledger
from search.tracking.tracked_facts import run_fact
from spaces.errors import UserError
from trainables.data import read_dataset

Done = CompletedProcess[str]
SAMPLE = 40
"""Combinations that are tried by default; all of them as slow."""
NEVER_THERE_TWICE = {"lock", "plan.lock"}


def turned(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def other_type(path: Path) -> None:
    path.write_text("{}" if path.read_text(errors="replace").lstrip().startswith("[") else "[1]")


def newer(path: Path) -> None:
    facts = json.loads(path.read_text())
    path.write_text(
        json.dumps({**facts, "format": 99} if isinstance(facts, dict) else [{"format": 99}])
    )


def replaced(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "one bit turned": turned,
    "zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "a folder": lambda path: replaced(path, Path.mkdir),
    "a link to itself": lambda path: replaced(path, lambda place: place.symlink_to(place.name)),
    "another type": other_type,
    "a newer version": newer,
    "unreadable": lambda path: path.chmod(0),
}
JSON_ONLY = {"another type", "a newer version"}
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
    """A runs directory with a finished run ``k`` of tiny images on digits, as its driver leaves it,
    every kind of file in it.
    """
    runs = tmp_path_factory.mktemp("whole")
    plan = make_plan(
        {
            "spaces": ["tiny-image"],
            "dataset": "digits",
            "trials": 5,
            "name": "k",
            "sampler": "random",
            "seed": 1,
        }
    )
    data = read_dataset("digits")
    labels = data.train.labels
    folder = RunDirectory(runs / "k")
    facts = DataFacts(
        spec="digits",
        classes=data.classes,
        sizes={"train": len(labels), "test": 360},
        fingerprint=data.fingerprint,
    )
    lock = create(folder, plan, facts, labels)
    provenance.note(folder, provenance.facts(plan, data.fingerprint))
    ledger = Ledger(folder, plan)
    ledger.outbox.append(run_fact(folder, plan, data.fingerprint, 0.0))
    while (proposal := ledger.propose()) is not None:
        if proposal.number == 2:
            ledger.end(proposal.key, {"failure": "boom", "traceback": "Traceback …"})
            continue
        given = labels.copy()
        given[: 40 * (proposal.number + 1)] = 3
        right = float(np.mean(given == labels))
        shares = {"val_accuracy": right, "balanced_accuracy": right, "macro_f1": right}
        ledger.end(
            proposal.key,
            {
                **shares,
                "accuracy_by_k": [right] * 50,
                "predictions": given,
                "seconds": 0.5,
                "log": "fine\n",
            },
        )
    count_look(
        folder,
        folder.records()[0],
        Measured(
            split="test", n=360, scheme="s", accuracy=0.9, balanced_accuracy=0.9, macro_f1=0.9
        ),
    )
    requests.ask(folder, "enqueue", "tiny-image", {"k": 3})
    next(folder.requests.iterdir()).rename(folder.requests / "enqueue-1.json")
    state = folder.state().model_copy(
        update={"state": "finished", "trials": ledger.states(), "seconds": 3.0}
    )
    folder.write_state(state)
    (folder.path / "driver.log").write_text("2026 INFO said\n")
    os.close(lock)
    return runs


def opened(runs: Path) -> Done:
    """What ``resume`` does before Ray starts to work, in this process."""
    folder = RunDirectory(runs / "k")
    taken()
    try:
        plan = folder.plan()
        folder.data()
        ledger = Ledger(folder, plan)
        ledger.take_requests()
        provenance.note(folder, provenance.facts(plan, folder.data().fingerprint))
        left = ledger.trials - ledger.tally.done
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


FAST: dict[str, Callable[[Path], Done]] = {
    "status": lambda runs: without_tracking(typed("status", "k", "--runs-dir", runs, "--json")),
    "best": command("best", "--top", "5", "--json"),
    "leaderboard": command("leaderboard", "--json"),
    "report": command("report"),
    "confusion": command("confusion", "--json"),
    "importance": command("importance", "--json"),
    "retry": command("retry"),
    "enqueue": command("enqueue", "--set", "k=5"),
    "sync": command("sync"),
    "open": opened,
}


def started(*words: str) -> Callable[[Path], Done]:
    return lambda runs: visiontune(
        words[0], "k", *words[1:], "--runs-dir", runs, "--json", timeout=600
    )


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


def content(runs: Path) -> dict[str, bytes | str]:
    """All that lies in the run, byte for byte; links and folders by what they are."""
    found: dict[str, bytes | str] = {}
    for path in sorted((runs / "k").rglob("*")):
        name = path.relative_to(runs / "k").as_posix()
        if name not in NEVER_THERE_TWICE:
            found[name] = (
                "link" if path.is_symlink() else "folder" if path.is_dir() else path.read_bytes()
            )
    return found


def tried(
    whole: Path,
    runs: Path,
    name: str,
    damage: str,
    act: Callable[[Path], Done],
    usual: str,
    what: str,
) -> None:
    """One combination of file, damage and command."""
    shutil.rmtree(runs, ignore_errors=True)
    shutil.copytree(whole, runs)
    path = runs / "k" / name
    DAMAGES[damage](path)
    before = content(runs)
    done = act(runs)
    case = f"{what} with {name} {damage}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    after = content(runs)
    lines = done.stderr.splitlines()
    assert "Traceback" not in done.stderr, case
    assert all(len(line) <= 500 for line in lines), case
    said = [line for line in lines if path.name in line]
    if done.returncode:
        assert done.returncode in (1, 2), case
        assert (
            len(
                [
                    line
                    for line in lines
                    if not line.startswith(("starting Ray", "10 classes", "warning: "))
                ]
            )
            == 1
        ), case
        assert said or name == "plan.yaml", case
        assert after == before, case
    elif (
        not said
        and path.name not in EDITABLE
        and not (damage == "one bit turned" and path.name in UNSEALED)
    ):
        assert done.stdout == usual, case
    for record, bytes_ in before.items():
        if record.endswith("result.json") and record != name:
            assert after.get(record) == bytes_, case
    shutil.rmtree(runs)


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
        for damage in DAMAGES
        for what in acts
        if (damage not in JSON_ONLY or name.endswith(".json"))
        and (damage != "unreadable" or os.geteuid())
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
    failures = []
    for name, damage, what in chosen:
        try:
            tried(whole, runs, name, damage, acts[what], usual[what], what)
        except AssertionError as error:
            failures.append(str(error).partition("\nassert")[0])
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
        random.Random(20).sample([case for case in every if case[2] != "sync"], SAMPLE),
    )


@pytest.mark.slow
@pytest.mark.parametrize("what", FAST)
def test_every_damage_of_every_file_under_every_command(
    whole: Path, tmp_path: Path, what: str
) -> None:
    """The same, all of it."""
    check(whole, tmp_path / "runs", FAST, [case for case in cases(whole, FAST) if case[2] == what])


@pytest.mark.slow
@pytest.mark.parametrize("what", SLOW)
def test_every_damage_of_every_file_before_a_search_goes_on(
    whole: Path, tmp_path: Path, what: str
) -> None:
    """The same with Ray: a search goes on, or is refused and the run is as it was."""
    chosen = [case for case in cases(whole, SLOW) if case[2] == what]
    check(whole, tmp_path / "runs", SLOW, random.Random(what).sample(chosen, 12))
