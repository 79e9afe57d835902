"""A search's trials sent to a local MLflow server, by our outbox and by Ray's own callback.

    python benchmarks/tracking.py [--trials 1000] [--epochs 50] [--metrics 6] [--sample 10]
    [--threads 4] [--folder DIR]

Both fill the same ``mlflow server`` (one worker, sqlite). Ours sends every trial, and what arrived
is counted: each trial once, each point once. Ray's ``MLflowLoggerCallback`` is timed on
``--sample`` trials, called as Tune calls it, and its time is scaled up to all of them, in
proportion. Prints one JSON object; ``server_share`` and ``our_share`` are processor seconds over
wall seconds while ours sends: whichever is near 1 is what limits.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support" / "searches"))

from program import free_port

from analysis.plan.addresses import Tracking
from analysis.run.directory import RunDirectory
from analysis.run.records import DriverState, TrialRecord
from search.ledger.outbox import Outbox, trial_fact
from search.tracking import sender as tracking
from search.tracking.ui import QUIET

NAMES = (
    "val_accuracy",
    "val_loss",
    "train_accuracy",
    "train_loss",
    "balanced_accuracy",
    "macro_f1",
)


@contextmanager
def server(
    folder: Path, port: int | None = None, options: Sequence[str] = ()
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """An MLflow server on loopback, on sqlite in ``folder``, with these options besides; (its URI,
    its process).
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    places = [
        "--backend-store-uri",
        f"sqlite:///{folder / 'server.db'}",
        "--artifacts-destination",
        str(folder / "artifacts"),
    ]
    command = [
        sys.executable,
        "-m",
        "mlflow",
        "server",
        *places,
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
        "--workers",
        "1",
        *options,
    ]
    with open(folder / "server.log", "ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, **QUIET}, start_new_session=True
        )
    try:
        wait_until_up(port, process, folder / "server.log")
        yield f"http://127.0.0.1:{port}", process
    finally:
        kill_tree(process)


def wait_until_up(
    port: int, process: subprocess.Popen[bytes], log: Path, patience: float = 300
) -> None:
    end = time.monotonic() + patience
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end, f"the server did not answer within {patience:.0f} s"
        time.sleep(0.1)


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to a process and everything below it, by id."""
    if process.poll() is None:
        for victim in (
            *psutil.Process(process.pid).children(recursive=True),
            psutil.Process(process.pid),
        ):
            victim.kill()
    process.wait(30)


def search_of(folder: Path, trials: int, epochs: int, metrics: int) -> RunDirectory:
    """A run directory whose outbox holds a finished search."""
    generator = random.Random(0)
    run = RunDirectory(folder / "runs" / "made")
    run.path.mkdir(parents=True)
    run.plan_file.write_text("spaces: [toy]\n")
    run.write_state(DriverState(id="benchmark", state="finished"))
    facts: list[dict[str, Any]] = [
        {"kind": "run", "time": 1e9, "note": "made up", "params": {"trials": trials}, "tags": {}}
    ]
    for number in range(trials):
        began = 1e9 + number
        rows = [
            {
                "step": step,
                "time": began + step / 10,
                **{name: generator.random() for name in NAMES[:metrics]},
                "seconds": 0.1,
            }
            for step in range(epochs)
        ]
        last = {name: rows[-1][name] for name in NAMES[:metrics]}
        config: dict[str, Any] = {
            "lr": generator.random(),
            "width": generator.random(),
            "steps": epochs,
            "kind": "made",
            "seed": number,
        }
        record = TrialRecord(
            space="toy",
            number=number,
            state="COMPLETE",
            config=config,
            metrics=last,
            started=began,
            seconds=epochs / 10,
            steps=epochs,
        )
        run.write_record(record, f"trial {number}\n", None, None)
        facts.append(trial_fact(record, rows))
    outbox = Outbox(run.outbox)
    (run.outbox / "facts.jsonl").write_text("".join(json.dumps(fact) + "\n" for fact in facts))
    assert outbox.waiting() == trials + 1
    return run


def send_ours(run: RunDirectory, uri: str, process: subprocess.Popen[bytes]) -> dict[str, float]:
    """Send the outbox, as ``visiontune sync`` does."""
    sender = tracking.Sender(run, Tracking(uri=uri))
    sender.runs()  # imports MLflow, which a search does beside its first trials
    before, own, began = _cpu(process), time.process_time(), time.monotonic()
    sender.send()
    wall = time.monotonic() - began
    return {
        "wall": wall,
        "our_share": (time.process_time() - own) / wall,
        "server_share": (_cpu(process) - before) / wall,
    }


def _cpu(process: subprocess.Popen[bytes]) -> float:
    every = (psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True))
    return sum(sum(one.cpu_times()[:2]) for one in every)


def send_rays(run: RunDirectory, uri: str, sample: int) -> float:
    """Seconds that Ray's callback takes for the first ``sample`` trials, told as Tune tells it."""
    from ray.air.integrations.mlflow import MLflowLoggerCallback

    class Trial:
        """What the callback reads of a Tune trial."""

        def __init__(self, name: str, config: dict[str, Any]) -> None:
            self.name, self.config = name, config

        def __str__(self) -> str:
            return self.name

    callback = MLflowLoggerCallback(tracking_uri=uri, experiment_name="rays")
    callback.setup()
    trials = [fact for fact, _ in Outbox(run.outbox).read() if fact["kind"] == "trial"][:sample]
    began = time.monotonic()
    for fact in trials:
        trial = Trial(f"toy_{fact['number']}", fact["config"])
        callback.log_trial_start(trial)
        for row in fact["history"]:
            result = {name: row[name] for name in fact["metrics"]}
            callback.log_trial_result(0, trial, {**result, "training_iteration": row["step"] + 1})
        callback.log_trial_end(trial)
    return time.monotonic() - began


