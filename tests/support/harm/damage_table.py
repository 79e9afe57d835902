"""Every file of a run, damaged in every way, under every command: what a user would type, what it
says of the whole run, and whether what it says of a damaged one is right.
"""

from __future__ import annotations

import itertools
import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from damages import DAMAGES, Done, content, damages_of, judge
from one_ray import OneRay
from program import typed
from tracked_run import new_database

from analysis.run import provenance
from analysis.run.directory import RunDirectory
from analysis.run.notes import taken
from search.ledger.ledger import Ledger
from search.study.kept import check_files, check_kept
from spaces.errors import UserError

NEVER_THERE_TWICE = {"lock", "plan.lock"}
ALIKE = ("trials/tiny-image/00001", "trials/tiny-image/00003")
"""Trials like others of the run."""
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


def files_of(runs: Path, below: str) -> list[str]:
    """Every kind of file of the run once: of trials the best, and one that failed.

    Args:
        below: only files whose names begin so.
    """
    found = [
        path.relative_to(runs / "k").as_posix()
        for path in sorted((runs / "k").rglob("*"))
        if path.is_file()
    ]
    return [
        name
        for name in found
        if name not in NEVER_THERE_TWICE and name.startswith(below) and not name.startswith(ALIKE)
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


def cases(
    whole: Path, acts: dict[str, Callable[[Path], Done]], below: str = ""
) -> list[tuple[str, str, str]]:
    """File, damage and command of all that can be tried."""
    return [
        (name, damage, what)
        for name in files_of(whole, below)
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
