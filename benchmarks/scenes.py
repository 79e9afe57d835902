"""The 15 scenes, as a user would search them: time, memory, and what the exported best scores.

    python benchmarks/scenes.py --scenes DIR [--trials 60] [--kill]

Runs ``visiontune run --space bag-of-sift``, then export, each as a process of its own. With
``--kill`` the driver and every Ray process get SIGKILL halfway and the search is resumed; the
trials finished before are compared with what they are in the end. Memory is the sum of the
proportional set sizes (PSS) of all its processes, which counts the shared object store once.
Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

VISIONTUNE = [sys.executable, "-m", "search"]


def processor() -> str:
    """Its name, as Linux has it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")),
        platform.machine(),
    )


def tree(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def pss(processes: list[psutil.Process]) -> int:
    """Bytes, of those still alive."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total


def watch(arguments: list[str], run: Path, kill_at: int | None) -> tuple[float, int]:
    """(seconds, peak PSS in bytes) of one visiontune process; SIGKILL to all of it at ``kill_at``
    finished trials.
    """
    started, peak = time.monotonic(), 0
    with subprocess.Popen([*VISIONTUNE, *arguments]) as driver:
        while driver.poll() is None:
            processes = tree(psutil.Process(driver.pid))
            peak = max(peak, pss(processes))
            if kill_at is not None and len(list(run.glob("trials/*/*/result.json"))) >= kill_at:
                for process in processes:
                    process.kill()
            time.sleep(1)
    return time.monotonic() - started, peak


def ends(runs: Path, name: str) -> dict[str, Any]:
    """Value of every finished trial by name."""
    paths = (runs / name / "trials").glob("*/*/result.json")
    found = (json.loads(path.read_text()) for path in paths)
    return {
        f"{record['space']}/{record['number']}": record["metrics"].get("val_accuracy")
        for record in found
    }


def tracked(runs: Path) -> dict[str, int]:
    """How often MLflow has each trial."""
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("visiontune")
    found = client.search_runs([experiment.experiment_id], max_results=10_000)
    return Counter(run.info.run_name for run in found if "mlflow.parentRunId" in run.data.tags)


def command(*arguments: str) -> Any:
    return json.loads(
        subprocess.run(
            [*VISIONTUNE, *arguments, "--json"], check=True, capture_output=True, text=True
        ).stdout
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--scenes", required=True, type=Path)
    parser.add_argument("--trials", default=60, type=int)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--kill", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="visiontune-scenes-") as folder:
        runs = Path(folder) / "runs"
        place = ["--runs-dir", str(runs)]
        plan = [
            "--space",
            "bag-of-sift",
            "--dataset",
            f"folder:{options.scenes.absolute()}",
            "--trials",
            str(options.trials),
        ]
        half = options.trials // 2 if options.kill else None
        seconds, peak = watch(
            ["run", *plan, "--seed", str(options.seed), "--name", "scenes", *place],
            runs / "scenes",
            half,
        )
        before = ends(runs, "scenes")
        if options.kill:
            more, other = watch(["resume", "scenes", *place], runs / "scenes", None)
            seconds, peak = seconds + more, max(peak, other)
        after, held = ends(runs, "scenes"), tracked(runs)
        exported = command("export", "scenes", "--out", str(Path(folder) / "bundle"), *place)
        print(
            json.dumps(
                {
                    "machine": f"{len(os.sched_getaffinity(0))} cores, {processor()}",
                    "seconds": round(seconds, 1),
                    "peak_pss_gb": round(peak / 2**30, 2),
                    "status": command("status", "scenes", *place)["trials"],
                    "finished_before_kill": len(before) if options.kill else None,
                    "unchanged": all(after[key] == value for key, value in before.items()),
                    "mlflow_trials": len(held),
                    "mlflow_each_once": set(held) == set(after) and set(held.values()) == {1},
                    "val_accuracy": exported["val_accuracy"],
                    "test_accuracy": exported["test_accuracy"],
                }
            )
        )


if __name__ == "__main__":
    main()
