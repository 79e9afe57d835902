"""What the report, the export and MLflow take where there are a thousand classes.

    python -m benchmarks.many_classes [--classes N] [--trials N]

Makes N classes of four small images each, searches them, and prints a line a command: seconds of
the processor's clock in user mode, and by the wall.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np


def made(folder: Path, classes: int) -> Path:
    """Three training images and one of the test a class: a pattern of its own, and noise."""
    generator = np.random.default_rng(0)
    patterns = generator.integers(0, 256, (classes, 1, 12, 12))
    noisy = np.clip(patterns + generator.normal(0, 60, (classes, 4, 12, 12)), 0, 255)
    images, labels = noisy.astype(np.uint8), np.arange(classes)
    names = [f"n{i:05d} a class with a name that is far too long for a picture" for i in labels]
    np.savez(
        folder / "many.npz",
        x_train=images[:, :3].reshape(-1, 12, 12),
        y_train=np.repeat(labels, 3),
        x_test=images[:, 3],
        y_test=labels,
        classes=np.array(names),
    )
    return folder / "many.npz"


def timed(*words: object) -> None:
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    arguments = [sys.executable, "-m", "search", *map(str, words)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    user = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    print(f"{words[0]:8} user {user:6.1f} s   wall {time.monotonic() - began:6.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--trials", type=int, default=6)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        spec, runs = f"npz:{made(folder, given.classes)}", ("--runs-dir", folder / "runs")
        budget = ("--trials", given.trials, "--name", "many")
        timed("run", "--space", "tiny-image", "--dataset", spec, *budget, *runs)
        timed("report", "many", *runs)
        timed("export", "many", "--out", folder / "bundle", *runs)
        (folder / "runs" / "mlflow.db").unlink()  # or it would have it all
        timed("sync", "many", *runs)


if __name__ == "__main__":
    main()
