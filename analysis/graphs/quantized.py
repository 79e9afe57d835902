"""A bundle's network in 8-bit integers, as onnxruntime quantizes it, and what that costs.

Weights are int8 and activations uint8, with scales found on images of the training split (static
quantization; Jacob et al., 2018); a bit of the weights is left unused, as processors without VNNI
would overflow. What stands in float64, the head on a pretrained network's features, stays as it is.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from analysis.bundle.bundle import read_bundle
from analysis.bundle.classifier import Int64
from analysis.bundle.facts import Quantized, write_facts
from analysis.bundle.model_card import model_card
from analysis.graphs.judges import judge_of, pixels_of
from analysis.graphs.onnx import Given, inputs_of, scores_by, session_of
from trainables.data import Dataset, Images
from trainables.io.files import temporary_name, write_whole

NAME, FULL = "model-int8.onnx", "model.onnx"
CALIBRATED_WITH, JUDGED, TIMED, BATCH = 200, 2000, 30, 16
"""Images whose activations give the scales; images at most that both graphs are judged on; single
images that they are timed with; images that are given to them at once.
"""


def quantize(folder: Path, dataset: Dataset, splits: Sequence[str]) -> Quantized:
    """Write model-int8.onnx beside the model.onnx of a bundle, and what it is worth into
    bundle.json and README.md.

    Args:
        dataset: as the run had it.
        splits: the first of them that there is judges both.
    """
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = read_bundle(folder)
    views = judge_of(model).views

    def given(images: Images) -> Iterator[Given]:
        for start in range(0, len(images), BATCH):
            some = images[start : start + BATCH]
            pixels = [pixels_of(some, view) for view in views]
            yield dict(zip(inputs_of(views), pixels, strict=True))

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            rows = _some(len(dataset.train), CALIBRATED_WITH, model.facts.seed)
            self.waiting = given(dataset.train.images.take(rows))

        def get_next(self) -> Given | None:
            return next(self.waiting, None)

    path, prepared = temporary_name(folder / NAME), temporary_name(folder / FULL)
    level = logging.root.level
    try:
        logging.root.setLevel(logging.ERROR)  # onnxruntime's tools advise on the root logger
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # theirs, about their own formats
            quant_pre_process(str(folder / FULL), str(prepared), skip_symbolic_shape=True)
            quantize_static(
                str(prepared),
                str(path),
                Reader(),
                quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
                nodes_to_exclude=_wide(prepared),
            )
        os.replace(path, folder / NAME)
    finally:
        logging.root.setLevel(level)
        path.unlink(missing_ok=True)
        prepared.unlink(missing_ok=True)
    split = next(name for name in splits if name in dataset.splits())
    part = dataset.splits()[split]
    rows = _some(len(part), JUDGED, model.facts.seed)
    images, labels = part.images.take(rows), part.labels[rows]
    full, small = (scores_by(folder / name, given(images)).argmax(1) for name in (FULL, NAME))
    single = next(given(images[:1]))
    found = Quantized(
        split=split,
        n=len(rows),
        accuracy=float(np.mean(small == labels)),
        full_accuracy=float(np.mean(full == labels)),
        alike=float(np.mean(small == full)),
        milliseconds=_milliseconds(folder / NAME, single),
        full_milliseconds=_milliseconds(folder / FULL, single),
        bytes=(folder / NAME).stat().st_size,
        full_bytes=(folder / FULL).stat().st_size,
    )
    facts = model.facts.model_copy(update={"quantized": found})
    write_facts(folder, facts)
    write_whole(folder / "README.md", model_card(facts))
    return found


def _some(n: int, most: int, seed: int) -> Int64:
    """(m,) rows of at most ``most`` of n images, in order."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:most])


def _wide(path: Path) -> list[str]:
    """Names of the nodes that compute in float64, which onnxruntime does not quantize."""
    import onnx

    graph = onnx.load(str(path)).graph
    wide = {one.name for one in graph.initializer if one.data_type == onnx.TensorProto.DOUBLE}
    return [node.name for node in graph.node if wide & set(node.input)]


def _milliseconds(path: Path, single: Given) -> float:
    """Of one image, the median of several times, on all cores."""
    times = []
    session = session_of(path)
    for _ in range(TIMED):
        began = time.perf_counter()
        session.run(["scores"], dict(single))
        times.append(time.perf_counter() - began)
    return float(np.median(times)) * 1000
