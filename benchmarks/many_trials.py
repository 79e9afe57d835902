"""Many cheap kNN trials in one search: does the driver stay small, and does a trial's cost stay
flat?

    python benchmarks/many_trials.py [--trials 10000] [--sampler random] [--runs-dir DIR]

Tiny images of the digits that ship with scikit-learn; the stages are few, so what is measured is
the search itself. Prints one JSON object: seconds a trial for each tenth of the trials (from the
times at which their records were written), the ratio of the last to the first, and the driver's
resident memory at each tenth and at most.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

SETTINGS = (
    "size=8",
    "resampling=box",
    "metric=cityblock,euclidean,cosine",
    "mirrored=false",
    "centring=false",
    "k=1..30",
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--trials", default=10_000, type=int)
    parser.add_argument("--sampler", default="random")
    parser.add_argument("--runs-dir", type=Path)
    options = parser.parse_args()
    runs = options.runs_dir or Path(tempfile.mkdtemp(prefix="visiontune-many-"))
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    plan = [
        "--space",
        "tiny-image",
        "--dataset",
        "digits",
        "--trials",
        str(options.trials),
        "--sampler",
        options.sampler,
    ]
    name = f"many-{options.sampler}"
    folder = runs / name / "trials" / "tiny-image"
    arguments = [
        sys.executable,
        "-m",
        "search",
        "run",
        *plan,
        *settings,
        "--name",
        name,
        "--runs-dir",
        str(runs),
        "--no-tracking",
    ]
    memory: list[tuple[int, int]] = []
    began = time.monotonic()
    with subprocess.Popen(arguments) as driver:
        while driver.poll() is None:
            try:
                rss = psutil.Process(driver.pid).memory_info().rss
            except psutil.NoSuchProcess:
                break
            memory.append((len(os.listdir(folder)) if folder.is_dir() else 0, rss))
            time.sleep(1)
    wall = time.monotonic() - began
    written = sorted(path.stat().st_mtime for path in folder.glob("*/result.json"))
    tenth = max(1, len(written) // 10)
    ends = [written[min(i + tenth, len(written)) - 1] for i in range(0, tenth * 10, tenth)]
    costs = [
        (end - start) / tenth for start, end in zip([written[0], *ends[:-1]], ends, strict=True)
    ]
    sizes = [
        max((rss for done, rss in memory if i * tenth <= done <= (i + 1) * tenth), default=0)
        for i in range(10)
    ]
    print(
        json.dumps(
            {
                "sampler": options.sampler,
                "trials": len(written),
                "wall": round(wall, 1),
                "seconds_a_trial_by_tenth": [round(cost, 4) for cost in costs],
                "last_over_first": round(costs[-1] / costs[0], 2),
                "driver_mb_by_tenth": [round(size / 1e6) for size in sizes],
                "driver_mb_at_most": round(max(rss for _, rss in memory) / 1e6),
                "exit": driver.returncode,
            }
        )
    )


if __name__ == "__main__":
    main()
