"""Kills a search again and again, at random moments, and checks after every resume that nothing is
lost.

    python benchmarks/chaos.py --kills 20 [--case NAME] [--seed 0] [--runs-dir DIR]

A kill is SIGKILL to a worker, to the driver, to Ray's head, or to all of them at once. After a
worker's death the search goes on by itself; after any other it is resumed. Cases: toy trials under
one pruner or another; a ``population`` of them; bags of SIFT of 300 digits that share ``stages``;
and ``together`` two spaces of toys and these bags in one budget with moving shares, warm-started,
each time changed from another terminal before it is killed.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from optuna.trial import FrozenTrial

from analysis.run.directory import RunDirectory
from search.study.storage import read_trials
from spaces import get_space

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("worker", "driver", "head", "all")
TOY = ("--set", "pause=0.05", "--set", "steps=6")
BAGS = ("--set", "step=6,8", "--set", "vocabulary_size=100,200")
MEMBERS = 5
CASES: dict[str, tuple[str, ...]] = {
    "toy": ("--space", "toy", "--pruner", "median", *TOY),
    "asha": ("--space", "toy", "--pruner", "asha", *TOY),
    "hyperband": ("--space", "toy", "--pruner", "hyperband", *TOY),
    "median-stopping": ("--space", "toy", "--pruner", "median-stopping", *TOY),
    "population": ("--space", "toy", "--population", f"pbt,members={MEMBERS},interval=2"),
    "stages": ("--space", "bag-of-sift", *BAGS),
    "together": (
        "--space", "toy,toy-folds,bag-of-sift", "--shares", "moving", "--warm-start", "earlier",
        *TOY, *BAGS,
    ),
}  # fmt: skip
CHANGES = (
    ("--set", "width=1..48"), ("--concurrency", "1"), ("--set", "width=8..48"),
    ("--limit", "trial_seconds=900"), ("--set", "k=1..20"), ("--concurrency", "3"),
    ("--limit", "trial_seconds=none"), ("--set", "width=8..32"), ("--set", "k=1..10"),
)  # fmt: skip
"""What another terminal asks for, one after the other."""
AFTER = (
    ("--concurrency", "1"), ("--limit", "trial_seconds=900"),
    ("--concurrency", "3"), ("--limit", "trial_seconds=none"),
)  # fmt: skip
"""And after that, again and again: what was narrowed does not become wider."""
LOST = 300.0
"""Seconds within which a driver must end after its Ray head died."""
PATIENCE = 1800.0
"""Seconds within which some trial must report; most of them are Ray's start, and the machine may be
busy.
"""
TAKEN_UP = 30.0
"""Seconds within which a driver that was told of a change draws no more as before."""


def run(kinds: list[str], trials: int, runs: Path, seed: int, case: str = "toy") -> dict[str, Any]:
    """A search of ``trials`` trials under these kills, to its end; what was killed, and what was
    found.

    Raises:
        AssertionError: naming what was lost, doubled or left running.
    """
    generator = random.Random(seed)
    folder = RunDirectory(runs / "chaos")
    driver = _start(runs, "run", *_words(case, trials, runs), "--seed", str(seed))
    finished: dict[str, Any] = {}
    changed = 0
    changes = itertools.chain(CHANGES, itertools.cycle(AFTER))
    for kind in kinds:
        _until_reported(folder, driver)
        if case == "together":
            # asked at once: whether the driver has taken it up when it dies is chance
            words = ("change", "chaos", *next(changes))
            assert _start(runs, *words).wait(PATIENCE) == 0, (runs / "log").read_text()[-2000:]
            changed += 1
        time.sleep(generator.uniform(0, 1.0))
        if driver.poll() is not None:
            break  # it was done before its time to die came
        _kill(kind, driver, generator)
        print(
            f"{time.strftime('%H:%M:%S')} killed: {kind}, with "
            f"{len(list(folder.path.glob('trials/*/*/result.json')))} trials done",
            file=sys.stderr,
        )
        if kind == "worker":
            continue
        driver.wait(LOST)
        finished = _check_kept(folder, finished)
        driver = _start(runs, "resume", "chaos")
    assert driver.wait(PATIENCE) == 0, (runs / "log").read_text()
    _check_kept(folder, finished)
    assert len(folder.plan().changes) == changed
    return {"kills": kinds, "case": case, "changes": changed, **_check_whole(folder)}


def _words(case: str, trials: int, runs: Path) -> tuple[str, ...]:
    """What is typed after ``run``; what that needs is there then."""
    words = (*CASES[case], "--name", "chaos")
    if "bag-of-sift" in words[1]:
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = np.uint8(digits.images[:300] * 15.9375).repeat(4, axis=1).repeat(4, axis=2)
        np.savez(runs / "digits.npz", x_train=images, y_train=digits.target[:300])
        words += ("--dataset", f"npz:{runs / 'digits.npz'}")
    if case == "together":
        toy = ("--space", "toy", "--trials", "12", "--name", "earlier", "--no-tracking")
        assert _start(runs, "run", *toy, *TOY).wait(PATIENCE) == 0, (runs / "log").read_text()
    if case == "population":
        steps = 2 * max(1, round(trials / MEMBERS))
        return (*words, "--set", f"steps={steps}", "--set", "pause=0.1")
    return (*words, "--trials", str(trials))


def _start(runs: Path, *words: str) -> subprocess.Popen[bytes]:
    with open(runs / "log", "ab") as log:
        command = [sys.executable, "-m", "search", *words, "--runs-dir", str(runs)]
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, start_new_session=True)


def _until_reported(folder: RunDirectory, driver: subprocess.Popen[bytes]) -> None:
    """Until another trial has reported, so that there is something to lose."""

    def reported() -> int:
        found = (folder.path.glob(f"trials/*/*/{name}") for name in ("steps.jsonl", "result.json"))
        return len({path.parent for paths in found for path in paths})

    end, before = time.monotonic() + PATIENCE, reported()
    while reported() <= before and driver.poll() is None:
        assert time.monotonic() < end, f"no trial has reported for {PATIENCE:.0f} s"
        time.sleep(0.02)


def _kill(kind: str, driver: subprocess.Popen[bytes], generator: random.Random) -> None:
    processes = psutil.Process(driver.pid).children(recursive=True)
    named = [(process, _name(process)) for process in processes]
    victims: list[psutil.Process] = []
    if kind == "worker":
        workers = [process for process, name in named if _works(name)]
        victims = [generator.choice(workers)] if workers else []
    elif kind == "head":
        victims = [process for process, name in named if "gcs_server" in name][:1]
    elif kind == "all":
        victims = processes
    if kind in ("driver", "all"):
        driver.send_signal(signal.SIGKILL)
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    # Ray's workers follow; its two agents take another minute, and touch nothing of ours
    if kind == "driver":
        psutil.wait_procs([process for process, name in named if "Agent" not in name], timeout=20)


def _works(name: str) -> bool:
    """Whether a process of that name runs a trial or makes a stage, as far as names tell."""
    return "ray::" in name and "IDLE" not in name and "Agent" not in name


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return f"{process.name()} {' '.join(process.cmdline()[:2])}"
    return ""


def _finished(folder: RunDirectory) -> dict[str, Any]:
    return {
        f"{space}/{t.number}": (t.values, t.state.name)
        for space, ts in read_trials(folder).items()
        for t in ts
        if t.state.is_finished()
    }


def _check_kept(folder: RunDirectory, before: dict[str, Any]) -> dict[str, Any]:
    now = _finished(folder)
    changed = [key for key, end in before.items() if now.get(key) != end]
    assert not changed, f"trials that were finished have changed or gone: {changed}"
    return now


def _check_whole(folder: RunDirectory) -> dict[str, Any]:
    """Study, records, status and MLflow tell one story, and it is the plan's."""
    plan, records, studies = folder.plan(), folder.records(), read_trials(folder)
    states = [trial.state.name for found in studies.values() for trial in found]
    assert not {"RUNNING", "WAITING"} & set(states), states
    counted = states.count("COMPLETE") + states.count("PRUNED")
    if plan.population:  # a member that failed is one of its generation
        counted += states.count("FAIL")
        assert len(states) == counted, states
    assert counted == plan.trials, f"{counted} trials count, the plan has {plan.trials}"
    counts = {
        state: states.count(state) for state in ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING")
    }
    assert folder.state().trials == counts
    points, left = _tracked(folder), {record.key: record for record in records}
    assert len(left) == len(records), "a record is there twice"
    for space, found in studies.items():
        for trial in found:
            key = f"{space}/{trial.number}"
            record, rows = left.pop(key), folder.steps(space, trial.number)
            assert record.state == trial.state.name, key
            reports = [(row["step"], row["report"]) for row in rows]
            assert dict(reports) == trial.intermediate_values, f"{key}: steps and study differ"
            assert len(dict(reports)) == len(reports), f"{key}: a step was written twice"
            sent = points.pop(key)
            if record.state != "FAIL":
                ours = [row["val_accuracy"] for row in rows] or [record.metrics["val_accuracy"]]
                assert sent == ours, f"{key}: MLflow has other points"
    assert not left, f"the studies know nothing of {sorted(left)}"
    assert not points, f"MLflow has {sorted(points)} besides"
    _check_narrowed(folder, studies)
    return {
        "states": {state: states.count(state) for state in sorted(set(states))},
        "spaces": {space: len(found) for space, found in studies.items()},
        "sessions": folder.state().session,
    }


