"""A search on many nodes, proved on one machine: nodes come, go and are killed, and so is the
driver.

    python benchmarks/cluster/namespaces.py [--trials 10] [--quick | --images]

A head and three workers in network namespaces, each with an address of its own and a declared GPU,
and an S3 server (moto) on the bridge as all that they share. A first search of sleeping trials on
half a GPU each spreads over all workers. Two small ones use a plug-in that lies on the head alone,
once as a job that was submitted. A last one trains networks: one worker is killed and
another joins, then the driver is killed and the search resumed; it is reported and its best
exported from the head. Prints a line for each thing seen, and ends with status 1 if one does not
hold. ``--quick`` does the first search alone, of a few trials on two workers. ``--images`` searches
images alone, which a table on S3 names and which are packed: which files and shards each node then
has is printed. Needs root; where namespaces cannot be made it says why and ends with status 77.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import psutil
from network_nodes import PORT, ROOT, SUPPORT, Node, Nodes, bridge, missing, nodes

sys.path.extend(SUPPORT)
from planted import photograph
from s3_server import BUCKET, s3_server

RUNS = f"s3://{BUCKET}/runs"
JOBS = "http://127.0.0.1:8265"
SKIPPED = 77
SMALL = (
    "model=fastnet", "width=0.125", "flip=0.0", "test_flip=false", "cutout=0", "jitter=0.0",
    "mixup=0.0", "cutmix=0.0", "batch_size=128",
)  # fmt: skip
MANY = 2400
"""Images that are packed: five shards of train, one of test."""
PATIENCE = 900.0
"""Seconds for each of the searches: the machine may be busy."""


def visiontune(*words: str) -> list[str]:
    return [sys.executable, "-m", "search", *words, "--runs-dir", RUNS]


def driver(head: Node, log: Path, *words: str) -> subprocess.Popen[bytes]:
    """A search's driver in the head's namespace."""
    return head.run(*visiontune(*words, "--address", f"{head.address}:{PORT}"), log=log)


def finish(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.wait(PATIENCE):
        raise RuntimeError(f"the driver ended with {process.returncode}: {log.read_text()[-3000:]}")


def records(environment: dict[str, str], run: str) -> list[dict[str, Any]]:
    """Every trial's record as it lies on S3."""
    return [
        json.loads(content)
        for name, content in _objects(environment, f"{run}/trials/").items()
        if name.endswith("/result.json")
    ]


def _objects(environment: dict[str, str], prefix: str) -> dict[str, bytes]:
    from pyarrow import fs

    s3 = _s3(environment)
    chosen = fs.FileSelector(f"{BUCKET}/runs/{prefix}", recursive=True, allow_not_found=True)
    files = [info.path for info in s3.get_file_info(chosen) if info.type == fs.FileType.File]
    return {
        path: s3.open_input_stream(path).read() if path.endswith("result.json") else b""
        for path in files
    }


def _s3(environment: dict[str, str]) -> Any:
    from pyarrow import fs

    return fs.S3FileSystem(
        endpoint_override=environment["AWS_ENDPOINT_URL"].partition("//")[2], scheme="http",
        access_key=environment["AWS_ACCESS_KEY_ID"],
        secret_key=environment["AWS_SECRET_ACCESS_KEY"], region="us-east-1",
    )  # fmt: skip


def wait_for(
    environment: dict[str, str], run: str, count: int, process: subprocess.Popen[bytes], log: Path
) -> None:
    """Until ``count`` trials have a record on S3."""
    end = time.monotonic() + PATIENCE
    while len(records(environment, run)) < count:
        if process.poll() is not None or time.monotonic() > end:
            raise RuntimeError(f"fewer than {count} trials of {run}: {log.read_text()[-3000:]}")
        time.sleep(0.5)


def say(what: str, holds: bool) -> bool:
    print(f"{'ok ' if holds else 'NOT'} {what}", flush=True)
    return holds


