"""What bundles are worth on the test images: accuracy, honest probabilities, sets that cover.

    python -m benchmarks.worth --dataset SPEC BUNDLE...

Each BUNDLE is a folder that ``visiontune export`` made, of one trial or, with ``--ensemble``, of
several; SPEC has the images and their test split. Prints a JSON object a bundle: accuracy; expected
calibration error of its scores before and after they were made probabilities; and for each coverage
that is asked how often the set of classes held the true one, and how many classes it had.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from analysis.bundle.bundle import read_bundle
from analysis.bundle.classifier import Calibrated, scores_in_batches
from analysis.bundle.predict import read_options
from analysis.ranking.calibration import calibration_error
from trainables.data import read_dataset

COVERAGES = (0.8, 0.9, 0.95, 0.99)


def worth(folder: Path, spec: str) -> dict[str, Any]:
    """Of one bundle, on the test images of ``spec``."""
    model = read_bundle(folder)
    test = read_dataset(spec, read_options(model)).test
    if test is None:
        sys.exit(f"{spec} has no test split")
    inner = model.inner if isinstance(model, Calibrated) else model
    predictions, shares = scores_in_batches(inner, test.images, lambda done, of: None)
    told: dict[str, Any] = {
        "bundle": folder.name,
        "trial": model.facts.trial,
        "space": model.facts.space,
        "images": len(test.labels),
        "accuracy": round(float((predictions == test.labels).mean()), 4),
        "error_before": round(calibration_error(shares, test.labels), 4),
    }
    if (found := model.facts.calibration) is None:
        return told
    given = found.of(shares)
    true = given[np.arange(len(given)), test.labels]
    told["error_after"] = round(calibration_error(given, test.labels), 4)
    for coverage in COVERAGES:
        least = found.threshold(coverage)
        told[f"coverage {coverage}"] = {
            "held": round(float((true >= least).mean()), 4),
            "classes": round(float((given >= least).sum(axis=1).mean()), 2),
        }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", required=True, help="SPEC of the images")
    parser.add_argument("bundles", nargs="+", type=Path, help="folders that export made")
    given = parser.parse_args()
    for folder in given.bundles:
        print(json.dumps(worth(folder, given.dataset)), flush=True)


if __name__ == "__main__":
    main()
