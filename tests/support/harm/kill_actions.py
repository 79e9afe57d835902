"""What ``killed_at`` kills in the midst of: how it is prepared, what is done, and what must be true
once the same has been done again to its end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from finished import TINY, finished
from golden_runs import golden_runs
from PIL import Image
from program import Tracked, tracked, typed
from tracked_run import new_database

from analysis.plan.plan import make_plan
from analysis.ranking.looks import looks
from analysis.run.changing import change_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts
from search.driver.beginning import clear_left_behind, create, named
from search.driver.reporting import write_report
from search.ledger.ledger import Ledger
from search.ledger.requests import ask
from search.study.storage import read_trials
from trainables.io.files import TEMPORARY

FACTS = DataFacts(spec="none", classes=(), sizes={}, fingerprint="")


@dataclass(frozen=True)
class Action:
    """One thing to be killed in the midst of.

    Attributes:
        prepare: makes what there is before.
        act: does it, from the beginning or whatever a kill has left.
        check: what is wrong after that, a line each.
        run: name of the run.
    """

    prepare: Callable[[Path], None]
    act: Callable[[Path], None]
    check: Callable[[Path], Iterator[str]]
    run: str = "k"


# --- a search without Ray


def run_all(ledger: Ledger) -> None:
    """Every trial that is left: two steps each; the second trial fails the first time."""
    ledger.take_requests()
    while (proposal := ledger.propose()) is not None:
        for step in (0, 1):
            row = reported(round(float(proposal.config["quality"]), 3), step)
            if proposal.number == 1:
                ledger.end(proposal.key, {"failure": "boom"})
                break
            if step:
                ledger.end(proposal.key, {**row, "done": True, "log": "x\n"})
            else:
                ledger.report(proposal.key, row)


def reported(value: float, step: int) -> dict[str, Any]:
    same = {"val_loss": 0.1, "model_mb": 1.0, "latency_ms": 1.0, "seconds": 0.1}
    return {"val_accuracy": value, **same, "step": step}


def begun(runs: Path, database: bool = False) -> Ledger:
    settings = {
        "spaces": ["toy"], "trials": 4, "name": "k", "retries": 1, "tracking": {"enabled": False},
    }  # fmt: skip
    if database:
        settings["storage"] = f"sqlite:///{runs / 'studies.db'}"
    plan = make_plan(settings)
    folder = RunDirectory(runs / "k")
    os.close(create(folder, named(plan, runs), FACTS, None))
    return Ledger(folder, plan)


def run(runs: Path, database: bool = False) -> None:
    if (runs / "k" / "plan.yaml").exists():
        resume(runs)
    else:
        run_all(begun(runs, database))


def resume(runs: Path) -> None:
    folder = RunDirectory(runs / "k")
    clear_left_behind(folder)
    run_all(Ledger(folder, folder.plan()))


def rebuild(runs: Path) -> None:
    """Where the study is lost: the journal, or the database with all that others have in it."""
    for lost in (runs / "k" / "study.journal", runs / "studies.db"):
        lost.unlink(missing_ok=True)
    resume(runs)


def extend(runs: Path) -> None:
    folder = RunDirectory(runs / "k")
    if folder.plan().trials == 4:
        ask(folder, "enqueue", "toy", {"quality": 0.25})
        change_plan(folder, lambda now: {"trials": now.trials + 2})
    resume(runs)


def nothing(runs: Path) -> None:
    runs.mkdir(parents=True)


def half(runs: Path, database: bool = False) -> None:
    """Two trials have begun, and one has reported."""
    nothing(runs)
    ledger = begun(runs, database)
    first, second = ledger.propose(), ledger.propose()
    assert first is not None
    assert second is not None
    ledger.report(first.key, reported(0.5, 0))


def whole(runs: Path, database: bool = False) -> None:
    nothing(runs)
    run_all(begun(runs, database))


def search_is_whole(runs: Path) -> Iterator[str]:
    folder = RunDirectory(runs / "k")
    plan = folder.plan()
    states = [record.state for record in folder.records()]
    if states.count("COMPLETE") != plan.trials:
        yield f"{states} instead of {plan.trials} complete trials"
    (trials,) = read_trials(folder, plan.storage).values()
    if [trial.state.name for trial in trials if trial.state.is_finished()] != states:
        yield "study and records differ"
    if folder.requests.is_dir() and list(folder.requests.iterdir()):
        yield "a request was left"
    yield from left_behind(folder)


def left_behind(folder: RunDirectory) -> Iterator[str]:
    clear_left_behind(folder)
    for path in folder.path.parent.rglob("*"):
        # the cache of stages sweeps its own by their age
        if TEMPORARY.fullmatch(path.name) and ".cache" not in path.parts:
            yield f"{path.name} was left behind"


# --- commands


def typed_well(*words: object) -> Callable[[Path], None]:
    def act(runs: Path) -> None:
        done = typed(*words, "--runs-dir", runs)
        assert done.returncode == 0, done.stderr

    return act


def reported_whole(runs: Path) -> Iterator[str]:
    if not (runs / "k" / "report" / "report.html").read_text().rstrip().endswith("</html>"):
        yield "half a report"
    yield from search_is_whole(runs)


def with_mlflow(runs: Path) -> None:
    whole(runs)
    (runs / "mlflow.db").write_bytes(new_database())


def without_outbox(runs: Path) -> None:
    """MLflow has been told all of it once, by an outbox that is lost."""
    with_mlflow(runs)
    typed_well("sync", "k")(runs)
    (runs / "k" / "outbox" / "facts.jsonl").unlink()


def synced_once(runs: Path) -> Iterator[str]:
    """One parent, each trial once, with the points of its record and no others."""
    records = RunDirectory(runs / "k").records()
    wanted = Tracked(
        1,
        sorted(record.key for record in records),
        {
            record.key: [record.metrics["val_accuracy"]] * record.steps if record.metrics else []
            for record in records
        },
    )  # fmt: skip
    if (found := tracked(runs)) != wanted:
        yield f"MLflow has {found} instead of {wanted}"
    yield from search_is_whole(runs)


def exportable(runs: Path) -> None:
    """A run of tiny images with its report, and images whose test part is scored."""
    nothing(runs)
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (36, 8, 8), dtype=np.uint8)
    labels = np.arange(36) % 3
    classes = np.array(["cat", "dog", "owl"])
    np.savez(
        runs / "images.npz", x_train=images[:24], y_train=labels[:24], x_test=images[24:],
        y_test=labels[24:], classes=classes,
    )  # fmt: skip
    folder = finished(runs, f"npz:{runs / 'images.npz'}", [("tiny-image", TINY)], "k")
    write_report(folder, folder.plan())
    picture(runs)


def picture(runs: Path) -> Path:
    path = runs / "picture.png"
    if not path.exists():
        Image.fromarray(np.full((8, 8), 99, np.uint8)).save(path)
    return path


def export(name: str, *more: object) -> Callable[[Path], None]:
    def act(runs: Path) -> None:
        for left in runs.glob(".out.*"):
            assert typed("predict", left, picture(runs)).returncode == 2, f"{left.name} is used"
        if (runs / "out").exists():  # then it must be whole
            return
        typed_well("export", name, "--out", runs / "out", *more)(runs)

    return act


def exported(name: str) -> Callable[[Path], Iterator[str]]:
    def check(runs: Path) -> Iterator[str]:
        folder, done = RunDirectory(runs / name), typed("predict", runs / "out", picture(runs))
        if done.returncode:
            yield f"the bundle cannot be used: {done.stderr}"
        said = typed("evaluate", runs / "out", "--dataset", folder.data().spec, "--json")
        if said.returncode:
            yield f"the bundle cannot be scored: {said.stderr}"
        if not looks(folder):
            yield "the look at the test images was not counted"
        if [path.name for path in runs.glob("out/.*")]:
            yield "something hidden lies in the bundle"
        yield from left_behind(folder)

    return check


def networks(runs: Path) -> None:
    golden_runs(runs, "networks")
    picture(runs)


ACTIONS = {
    "run": Action(nothing, run, search_is_whole),
    "resume": Action(half, resume, search_is_whole),
    "rebuild": Action(whole, rebuild, search_is_whole),
    "extend": Action(whole, extend, search_is_whole),
    "run-db": Action(nothing, lambda runs: run(runs, True), search_is_whole),
    "resume-db": Action(lambda runs: half(runs, True), resume, search_is_whole),
    "rebuild-db": Action(lambda runs: whole(runs, True), rebuild, search_is_whole),
    "extend-db": Action(lambda runs: whole(runs, True), extend, search_is_whole),
    "report": Action(whole, typed_well("report", "k"), reported_whole),
    "sync": Action(with_mlflow, typed_well("sync", "k"), synced_once),
    "sync-lost": Action(without_outbox, typed_well("sync", "k"), synced_once),
    "sync-new": Action(whole, typed_well("sync", "k"), synced_once),
    "export": Action(exportable, export("k"), exported("k")),
    "export-network": Action(networks, export("networks"), exported("networks"), "networks"),
    "export-onnx": Action(
        networks, export("networks", "--onnx", "--no-test"), exported("networks"), "networks"
    ),
}
