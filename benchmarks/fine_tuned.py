"""A pretrained network trained further, beside its frozen features with a head, on the same images.

    python -m benchmarks.fine_tuned [--dataset DIR] [--epochs 8] [--side 224] [--seed 0]
        [--only "WAY;…"]

DIR has ``train/CLASS/*.jpg`` and a test. A fifth of train is held out, by which all are judged:
features of efficientnet-lite0 at SIDE pixels with the best of 12 heads; and the network trained
from there in four ways, with and without a head that is fitted first (``linear_probe``) and batch
norm that stands still (``frozen_norms``), all else alike. Prints a line each: accuracy on the
held-out images, on the test, and seconds. Takes about half an hour on 2 cores.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FIXED = {
    "model": "pretrained", "batch_size": 32, "adamw_learning_rate": 1e-3,
    "body_rate": 0.3, "layer_decay": 0.9, "adamw_weight_decay": 0.05, "schedule": "one-cycle",
    "label_smoothing": 0.1, "flip": 0.5, "resized_crop": "true", "crop_area": 0.4,
    "trivial_augment": "false", "mixup": 0, "jitter": 0, "ema": 0, "first_side": 1,
    "test_flip": "true",
}  # fmt: skip
WAYS = {
    "frozen": None,
    "fitted head, frozen norms": (True, True, 0),
    "fitted head": (True, False, 0),
    "frozen norms": (False, True, 1),
    "neither": (False, False, 1),
}


def words(way: tuple[bool, bool, int] | None, epochs: int, side: int) -> list[str]:
    """Of ``visiontune run``."""
    if way is None:
        return ["--space", "embedding", "--trials", "12", "--set", f"side={side}"]
    probe, norms, head = way
    own = {"linear_probe": str(probe).lower(), "frozen_norms": str(norms).lower()}
    settings = FIXED | own | {"head_epochs": head, "side": side}
    return [
        "--space", "cnn", "--trials", "1", "--epochs", str(epochs), "--patience", "3",
        "--cpus-per-trial", "2",
        *(word for pair in settings.items() for word in ("--set", "=".join(map(str, pair)))),
    ]  # fmt: skip


def found(way: str, dataset: str, told: argparse.Namespace, runs: Path) -> dict[str, Any]:
    """Accuracies and seconds of one way."""
    name, search = way.replace(" ", "-").replace(",", ""), [sys.executable, "-m", "search"]
    began = time.monotonic()
    subprocess.run(
        [
            *search, "run", "--dataset", dataset, "--validation", "hold-out",
            "--seed", str(told.seed), "--name", name, "--runs-dir", runs, "--no-tracking",
            *words(WAYS[way], told.epochs, told.side),
        ],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    seconds = time.monotonic() - began
    exported = subprocess.run(
        [*search, "export", name, "--runs-dir", runs, "--out", runs / f"{name}-bundle", "--json"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    said = json.loads(exported.stdout)
    return {
        "way": way,
        "val_accuracy": round(said["val_accuracy"], 4),
        "test_accuracy": round(said["test_accuracy"], 4),
        "seconds": round(seconds),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="../shared/data/scenes15", type=Path)
    parser.add_argument("--epochs", default=8, type=int)
    parser.add_argument("--side", default=224, type=int)
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--only", default=";".join(WAYS), help="ways, parted by semicolons")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="visiontune-") as folder:
        for way in options.only.split(";"):
            dataset = f"folder:{options.dataset.absolute()}"
            line = found(way, dataset, options, Path(folder))
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
