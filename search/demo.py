"""What ``make demo`` runs: a real search on the digits that ship with scikit-learn, from plan to bundle."""

from __future__ import annotations

import argparse
from pathlib import Path

from analysis.export import export
from search.exports import source_of
from search.plan import read_plan
from search.runner import run
from spaces.errors import UserError

PLAN = Path(__file__).parent.parent / "plans" / "demo.yaml"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs-dir", type=Path, default=Path("runs"))
    runs_dir: Path = parser.parse_args().runs_dir
    plan = read_plan(PLAN)
    count, name = 1, "demo"
    while (runs_dir / name).exists() or (runs_dir / f"{name}-bundle").exists():
        count += 1
        name = f"demo-{count}"
    print(f"searching {' and '.join(plan.spaces)} on {plan.dataset}, {plan.trials} trials", flush=True)
    summary = run(plan.model_copy(update={"name": name}), runs_dir)
    if summary.best is None or summary.state != "finished":
        print(f"{summary.state}: {summary.reason}; go on with .venv/bin/visiontune resume {name} --runs-dir {runs_dir}")
        return 1
    folder = summary.run
    done = export(source_of(folder, plan), summary.best, runs_dir / f"{name}-bundle")
    print(
        f"""
best trial {done.trial}: {done.val_accuracy:.4f} by leave-one-out, which chose it
on the test images, scored once: {done.test_accuracy:.4f}

  report   {folder.report / "report.html"}
  bundle   {done.bundle.absolute()}
  MLflow   .venv/bin/visiontune ui {name} --runs-dir {runs_dir}

Your own images, in FOLDER/train/CLASS/*.jpg and FOLDER/test/CLASS/*.jpg:

  .venv/bin/visiontune run --space bag-of-sift --dataset folder:FOLDER --trials 60
"""
    )
    return 0


if __name__ == "__main__":
    try:
        raise SystemExit(main())
    except (UserError, OSError) as error:
        raise SystemExit(f"visiontune: {error}") from None
