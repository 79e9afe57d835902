"""The network of a bundle as model.onnx, checked against torch in onnxruntime.

``images``: (n, 3, size, size) uint8 RGB, n free; ``scores``: (n, classes) float32, which sum to 1 a
row. Normalisation, the mirror image where the network is judged with one, and softmax are part of
the graph, which computes in float32; what stands on a pretrained network's features, in float64. An
ensemble whose members see images at several sizes or crops has an input for each, called
``images_SIZE_CROP``.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from analysis.bundle.bundle import read_bundle
from analysis.bundle.classifier import CLASSIFIERS
from analysis.bundle.facts import BundleError
from analysis.run.directory import RunError
from analysis.run.records import TrialRecord
from spaces.errors import on_one_line
from trainables.io.files import temporary_name
from trainables.learners import LEARNERS

if TYPE_CHECKING:
    from analysis.graphs.judges import Judge, View

TOLERANCE = 1e-4
"""By which a score may differ from torch's in float32."""
BATCHES = (2, 7)
"""Images that the export traces, and another number that it is checked with."""
PACKAGES = ("onnx", "onnxruntime", "onnxscript")
Given = Mapping[str, npt.NDArray[np.uint8]]


def check_onnx(records: Sequence[TrialRecord], option: str) -> None:
    """Refuse before anything is written what ``option`` asks of these trials.

    Raises:
        RunError: if one of them has no network, or the packages are missing.
    """
    for record in records:
        kind = LEARNERS[record.space].classifier
        why = CLASSIFIERS[kind].onnx(record.config) if kind else "has no classifier"
        if why:
            raise RunError(f"{option} is for networks, but trial {record.key} {why}; leave it out")
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise RunError(f"{option} needs {', '.join(missing)}; install visiontune[onnx]")


def write_onnx(folder: Path) -> float:
    """Write model.onnx into a bundle; returns by how much a score differs from torch's in float32,
    at most.

    Raises:
        BundleError: if torch cannot write it, or onnxruntime gives other scores; no file is left.
    """
    from analysis.graphs.judges import judge_of

    judge, path = judge_of(read_bundle(folder)), folder / "model.onnx"
    temporary = temporary_name(path)
    try:
        difference = write_graph(judge, temporary)
        if not difference <= TOLERANCE:
            raise BundleError(
                f"{path}: onnxruntime's scores differ from torch's by {difference:.1e}, more than "
                f"{TOLERANCE:g}; it was removed"
            )
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return difference


def inputs_of(views: Sequence[View]) -> list[str]:
    """What the graph's inputs are called."""
    one = len(views) == 1
    return ["images"] if one else [f"images_{side}_{crop}" for side, crop in views]


def write_graph(judge: Judge, path: Path) -> float:
    """Write a graph; returns by how much it differs from torch on noise.

    Raises:
        BundleError: if torch has no graph for what the network does.
    """
    import torch

    names, generator = inputs_of(judge.views), np.random.default_rng(0)
    traced, other = (
        [
            torch.from_numpy(generator.integers(0, 256, (n, 3, side, side), dtype=np.uint8))
            for side, _ in judge.views
        ]
        for n in BATCHES
    )
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its own exporter
        try:
            program = torch.onnx.export(
                judge,
                tuple(traced),
                dynamo=True,
                input_names=names,
                output_names=["scores"],
                dynamic_shapes=(({0: "n"},) * len(names),),
                verbose=False,
            )
        except Exception as error:  # an exporter that lacks an operation has many kinds
            why: BaseException = error
            while why.__cause__ is not None:
                why = why.__cause__  # the steps before it say only that they came to this
            raise BundleError(
                f"{path.parent}: torch cannot write this network as a graph "
                f"({type(why).__name__}: {on_one_line(why)[:200]}); the bundle is whole without it"
            ) from error
    assert program is not None  # it is where dynamo exports
    program.save(str(path), external_data=False)
    differences = []
    for images in (traced, other):
        batch = {name: one.numpy() for name, one in zip(names, images, strict=True)}
        given = scores_by(path, [batch])
        with torch.no_grad():
            differences.append(np.abs(given - judge(*images).numpy()).max())
    return float(max(differences))


def scores_by(path: Path, given: Iterable[Given]) -> npt.NDArray[np.float32]:
    """(n, classes) scores that onnxruntime gives batches of (m, 3, side, side) images by input."""
    session = session_of(path)
    return np.concatenate([session.run(["scores"], dict(batch))[0] for batch in given])


def session_of(path: Path) -> Any:
    """A graph in onnxruntime, on the cores."""
    import onnxruntime

    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
