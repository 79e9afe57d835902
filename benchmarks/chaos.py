"""Kills a search again and again, at random moments, and checks after every resume that nothing is
lost.

    python benchmarks/chaos.py --kills 20 [--seed 0] [--runs-dir DIR]

A kill is SIGKILL to a trial's worker, to the driver, to Ray's head, or to all of them at once.
After a worker's death the search goes on by itself; after any other it is resumed.
"""

from __future__ import annotations

import argparse
import contextlib
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

import psutil

from analysis.run.directory import RunDirectory
from search.study.storage import read_trials

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("worker", "driver", "head", "all")
SETTINGS = (
    "--space",
    "toy",
    "--pruner",
    "median",
    "--set",
    "pause=0.05",
    "--set",
    "steps=6",
    "--name",
    "chaos",
)
LOST = 300.0
"""Seconds within which a driver must end after its Ray head died."""
PATIENCE = 600.0
"""Seconds within which some trial must report; most of them are Ray's start, and the machine may be
busy.
"""


def run(kinds: list[str], trials: int, runs: Path, seed: int) -> dict[str, Any]:
    """A search of ``trials`` toy trials under these kills, to its end; what was killed, and what
    was found.

    Raises:
        AssertionError: naming what was lost, doubled or left running.
    """
    generator = random.Random(seed)
    folder = RunDirectory(runs / "chaos")
    driver = _start(runs, "run", *SETTINGS, "--trials", str(trials), "--seed", str(seed))
    finished: dict[str, Any] = {}
    for kind in kinds:
        _until_steps(folder, driver, len(list(folder.path.glob("trials/*/*/steps.jsonl"))) + 1)
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
    assert driver.wait(600) == 0, (runs / "log").read_text()
    _check_kept(folder, finished)
    return {"kills": kinds, **_check_whole(folder, trials)}


def _start(runs: Path, *words: str) -> subprocess.Popen[bytes]:
    with open(runs / "log", "ab") as log:
        command = [sys.executable, "-m", "search", *words, "--runs-dir", str(runs)]
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=ROOT, start_new_session=True)


def _until_steps(folder: RunDirectory, driver: subprocess.Popen[bytes], trials: int) -> None:
    """Until another trial has reported, so that there is something to lose."""
    end = time.monotonic() + PATIENCE
    while len(list(folder.path.glob("trials/*/*/steps.jsonl"))) < trials and driver.poll() is None:
        assert time.monotonic() < end, f"no trial has reported for {PATIENCE:.0f} s"
        time.sleep(0.02)


def _kill(kind: str, driver: subprocess.Popen[bytes], generator: random.Random) -> None:
    processes = psutil.Process(driver.pid).children(recursive=True)
    named = [(process, _name(process)) for process in processes]
    victims: list[psutil.Process] = []
    if kind == "worker":
        workers = [process for process, name in named if "SearchTrial" in name]
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


def _check_whole(folder: RunDirectory, trials: int) -> dict[str, Any]:
    """Study, records, status and MLflow tell one story, and it is the plan's."""
    found = read_trials(folder)["toy"]
    states = [trial.state.name for trial in found]
    assert not {"RUNNING", "WAITING"} & set(states), states
    counted = states.count("COMPLETE") + states.count("PRUNED")
    assert counted == trials, f"{counted} trials count, the plan has {trials}"
    assert [record.state for record in folder.records()] == states
    for trial in found:
        reports = [(row["step"], row["report"]) for row in folder.steps("toy", trial.number)]
        assert dict(reports) == trial.intermediate_values, (
            f"trial {trial.number}: steps and study differ"
        )
        assert len(dict(reports)) == len(reports), f"trial {trial.number}: a step was written twice"
    counts = {
        state: states.count(state) for state in ("COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING")
    }
    assert folder.state().trials == counts
    points = _tracked(folder)
    assert sorted(points) == [
        f"toy/{trial.number}" for trial in sorted(found, key=lambda trial: f"toy/{trial.number}")
    ]
    for trial in found:
        if trial.state.name != "FAIL":
            ours = [row["val_accuracy"] for row in folder.steps("toy", trial.number)]
            assert points[f"toy/{trial.number}"] == ours, (
                f"trial {trial.number}: MLflow has other points"
            )
    return {
        "states": {state: states.count(state) for state in sorted(set(states))},
        "sessions": folder.state().session,
    }


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
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs-dir", type=Path)
    asked = parser.parse_args()
    generator = random.Random(asked.seed)
    kinds = [*KINDS, *(generator.choice(KINDS) for _ in range(asked.kills))][: asked.kills]
    generator.shuffle(kinds)
    started = time.monotonic()
    # kept: what failed is to be looked at
    runs = asked.runs_dir or Path(tempfile.mkdtemp(prefix="visiontune-chaos-"))
    found = run(kinds, 10 * asked.kills, runs, asked.seed)
    print(json.dumps({**found, "seconds": round(time.monotonic() - started)}))


if __name__ == "__main__":
    main()