def spread(there: Nodes, environment: dict[str, str], trials: int, steps: int, nodes: int) -> bool:
    """Sleeping trials on half a GPU each."""
    log = there.scratch / "spread.log"
    words = (
        "--space",
        "toy",
        "--set",
        "pause=0.5",
        "--set",
        f"steps={steps}",
        "--gpus-per-trial",
        "0.5",
        "--trials",
        str(trials),
    )
    finish(driver(there.head, log, "run", *words, "--no-tracking", "--name", "spread"), log)
    found = records(environment, "spread")
    used = Counter(record["node"].split()[1] for record in found)
    whole = [(record["state"], record["steps"]) for record in found] == [
        ("COMPLETE", steps)
    ] * trials
    status = json.loads(there.head.output(*visiontune("status", "spread", "--json")))
    return all(
        [
            say(
                f"{trials} trials on half a GPU each, by node: {dict(sorted(used.items()))}",
                whole and len(used) == nodes,
            ),
            say(
                f"the head reads from S3: {status['state']}, trials {status['trials']}",
                status["trials"]["COMPLETE"] == trials,
            ),
            say(
                "report.html on S3",
                any(
                    name.endswith("report/report.html") for name in _objects(environment, "spread/")
                ),
            ),
        ]
    )


def plugged(there: Nodes, environment: dict[str, str]) -> bool:
    """A search with the plug-in that the guide prints, which lies on the head alone: its driver
    there, and sent as a job.
    """
    guide = (ROOT / "docs" / "guide" / "plugins.md").read_text(encoding="utf-8")
    mine = there.scratch / "mine.py"
    mine.write_text(guide.split("```python\n")[1].split("```")[0])
    words = (
        "--plugin", str(mine), "--space", "tiny-image", "--set", "metric=canberra",
        "--dataset", "stripes:60", "--objective", "worst_recall", "--trials", "4", "--no-tracking",
    )  # fmt: skip
    good = []
    for name in ("--address", "--submit"):
        log, run = there.scratch / f"plugged{name}.log", f"plugged{name}"
        if name == "--address":
            finish(driver(there.head, log, "run", *words, "--name", run), log)
        else:
            job = (*words, "--name", run, "--submit", "--address", JOBS)
            finish(there.head.run(*visiontune("run", *job), log=log), log)
        found = records(environment, run)
        used = Counter(record["node"].split()[1] for record in found)
        whole = [record["state"] for record in found] == ["COMPLETE"] * 4
        good.append(
            say(
                f"4 trials with a plug-in by {name}, by node: {dict(sorted(used.items()))}",
                whole and all("worst_recall" in record["metrics"] for record in found),
            )
        )
    return all(good)


