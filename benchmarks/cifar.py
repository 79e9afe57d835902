"""CIFAR-10 on a CPU, as a user would search it: search, refit, export, and the one look at the test
split.

    python benchmarks/cifar.py --cifar DIR --out DIR [--epochs 70]

Runs ``visiontune run plans/cifar10.yaml`` and ``visiontune export --refit``, each as a process of
its own, and prints one JSON object: minutes of both, trials by state, what was chosen, and
accuracies with the bundle's size.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from scenes import command, processor

ROOT = Path(__file__).parent.parent


def minutes(*arguments: str) -> float:
    """Of one visiontune process."""
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "search", *arguments], check=True, cwd=ROOT)
    return round((time.monotonic() - began) / 60, 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--cifar", required=True, type=Path, help="a folder with train/ and val/ or test/"
    )
    parser.add_argument("--out", required=True, type=Path, help="where run and bundle go")
    parser.add_argument("--epochs", default=70, type=int, help="of the refit")
    options = parser.parse_args()
    out = options.out.absolute()
    place = ["--runs-dir", str(out / "runs")]
    searched = minutes(
        "run",
        "plans/cifar10.yaml",
        "--dataset",
        f"folder:{options.cifar.absolute()}",
        "--name",
        "cifar",
        *place,
    )
    bundle = out / "bundle"
    refitted = minutes(
        "export",
        "cifar",
        "--refit",
        "--refit-epochs",
        str(options.epochs),
        "--out",
        str(bundle),
        *place,
    )
    facts: dict[str, Any] = json.loads((bundle / "bundle.json").read_text())
    best = command("best", "cifar", "--top", "1", *place)
    print(
        json.dumps(
            {
                "machine": f"{len(os.sched_getaffinity(0))} cores, {processor()}",
                "minutes": {
                    "search": searched,
                    "refit and export": refitted,
                    "all": round(searched + refitted, 1),
                },
                "trials": command("status", "cifar", *place)["trials"],
                "chosen": facts["config"],
                "val_accuracy": best[0]["val_accuracy"],
                "test": facts["test"],
                "model_mib": round((bundle / "model.safetensors").stat().st_size / 2**20, 2),
            }
        )
    )


if __name__ == "__main__":
    main()
