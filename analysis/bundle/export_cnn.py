"""The chosen network: its kept weights, or the same configuration trained again on all training
images.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from analysis.bundle.cnn import CnnModel, read_cnn
from analysis.bundle.facts import Preprocessing
from analysis.bundle.source import EpochCallback, Source, bundle_facts
from analysis.ranking.schedule import schedule, steps_of
from analysis.run.directory import RunError
from analysis.run.records import TrialRecord
from analysis.run.trial_files import STEPS
from spaces import CnnConfig
from spaces.ours.tuning import PRETRAINED
from trainables.cnn import weights
from trainables.cnn.data import CnnData
from trainables.cnn.images import squares
from trainables.cnn.run import BEST, LAST, make_run
from trainables.cnn.start import known_here
from trainables.cnn.use import NetworkUse
from trainables.data import Dataset, Images
from trainables.data.dataset import joined
from trainables.data.validation import comes_in
from trainables.pretrained.facts import Weights

PACKAGES = ("torch", "torchvision")
OF_PRETRAINED = ("timm", *PACKAGES)


def make_cnn(source: Source, record: TrialRecord, dataset: Dataset, epoch: str) -> CnnModel:
    """The network that the search trained, as it was after its ``last`` or its ``best`` epoch.

    Raises:
        RunError: if its weights were not kept.
    """
    path = source.run.weights(record.space, record.number) / {"last": LAST, "best": BEST}[epoch]
    if not path.is_file():
        raise RunError(
            f"trial {record.key} has no weights/{path.name}: they are kept of the best trials "
            f"alone; visiontune export {source.run.name} --trial {record.key} --refit trains "
            "them again"
        )
    file = path.read_bytes()
    wanted = record.digests.get(f"weights/{path.name}")
    if wanted and hashlib.sha256(file).hexdigest() != wanted:
        raise RunError(
            f"{path}: not what trial {record.key} wrote (its SHA-256 is another); "
            f"visiontune export {source.run.name} --trial {record.key} --refit trains it again"
        )
    _, use = weights.parse(file, str(path))
    steps = source.run.steps(record.space, record.number, record)
    whole = steps_of(source.run, record)
    found = next((row for row in steps if row["step"] == use.epoch - 1), None)
    if found is None:
        kept = source.run.trial(record.space, record.number) / STEPS
        other = "" if epoch == "last" else "use --epoch last, or "
        raise RunError(
            f"{path} is of epoch {use.epoch}, of which {kept} has no record; {other}visiontune "
            f"export {source.run.name} --trial {record.key} --refit trains it again"
        )
    record = record.model_copy(
        update={"metrics": {name: found.get(name, value) for name, value in record.metrics.items()}}
    )
    return _model(
        source, record, dataset, file, use, history=tuple(map(_plain, whole)), refit=False
    )


def refit_cnn(
    source: Source, record: TrialRecord, dataset: Dataset, epochs: int | None, say: EpochCallback
) -> CnnModel:
    """The configuration trained anew on all training images, those included that chose it; nothing
    judges it until the test.

    Args:
        epochs: to train for, with the schedule laid over them; as many as in the search by default.
    """
    assert source.settings is not None  # whoever exports a network's trial says how it was trained
    settings = replace(source.settings, epochs=epochs or source.settings.epochs)
    parts = [part for part in (dataset.train, dataset.val) if part is not None]
    config = CnnConfig.of(record.config)
    size = config.side_of(settings.image_size)
    seen = [squares(part.images, size) for part in parts]
    packed = [images for images in seen if isinstance(images, Images)]
    whole = [images for images in seen if not isinstance(images, Images)]
    images = joined(packed) if packed else np.concatenate(whole)
    labels = np.concatenate([part.labels for part in parts])
    order = None
    if settings.parts:
        together = [part.groups for part in parts if part.groups is not None]
        order = comes_in(labels, np.concatenate(together) if together else None, seed=source.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    threads = len(os.sched_getaffinity(0))
    known = None if settings.start else known_here(config, _weights(source, record))
    share, run = settings.epochs / source.settings.epochs, None
    way = [(settings.epochs, config)]
    if source.population:  # with the values of each epoch, and as far as it came
        trials = schedule(source.run, record.space, record.number)
        way = [
            (max(1, round(one.until * share)), CnnConfig.of(one.record.config)) for one in trials
        ]
    for until, values in way:
        before, run = run, make_run(
            values, CnnData(images, labels, order=order), settings, dataset.classes,
            seed=source.seed, device=device, threads=threads, known=known,
        )  # fmt: skip
        if before is not None:
            with tempfile.TemporaryDirectory(prefix="visiontune-") as folder:
                before.save(Path(folder))
                run.load(Path(folder), changing=True)
        while run.epoch < until:
            say(run.epoch + 1, way[-1][0], run.step())
    assert run is not None
    file = weights.pack(run.judged.state_dict(), run.use)
    history = tuple({"step": epoch["epoch"] - 1, **_plain(epoch)} for epoch in run.history)
    return _model(source, record, dataset, file, run.use, history=history, refit=True)


def _model(
    source: Source,
    record: TrialRecord,
    dataset: Dataset,
    file: bytes,
    use: NetworkUse,
    *,
    history: tuple[dict[str, float], ...],
    refit: bool,
) -> CnnModel:
    options = source.options
    seen = Preprocessing(
        color=options.color,
        max_side=options.max_side,
        rule=dataset.rule,
        size=use.size,
        mean=use.mean,
        std=use.std,
    )
    own = _weights(source, record).get(str(record.config.get("backbone")))
    packages = OF_PRETRAINED if record.config["model"] == PRETRAINED else PACKAGES
    facts = bundle_facts(
        source, record, dataset, "cnn", packages, preprocessing=seen, history=history, refit=refit,
        weights=own,
    )  # fmt: skip
    scheme = (
        "before it was trained again on these images too"
        if refit
        else f"held out, epoch {use.epoch}"
    )
    return read_cnn(
        Path("model"),
        facts.model_copy(update={"val": facts.val.model_copy(update={"scheme": scheme})}),
        file,
    )


def _weights(source: Source, record: TrialRecord) -> Mapping[str, Weights]:
    """What the search knew of the weights that its network began with."""
    return source.run.plan().weights if record.config["model"] == PRETRAINED else {}


def _plain(row: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name not in ("time", "report")}
