"""How much faster more nodes are, with trials that sleep a fixed time instead of training.

    python benchmarks/cluster/scaling.py [--seconds 15] [--many 1000]

Nodes are in network namespaces (``network_nodes``), 2 slots each, and share an S3 server. 1, 2 and
4 nodes run 12 trials a slot; with ``--many N``, 32 declared slots on 4 nodes run N trials. The
clock runs from the first trial's start to the last one's end, so starting Ray and the search is not
in it. Ideal: trials × seconds / slots. Prints one JSON object: ideal over measured, and the
driver's largest resident memory. Needs root.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

import psutil
from namespaces import SKIPPED, driver, records
from network_nodes import SUPPORT, Nodes, bridge, missing, nodes

sys.path.extend(SUPPORT)
from s3_server import s3_server

A_SLOT = 12
"""Trials."""


def measured(
    there: Nodes, environment: dict[str, str], name: str, trials: int, slots: int, seconds: float
) -> dict[str, Any]:
    """One search of sleeping trials to its end."""
    log = there.scratch / f"{name}.log"
    sleep = ("--set", f"pause={seconds}", "--set", "steps=1", "--set", "fault=none")
    words = (
        "--space",
        "toy",
        *sleep,
        "--trials",
        str(trials),
        "--sampler",
        "random",
        "--concurrency",
        str(slots),
        "--no-tracking",
    )
    process, peak = driver(there.head, log, "run", *words, "--name", name), 0
    while process.poll() is None:
        tree = psutil.Process(process.pid)
        peak = max(peak, *(part.memory_info().rss for part in [tree, *tree.children()]))
        time.sleep(1)
    if process.returncode:
        raise RuntimeError(f"the driver ended with {process.returncode}: {log.read_text()[-3000:]}")
    found = records(environment, name)
    ideal = trials * seconds / slots
    began, ended = (
        min(record["started"] for record in found),
        max(record["started"] + record["seconds"] for record in found),
    )
    return {
        "trials": len(found),
        "slots": slots,
        "ideal_seconds": ideal,
        "seconds": round(ended - began, 1),
        "of_ideal": round(ideal / (ended - began), 3),
        "driver_mib": round(peak / 2**20),
        "nodes": len({record["node"] for record in found}),
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", default=15.0, type=float, help="that a trial sleeps")
    parser.add_argument("--many", default=0, type=int, help="trials on 32 slots; 0: leave that out")
    options = parser.parse_args()
    if reason := missing():
        print(f"skipped: {reason}")
        return SKIPPED
    results: dict[str, Any] = {
        "machine": f"{len(os.sched_getaffinity(0))} cores",
        "sleep_seconds": options.seconds,
    }
    for count in (1, 2, 4):
        with bridge() as address, s3_server(address) as environment, nodes(environment) as there:
            for number in range(count):
                there.add(11 + number, gpus=0)
            results[f"{count} nodes"] = measured(
                there, environment, "sleep", A_SLOT * 2 * count, 2 * count, options.seconds
            )
            print(json.dumps(results[f"{count} nodes"]), file=sys.stderr, flush=True)
    if options.many:
        with bridge() as address, s3_server(address) as environment, nodes(environment) as there:
            for number in range(4):
                there.add(11 + number, cpus=8, gpus=0)
            results["32 slots"] = measured(
                there, environment, "many", options.many, 32, options.seconds
            )
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