def arrived(database: Path, metrics: int) -> dict[str, int]:
    """What the server's database holds of ours: trials, and points of the metrics that have one an
    epoch.
    """
    names = NAMES[:metrics]
    marks = ", ".join("?" * len(names))
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as connection:
        children = "select run_uuid from tags where key = 'mlflow.parentRunId'"
        (runs,) = connection.execute(f"select count(*) from ({children})").fetchone()
        (named,) = connection.execute(
            "select count(distinct value) from tags where key = 'visiontune.name' and run_uuid "
            f"in ({children})"
        ).fetchone()
        (points,) = connection.execute(
            f"select count(*) from metrics where key in ({marks}) and run_uuid in ({children})",
            names,
        ).fetchone()
    return {"trials": runs, "different_trials": named, "points": points}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--metrics", type=int, default=6, choices=range(1, len(NAMES) + 1))
    parser.add_argument(
        "--sample", type=int, default=10, help="Trials that Ray's callback is timed on."
    )
    parser.add_argument(
        "--threads", type=int, default=tracking.THREADS, help="Trials that ours sends at a time."
    )
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # MLflow's own, about its own dependencies
    tracking.THREADS = asked.threads
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="visiontune-tracking-"))
    run = search_of(folder, asked.trials, asked.epochs, asked.metrics)
    with server(folder / "server") as (uri, process):
        ours = send_ours(run, uri, process)
        found = arrived(folder / "server" / "server.db", asked.metrics)
        wanted = {
            "trials": asked.trials,
            "different_trials": asked.trials,
            "points": asked.trials * asked.epochs * asked.metrics,
        }
        assert found == wanted, f"MLflow holds {found}, not {wanted}"
        sample = send_rays(run, uri, asked.sample)
    rays = sample / asked.sample * asked.trials
    print(
        json.dumps(
            {
                "trials": asked.trials,
                "points": wanted["points"],
                "threads": asked.threads,
                "ours_seconds": round(ours["wall"], 1),
                "our_share": round(ours["our_share"], 2),
                "server_share": round(ours["server_share"], 2),
                "rays_sample": asked.sample,
                "rays_sample_seconds": round(sample, 1),
                "rays_seconds_scaled": round(rays, 1),
                "times_faster": round(rays / ours["wall"], 1),
                "load_before": os.getloadavg()[0],
            }
        )
    )


if __name__ == "__main__":
    main()
