"""Pictures of a search in MLflow's UI, from a real server and a real search.

    python docs/screenshots.py --out DIR [--trials 16] [--browser chromium]

Starts ``mlflow server`` on sqlite, searches tiny images of the digits beside the made-up learner
``toy``, exports the best and registers it, and takes a PNG of each page in headless Chromium.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import urllib.parse
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from analysis.plan.plan import read_plan
from analysis.run.directory import RunDirectory
from benchmarks.tracking import server
from search.tracking.mlflow_runs import VIEW
from search.tracking.sender import PARENT, Sender

SIZE = "1500,950"


def visiontune(*words: object) -> None:
    subprocess.run(
        [sys.executable, "-m", "search", *map(str, words)],
        cwd=Path(__file__).resolve().parent.parent,
        check=True,
    )


def pages(run: RunDirectory) -> dict[str, str]:
    """Name of each picture to the page of it, below the server's address."""
    runs = Sender(run, read_plan(run.plan_file).tracking).runs()
    parent = runs.get(PARENT)
    records = [record for record in run.records() if record.state == "COMPLETE"]
    toys = [record for record in records if record.space == "toy"]
    ids = [
        sent.id for record in records if record.space != "toy" and (sent := runs.get(record.key))
    ]
    best = json.loads((run.report / "leaderboard.json").read_text())[0]
    found, curve = (
        runs.get(best["trial"]),
        runs.get(max(toys, key=lambda record: record.metrics["val_accuracy"]).key),
    )
    assert parent is not None
    assert found is not None
    assert curve is not None
    experiment = f"/#/experiments/{runs.experiment}"
    compared = urllib.parse.urlencode(
        {"runs": json.dumps(ids), "experiments": json.dumps([runs.experiment])}
    )
    found_at = {
        "mlflow-runs": f"{experiment}/runs",
        "mlflow-parent": f"{experiment}/runs/{parent.id}",
        "mlflow-report": f"{experiment}/runs/{parent.id}/artifacts/report/best-so-far.png",
        "mlflow-table": f"{experiment}/runs/{parent.id}/artifacts/leaderboard.json",
        "mlflow-compare": f"/#/compare-runs?{compared}",
        "mlflow-trial": f"{experiment}/runs/{found.id}",
        "mlflow-curves": f"{experiment}/runs/{curve.id}/artifacts/learning-curves.png",
        "mlflow-confusion": f"{experiment}/runs/{found.id}/artifacts/confusion.png",
        "mlflow-model": "/#/models/digits",
        "mlflow-model-version": "/#/models/digits/versions/1",
    }
    # as our own links do: a browser that was never told opens MLflow for language models
    return {
        name: f"{place}{'&' if '?' in place else '?'}{VIEW}" for name, place in found_at.items()
    }


def shoot(browser: str, url: str, path: Path) -> None:
    """One page as a PNG, once what it asks its server for has come."""
    with tempfile.TemporaryDirectory(prefix="visiontune-browser-") as profile:
        options = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            f"--user-data-dir={profile}",
        ]
        wait = [
            "--virtual-time-budget=30000",
            f"--window-size={SIZE}",
            f"--screenshot={path.absolute()}",
        ]
        subprocess.run(
            [browser, *options, *wait, url],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=180,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--browser", default="chromium")
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # MLflow's own, about its own dependencies
    asked.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="visiontune-screenshots-") as scratch:
        runs = Path(scratch) / "runs"
        with server(Path(scratch) / "server") as (uri, _):
            plan = (
                "--space",
                "tiny-image",
                "--space",
                "toy",
                "--dataset",
                "digits",
                "--trials",
                asked.trials,
                "--set",
                "pause=0.0",
            )
            visiontune("run", *plan, "--name", "digits", "--runs-dir", runs, "--tracking-uri", uri)
            visiontune("sync", "digits", "--runs-dir", runs)
            best = next(
                row
                for row in json.loads((runs / "digits/report/leaderboard.json").read_text())
                if row["space"] == "tiny-image"
            )
            visiontune(
                "export",
                "digits",
                "--trial",
                best["trial"],
                "--runs-dir",
                runs,
                "--out",
                runs / "bundle",
                "--register",
                "digits",
            )
            for name, page in pages(RunDirectory(runs / "digits")).items():
                shoot(asked.browser, f"{uri}{page}", asked.out / f"{name}.png")
                print(asked.out / f"{name}.png", flush=True)


if __name__ == "__main__":
    main()
