"""Export of an ensemble: its members as bundles, checked one by one, and what they are worth
together.
"""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from analysis.bundle.bundle import read_bundle, read_facts, write_bundle
from analysis.bundle.classifier import ENSEMBLE
from analysis.bundle.export import (
    Exported,
    appearing,
    calibrated,
    draw,
    fill,
    images_of,
    score_test,
)
from analysis.bundle.facts import BundleError, BundleFacts, write_facts
from analysis.bundle.model_card import model_card
from analysis.bundle.source import ExportRequest, Source, bundle_facts
from analysis.ensemble.model import EnsembleModel, digest_of, place_of
from analysis.ranking.ensemble import Ensemble, choose_ensemble
from analysis.ranking.leaderboard import ranked
from analysis.ranking.looks import looks
from analysis.run.directory import RunError
from analysis.run.records import Measured
from trainables.data import Dataset
from trainables.data.scores import score
from trainables.io.files import write_whole

SAME = 0.005
"""By which accuracy may differ from that of the shares that were kept: they have 11 bits."""


def export_ensemble(source: Source, most: int, out: Path, request: ExportRequest) -> Exported:
    """Write the bundle of an ensemble of at most ``most`` trials; it appears whole or not at all.

    Raises:
        RunError: if there is none, ``out`` exists or the images have changed.
        BundleError: if a written member does not give its recorded validation accuracy.
    """
    began = time.monotonic()
    order = ranked(source.run.records(), source.run.plan().objective)
    chosen = choose_ensemble(source.run, order, most)
    if isinstance(chosen, str):
        raise RunError(f"run {source.run.name}: no ensemble, as {chosen}")
    seconds = time.monotonic() - began
    request.check(chosen.members)
    alone = replace(request, score_test=False, calibrate=False)
    with appearing(out) as temporary:
        dataset = images_of(source)
        for number, record in enumerate(chosen.members, 1):
            place = place_of(temporary, number)
            place.mkdir(parents=True)
            fill(place, source, record, dataset, alone)
        facts = _written(temporary, source, chosen, dataset, request)
    test, whole = (found.accuracy if found else None for found in (facts.test, facts.test_all))
    worth = chosen.worth
    note = (
        f"{len(chosen.members)} of {worth.trials} trials, chosen in {seconds:.1f} s: on new images "
        f"val_accuracy {worth.figure}, where the best alone has {chosen.single:.4f}"
    )
    notes = (*dataset.notes, note)
    return Exported(out, _name(chosen), facts.val.accuracy, test, notes, whole)


def _name(chosen: Ensemble) -> str:
    return f"ensemble of {len(chosen.members)} trials"


def _written(
    folder: Path, source: Source, chosen: Ensemble, dataset: Dataset, request: ExportRequest
) -> BundleFacts:
    best, truth = chosen.members[0], dataset.splits()[source.validation.split].labels
    given = chosen.shares.argmax(axis=1)
    members = [read_facts(place_of(folder, n)) for n in range(1, len(chosen.members) + 1)]
    val = Measured(
        split=source.validation.split,
        n=len(truth),
        scheme=source.validation.scheme,
        **asdict(score(truth, given, len(dataset.classes))),
    )
    times = zip(chosen.members, chosen.times, strict=True)
    facts = bundle_facts(
        source, best, dataset, ENSEMBLE, (),
        space=ENSEMBLE,
        config={record.key: count for record, count in times},
        val=val,
        trial=f"{source.run.name}: {_name(chosen)}",
        versions={name: version for one in members for name, version in one.versions.items()},
        plugins={name: digest for one in members for name, digest in one.plugins.items()},
        corrected=chosen.worth,
        refit=False,
    )  # fmt: skip
    digests = np.stack([digest_of(place_of(folder, n)) for n in range(1, len(members) + 1)])
    models = tuple(read_bundle(place_of(folder, n)) for n in range(1, len(members) + 1))
    made = EnsembleModel(facts, models, np.array(chosen.times, np.int64), digests)
    write_bundle(folder, made, unfinished=True)
    model = read_bundle(folder, whole=False)
    if dataset.val is not None and source.validation.scheme == "val":
        there = float(np.mean(model.scores_of(dataset.val.images)[0] == truth))
        if abs(there - val.accuracy) > SAME + model.tolerance:
            raise BundleError(
                f"the ensemble gives validation accuracy {there:.4f}, but what its members said "
                f"gave {val.accuracy:.4f}; package versions may differ from the search's"
            )
    draw(folder / "confusion.png", model, truth, given, source.class_order, "validation")
    facts = model.facts.model_copy(update=score_test(folder, model, source, best, dataset, request))
    told: dict[str, Any] = calibrated(folder, source, chosen.shares)
    told |= {"unfinished": False, "test_evaluations": len(looks(source.run))}
    facts = facts.model_copy(update=told)
    write_facts(folder, facts)
    write_whole(folder / "README.md", model_card(facts))
    return facts