def incidents(there: Nodes, environment: dict[str, str], trials: int, first: Node) -> bool:
    """Networks, while a worker is killed, one joins, and the driver is killed."""
    log = there.scratch / "nets.log"
    fixed = [word for setting in SMALL for word in ("--set", setting)]
    words = (
        "--space",
        "cnn",
        "--dataset",
        "digits",
        *fixed,
        "--epochs",
        "8",
        "--trials",
        str(trials),
        "--gpus-per-trial",
        "0",
    )
    process = driver(there.head, log, "run", *words, "--name", "nets")
    wait_for(environment, "nets", 2, process, log)
    first.kill()
    there.add(14)
    wait_for(environment, "nets", trials // 2, process, log)
    before = {record["number"]: record["metrics"] for record in records(environment, "nets")}
    (python,) = (
        child for child in psutil.Process(process.pid).children() or [psutil.Process(process.pid)]
    )
    os.kill(python.pid, signal.SIGKILL)
    process.wait(60)
    say(f"the driver was killed with {len(before)} of {trials} trials finished", True)
    log = there.scratch / "resumed.log"
    finish(driver(there.head, log, "resume", "nets"), log)
    found = records(environment, "nets")
    used = Counter(record["node"].split()[1] for record in found)
    whole = sorted(record["number"] for record in found) == list(range(trials)) and {
        record["state"] for record in found
    } == {"COMPLETE"}
    return all(
        [
            say(
                f"{len(found)} trials, each once and COMPLETE, by node: "
                f"{dict(sorted(used.items()))}",
                whole,
            ),
            say(
                "those finished before are as they were",
                all(r["metrics"] == before.get(r["number"], r["metrics"]) for r in found),
            ),
            say("the node that joined ran some", any(address.endswith(".14") for address in used)),
            say("every trial has all its epochs", all(record["steps"] == 8 for record in found)),
        ]
    )


def pictures(there: Nodes, environment: dict[str, str]) -> bool:
    """A search of packed images on S3: no node has the tree, and each makes what it needs."""
    folder = there.scratch / "pictures"
    rows = ["path,label,split"]
    for number in range(MANY):
        label, split = "ab"[number % 2], "test" if number % 6 == 5 else "train"
        path = folder / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        photograph(number, 40, 30).save(path)
        rows.append(f"{path.name},{label},{split}")
    (folder / "t.csv").write_text("\n".join(rows))
    s3 = _s3(environment)
    for path in folder.iterdir():
        with s3.open_output_stream(f"{BUCKET}/pictures/{path.name}") as file:
            file.write(path.read_bytes())
    log = there.scratch / "pictures.log"
    words = ("--space", "tiny-image", "--trials", "6", "--no-tracking", "--audit", "off")
    spec = f"csv:s3://{BUCKET}/pictures/t.csv"
    finish(driver(there.head, log, "run", *words, "--dataset", spec, "--name", "pictures"), log)
    found = records(environment, "pictures")
    good = [
        say(f"{len(found)} trials of packed images", all(r["state"] == "COMPLETE" for r in found))
    ]
    for data in sorted(there.scratch.glob("*-data")):
        files = sum(path.stat().st_size > 0 for path in data.rglob("*.jpg"))
        shards = len(list((data / "shards").glob("*.safetensors")))
        good.append(
            say(f"{data.name}: {files} of {MANY} files, {shards} shards", files <= MANY / 4)
        )
    return all(good)


def results(there: Nodes, environment: dict[str, str]) -> bool:
    """What is left on S3, and what the head makes of it."""
    head, bundle = there.head, there.scratch / "bundle"
    names = list(_objects(environment, "nets/"))
    checkpoints, weights = (sum(part in name for name in names) for part in ("/tune/", "/weights/"))
    status = json.loads(head.output(*visiontune("status", "nets", "--json")))
    exported = json.loads(
        head.output(*visiontune("export", "nets", "--out", str(bundle), "--json"))
    )
    scored = json.loads(
        head.output(
            sys.executable, "-m", "search", "evaluate", str(bundle), "--dataset", "digits", "--json"
        )
    )
    return all(
        [
            say(
                f"on S3: {checkpoints} files of checkpoints, {weights} of weights",
                checkpoints > 0 and weights > 0,
            ),
            say(
                f"status {status['state']}, trials {status['trials']}",
                status["state"] == "finished",
            ),
            say("report.html on S3", any(name.endswith("report/report.html") for name in names)),
            say(
                f"best {exported['trial']} exported, val_accuracy {exported['val_accuracy']:.4f}",
                exported["val_accuracy"] > 0.2,
            ),
            say(f"the bundle evaluates: {json.dumps(scored)[:160]}", True),
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", default=10, type=int)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--images", action="store_true")
    options = parser.parse_args()
    if reason := missing():
        print(f"skipped: {reason}")
        return SKIPPED
    few = options.quick or options.images
    jobs = not few
    with (
        bridge() as address,
        s3_server(address) as environment,
        nodes(
            environment | ({"VISIONTUNE_PACKED_GIB": "0"} if options.images else {}),
            job_server=jobs,
        ) as there,
    ):
        with ThreadPool(3) as pool:
            workers = pool.map(there.add, (11, 12) if few else (11, 12, 13))
        say(
            f"head {there.head.address} without CPUs, workers "
            f"{', '.join(node.address for node in workers)}, S3 on {address}",
            True,
        )
        if options.images:
            good = [pictures(there, environment)]
        elif options.quick:
            good = [spread(there, environment, 8, 4, 2)]
        else:
            good = [
                spread(there, environment, 18, 10, 3),
                plugged(there, environment),
                incidents(there, environment, options.trials, workers[0]),
            ]
            good.append(results(there, environment))
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
