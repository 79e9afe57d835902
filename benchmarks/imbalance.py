"""Whether weights of classes and balanced batches are worth searching over, on unbalanced images.

    python -m benchmarks.imbalance --cifar DIR [--seeds 3] [--trials 12] [--epochs 6]

DIR has CIFAR-10 as ``train/CLASS`` and ``val/CLASS``. Every other class keeps a tenth of its
training images; of the images of ``val`` half choose and half are the test. The same search of
small networks for ``balanced_accuracy`` is run with ``class_weight`` and ``sampling`` left as they
are, and with both searched. Prints a JSON object a search: balanced accuracy of its winner on the
images that chose it and on the test; and one with the mean gain and its spread over the seeds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

NETWORK = {"model": "fastnet", "width": 0.25, "batch_size": 64, "class_weight": "none"}
SEARCHED = {"class_weight": ["none", "balanced"], "sampling": ["shuffled", "balanced"]}


def cut(cifar: Path, out: Path) -> None:
    """The images that are kept, as a folder."""
    for number, folder in enumerate(sorted((cifar / "train").iterdir())):
        files = sorted(folder.iterdir())
        copied(files[: len(files) // 10] if number % 2 else files, out / "train" / folder.name)
    for folder in sorted((cifar / "val").iterdir()):
        files = sorted(folder.iterdir())
        copied(files[::2], out / "val" / folder.name)
        copied(files[1::2], out / "test" / folder.name)


def copied(files: list[Path], place: Path) -> None:
    place.mkdir(parents=True)
    for file in files:
        shutil.copy(file, place)


def searched(out: Path, name: str, plan: dict[str, Any]) -> dict[str, Any]:
    """What the winner of a search of ``plan`` has."""
    file = out / f"{name}.yaml"
    file.write_text(json.dumps({**plan, "name": name}))
    runs, bundle = out / "runs", out / name
    for command in (
        ["run", file, "--no-tracking", "--runs-dir", runs],
        ["export", name, "--runs-dir", runs, "--out", bundle],
    ):
        subprocess.run(
            [sys.executable, "-m", "search", *map(str, command)],
            check=True,
            stdout=sys.stderr,
        )
    facts = json.loads((bundle / "bundle.json").read_text())
    chosen = {key: facts["config"][key] for key in SEARCHED}
    found = {split: round(facts[split]["balanced_accuracy"], 4) for split in ("val", "test")}
    return {"name": name, **found, "accuracy": round(facts["test"]["accuracy"], 4), **chosen}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cifar", required=True, type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--epochs", type=int, default=6)
    given = parser.parse_args()
    gains = []
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        cut(given.cifar, out / "images")
        for seed in range(given.seeds):
            plan = {
                "spaces": ["cnn"],
                "dataset": f"folder:{out / 'images'}",
                "objective": "balanced_accuracy",
                "trials": given.trials,
                "seed": seed,
                "audit": "off",
                "training": {"epochs": given.epochs, "cpus_per_trial": 1},
            }
            without = searched(out, f"without-{seed}", {**plan, "set": NETWORK})
            both = searched(out, f"with-{seed}", {**plan, "set": {**NETWORK, **SEARCHED}})
            for row in (without, both):
                print(json.dumps(row), flush=True)
            gains.append(both["test"] - without["test"])
    spread = statistics.stdev(gains) if len(gains) > 1 else 0.0
    print(json.dumps({"gain": round(statistics.mean(gains), 4), "spread": round(spread, 4)}))


if __name__ == "__main__":
    main()
