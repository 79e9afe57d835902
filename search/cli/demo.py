"""What ``make demo`` runs: real searches on the digits that ship with scikit-learn, from plan to
bundle.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from search.cli import run_to_end
from search.screen.terminal import outlive_terminal

if TYPE_CHECKING:
    from analysis.plan.plan import Plan

PLANS = Path(__file__).parents[2] / "plans"
DEMOS = {
    "demo": "demo.yaml",
    "demo-cnn": "demo-cnn.yaml",
    "demo-embedding": "demo-embedding.yaml",
}
"""Name of each run, and its plan."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    outlive_terminal()
    runs_dir: Path = parser.parse_args().runs_dir
    from analysis.plan.plan import read_plan

    for name, file in DEMOS.items():
        if not _demonstrate(read_plan(PLANS / file), name, runs_dir):
            return 1
    print(
        """Your own images, in FOLDER/train/CLASS/*.jpg and FOLDER/test/CLASS/*.jpg:

  .venv/bin/visiontune run --space embedding --dataset folder:FOLDER --trials 60
  .venv/bin/visiontune run --space cnn --dataset folder:FOLDER --trials 20 --pruner median
"""
    )
    return 0


def _demonstrate(plan: Plan, base: str, runs_dir: Path) -> bool:
    """Search and export; whether it went well."""
    from analysis.bundle.bundle import read_facts
    from analysis.bundle.export import export
    from search.driver.exports import show_in_report, source_of
    from search.driver.runner import run

    count, name = 1, base
    while (runs_dir / name).exists() or (runs_dir / f"{name}-bundle").exists():
        count += 1
        name = f"{base}-{count}"
    print(
        f"searching {' and '.join(plan.spaces)} on {plan.dataset}, {plan.trials} trials", flush=True
    )
    summary = run(plan.model_copy(update={"name": name}), runs_dir)
    if summary.best is None or summary.state != "finished":
        print(
            f"{summary.state}: {summary.reason}; go on with .venv/bin/visiontune resume {name} "
            f"--runs-dir {runs_dir}"
        )
        return False
    done = export(source_of(summary.run), summary.best, runs_dir / f"{name}-bundle")
    show_in_report(done, summary.run, summary.best)
    judged = read_facts(done.bundle).val.scheme
    print(
        f"""
best trial {done.trial}: {done.val_accuracy:.4f} by {judged}, which chose it
on the test images, scored once: {done.test_accuracy:.4f}

  report   {summary.run.report / "report.html"}
  bundle   {done.bundle.absolute()}
  MLflow   .venv/bin/visiontune ui {name} --runs-dir {runs_dir}
""",
        flush=True,
    )
    return True


if __name__ == "__main__":
    run_to_end(main)
