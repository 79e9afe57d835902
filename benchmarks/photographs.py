"""The same search of features and heads by visiontune and by scikit-learn, on the same backbone and
both on all cores.

    python -m benchmarks.photographs [--dataset DIR] [--side 224] [--only ours,sklearn] [--quick]

DIR has ``train/CLASS/*.jpg``; with ``--quick`` it is 96 pieces of scikit-learn's two photographs,
seen at 96 pixels. scikit-learn does it as well as it can: a ``Pipeline`` with a ``memory``, so that
features are kept from one candidate to the next, in a ``GridSearchCV`` with a job a core. Both try
crop × views × norm × C in five folds. Prints one JSON object: seconds of each, the accuracy of the
best, and the load of the machine before.
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
from typing import Any

import numpy as np
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import Normalizer

GRID: dict[str, list[Any]] = {
    "crop": ["squash", "centre"],
    "views": ["one", "mirrored"],
    "norm": ["none", "l2"],
    "C": [0.1, 1.0, 10.0, 100.0],
}
ONE = {"layer": "last", "pooling": "average", "components": 0, "head": "logistic"}
BATCH = 16


def pieces(root: Path, count: int = 48) -> Path:
    """Photographs to be quick with."""
    from sklearn.datasets import load_sample_image

    random = np.random.default_rng(0)
    for name in ("china", "flower"):
        whole = load_sample_image(f"{name}.jpg")
        folder = root / "train" / name
        folder.mkdir(parents=True)
        for number in range(count):
            top, left = (random.integers(0, length - 128) for length in whole.shape[:2])
            Image.fromarray(whole[top : top + 128, left : left + 128]).save(
                folder / f"{number}.png"
            )
    return root


def ours(images: Path, side: int, runs: Path) -> dict[str, Any]:
    settings = {**ONE, "side": side, **{k: ",".join(map(str, v)) for k, v in GRID.items()}}
    words = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    trials = int(np.prod([len(values) for values in GRID.values()]))
    search = [sys.executable, "-m", "search"]
    began = time.monotonic()
    subprocess.run(
        [
            *search, "run", "--space", "embedding", "--dataset", f"folder:{images}", "--name",
            "ours", "--runs-dir", runs, "--sampler", "grid", "--trials", str(trials),
            "--no-tracking", *words,
        ],
        check=True,
    )  # fmt: skip
    seconds = time.monotonic() - began
    paths = (runs / "ours" / "trials").glob("*/*/result.json")
    found = [json.loads(path.read_text())["metrics"]["val_accuracy"] for path in paths]
    assert len(found) == trials
    return {"seconds": round(seconds, 1), "accuracy": max(found), "candidates": trials}


def seen(paths: list[str], side: int, crop: str, mirrored: bool) -> Any:
    """(n, 1280) features as ten lines of timm give them."""
    import torch

    from trainables.embedding.features import square

    torch.set_num_threads(1)
    net, parts = network(), []
    for start in range(0, len(paths), BATCH):
        images = [np.asarray(Image.open(path).convert("RGB")) for path in paths[start:][:BATCH]]
        pixels = torch.from_numpy(np.stack([square(image, side, crop) for image in images]))
        batch = (pixels.permute(0, 3, 1, 2).float() / 127.5 - 1).contiguous(
            memory_format=torch.channels_last
        )
        with torch.inference_mode():
            parts.append(net.forward_features(batch.flip(3) if mirrored else batch).mean((2, 3)))
    return torch.cat(parts).numpy()


def network(kept: list[Any] = []) -> Any:  # noqa: B006  # one a process
    if not kept:
        from trainables.pretrained.network import read_tensors, with_tensors
        from trainables.pretrained.weights import find

        weights, place = find("efficientnet-lite0")
        kept.append(with_tensors(weights, read_tensors(weights, place), 224))
    return kept[0]


class See(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Features of files."""

    def __init__(self, side: int = 224, crop: str = "squash", views: str = "one") -> None:
        self.side, self.crop, self.views = side, crop, views

    def fit(self, paths: Any, labels: Any = None) -> See:
        return self

    def transform(self, paths: Any) -> Any:
        views = (False,) if self.views == "one" else (False, True)
        return np.mean([seen(list(paths), self.side, self.crop, view) for view in views], axis=0)


def sklearns(images: Path, side: int, folder: Path) -> dict[str, Any]:
    from benchmarks.photographs import See  # by which name joblib's processes find it

    began = time.monotonic()
    paths = sorted(str(path) for path in (images / "train").glob("*/*"))
    labels = [Path(path).parent.name for path in paths]
    steps = [
        ("see", See(side)),
        ("norm", Normalizer()),
        ("head", LogisticRegression(max_iter=1000)),
    ]
    grid = {
        "see__crop": GRID["crop"],
        "see__views": GRID["views"],
        "norm": ["passthrough", Normalizer()],
        "head__C": GRID["C"],
    }
    search = GridSearchCV(
        Pipeline(steps, memory=str(folder)),
        grid,
        cv=StratifiedKFold(5, shuffle=True, random_state=0),
        n_jobs=len(os.sched_getaffinity(0)),
        refit=False,
    )
    search.fit(np.array(paths), np.array(labels))
    return {
        "seconds": round(time.monotonic() - began, 1),
        "accuracy": float(search.best_score_),
        "candidates": len(search.cv_results_["params"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", type=Path)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--only", default="ours,sklearn")
    parser.add_argument("--quick", action="store_true")
    told = parser.parse_args()
    side = 96 if told.quick else told.side
    with tempfile.TemporaryDirectory(prefix="visiontune-") as name:
        folder = Path(name)
        images = told.dataset or pieces(folder / "images")
        result: dict[str, Any] = {"load": os.getloadavg(), "cores": len(os.sched_getaffinity(0))}
        if "ours" in told.only:
            result["ours"] = ours(images.absolute(), side, folder / "runs")
        if "sklearn" in told.only:
            result["sklearn"] = sklearns(images.absolute(), side, folder / "memory")
    if "ours" in result and "sklearn" in result:
        times = result["sklearn"]["seconds"] / result["ours"]["seconds"]
        result["times as fast"] = round(times, 2)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
