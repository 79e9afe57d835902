"""Makes what lies beside this file: run directories and bundles as a released visiontune wrote
them, kept small.

    git archive def6cb8 | tar x -C OLD
    python tests/golden/make.py OLD

``OLD`` is the source of the release. What is left out is what a search makes again, or can do
without: Tune's own folder, reports, MLflow's database but that of the killed run, and the weights
of all networks but the best.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NETWORK = {
    "model": "fastnet", "width": 0.125, "fastnet_convolutions": 2, "dropout_place": "none",
    "flip": 0.0, "test_flip": "false",
    "cutout": 0, "jitter": 0.0, "mixup": 0.0, "cutmix": 0.0, "batch_size": 128, "rotation": 0.0,
    "crop": 0, "optimizer": "sgd",
    "momentum": 0.9, "weight_decay": 0.0005, "schedule": "one-cycle", "label_smoothing": 0.0,
    "ema": 0.0,
}  # fmt: skip


def main() -> None:
    old = Path(sys.argv[1]).resolve()
    with tempfile.TemporaryDirectory() as work:
        runs = Path(work) / "runs"

        def visiontune(*words: object) -> None:
            subprocess.run(
                [sys.executable, "-m", "search", *map(str, words), "--runs-dir", str(runs)],
                cwd=old,
                check=True,
            )

        def bundle(name: str) -> None:
            visiontune("export", name, "--out", Path(work) / f"bundle-{name}")

        knn = ("run", "--space", "tiny-image", "--dataset", "digits", "--seed", 3)
        quiet = ("--no-tracking",)
        visiontune(
            *knn,
            "--trials",
            6,
            "--name",
            "knn",
            "--set",
            "size=8",
            "--set",
            "mirrored=false",
            *quiet,
        )
        bundle("knn")
        visiontune(
            *knn,
            "--trials",
            4,
            "--name",
            "replicas",
            "--set",
            "size=8,16",
            "--replicate",
            2,
            *quiet,
        )
        network = [word for name, value in NETWORK.items() for word in ("--set", f"{name}={value}")]
        rates = (
            "--set",
            "learning_rate=0.2,0.3,1e-06,100",
            "--sampler",
            "grid",
            "--pruner",
            "threshold",
            "--pruner-option",
            "lower=0.25",
        )
        options = (
            "--pruner-option",
            "n_warmup_steps=2",
            "--epochs",
            5,
            "--trials",
            4,
            "--name",
            "networks",
        )
        visiontune(
            "run", "--space", "cnn", "--dataset", "digits", *network, *rates, *options, *quiet
        )
        bundle("networks")
        toy = (
            "run",
            "--space",
            "toy",
            "--pruner",
            "median",
            "--pruner-option",
            "n_startup_trials=2",
            "--set",
            "fault=none,error",
        )
        visiontune(*toy, "--trials", 10, "--name", "toy", *quiet)
        visiontune(
            *toy,
            "--trials",
            10,
            "--name",
            "database",
            "--storage",
            f"sqlite:///{runs / 'studies.db'}",
            *quiet,
        )
        killed(old, runs)
        keep(runs, Path(work))


def killed(old: Path, runs: Path) -> None:
    """A search killed in the middle, with all of Ray's processes; MLflow's database stays beside
    it.
    """
    words = (
        "run",
        "--space",
        "toy",
        "--set",
        "pause=0.3",
        "--set",
        "steps=3",
        "--trials",
        "12",
        "--concurrency",
        "2",
        "--name",
        "killed",
    )
    command = [sys.executable, "-m", "search", *words, "--runs-dir", str(runs)]
    with subprocess.Popen(command, cwd=old, start_new_session=True) as driver:
        while len(list(runs.glob("killed/trials/*/*/result.json"))) < 5:
            time.sleep(0.05)
        import psutil

        victims = psutil.Process(driver.pid).children(recursive=True)
        os.kill(driver.pid, signal.SIGKILL)
        for victim in victims:
            if victim.is_running():
                victim.kill()


def keep(runs: Path, work: Path) -> None:
    for name in ("runs", "bundles"):
        shutil.rmtree(HERE / name, ignore_errors=True)
    for run in sorted(path for path in runs.iterdir() if (path / "plan.yaml").is_file()):
        left_out = shutil.ignore_patterns("tune", "report", "lock", "plan.lock")
        shutil.copytree(run, HERE / "runs" / run.name, ignore=left_out)
        weights = sorted((HERE / "runs" / run.name).glob("trials/*/*/weights"))
        for folder in weights:
            if folder.parent.name != best(work):
                shutil.rmtree(folder)
    for name in ("studies.db", "mlflow.db"):
        shutil.copy(runs / name, HERE / "runs" / name)
    for name in ("knn", "networks"):
        shutil.copytree(
            work / f"bundle-{name}", HERE / "bundles" / name, ignore=shutil.ignore_patterns("*.png")
        )


def best(work: Path) -> str:
    """The folder of the network that was exported."""
    import json

    trial = json.loads((work / "bundle-networks" / "bundle.json").read_bytes())["trial"]
    return f"{int(trial.rpartition('/')[2]):05d}"


if __name__ == "__main__":
    main()