def _check_narrowed(folder: RunDirectory, studies: dict[str, list[FrozenTrial]]) -> None:
    """Nothing is drawn outside of what was narrowed, once it has been taken up."""
    for change in folder.plan().changes:
        for setting, value in change.now.items():
            part, _, name = setting.partition(".")
            for space, found in studies.items() if part == "narrowed" else ():
                for trial in found:
                    assert trial.datetime_start is not None
                    later = trial.datetime_start.timestamp() > change.time + TAKEN_UP
                    if later and name in trial.params:
                        domain = get_space(space).within({name: value})[name].domain
                        assert trial.params[name] in domain, f"{space}/{trial.number}: {name}"


def _tracked(folder: RunDirectory) -> dict[str, list[float]]:
    """Every val_accuracy point that MLflow has, by trial."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import mlflow

        client = mlflow.MlflowClient(f"sqlite:///{folder.path.parent / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("visiontune")
        runs = client.search_runs([experiment.experiment_id], max_results=5000)
        children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
        history = {
            run.info.run_name: client.get_metric_history(run.info.run_id, "val_accuracy")
            for run in children
        }
    assert len(history) == len(children), "MLflow holds a trial twice"
    return {
        name: [p.value for p in sorted(points, key=lambda p: p.step)]
        for name, points in history.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--case", choices=CASES, default="toy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs-dir", type=Path)
    asked = parser.parse_args()
    generator = random.Random(asked.seed)
    kinds = [*KINDS, *(generator.choice(KINDS) for _ in range(asked.kills))][: asked.kills]
    generator.shuffle(kinds)
    started = time.monotonic()
    # kept: what failed is to be looked at
    runs = asked.runs_dir or Path(tempfile.mkdtemp(prefix="visiontune-chaos-"))
    runs.mkdir(parents=True, exist_ok=True)
    found = run(kinds, 10 * asked.kills, runs, asked.seed, asked.case)
    print(json.dumps({**found, "seconds": round(time.monotonic() - started)}))


if __name__ == "__main__":
    main()
