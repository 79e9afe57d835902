"""Why a bundle gives images their classes, as one page that holds its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from analysis.bundle.classifier import Float64, Model, scores_in_batches
from analysis.bundle.facts import BundleFacts
from analysis.bundle.predict import read_options
from analysis.explain.reasons import Apart, Heat, Near, Reason, same_as_then, training_labels, why
from analysis.report.examples import KnownSplit, jpeg
from analysis.report.templates import data_uri, rendered, write_page
from trainables.data import Images
from trainables.data.dataset import UInt8

SHOWN = 5
"""Classes whose scores are shown of an image."""
SIDE = 320
"""Longest side of the pictures, pixels; smaller images are enlarged to it."""
Named = dict[int, tuple[str, str]]
"""Name and picture, as a data URI, of training images by their row."""


@dataclass(frozen=True)
class Asked:
    """An image whose class is to be explained.

    Attributes:
        name: of its file.
        pixels: as the bundle reads it.
        scores: (classes,) that it was given.
        label: the class that is explained.
        truth: its class, where that is known and another.
        apart: where it is a training image itself.
    """

    name: str
    pixels: UInt8
    scores: Float64
    label: int
    truth: int | None = None
    apart: Apart | None = None


def asked_of(model: Model, images: Sequence[tuple[str, UInt8]]) -> list[Asked]:
    """Images by their names, and the classes that ``model`` gives them."""
    if not images:
        return []
    pixels = Images.from_arrays([image for _, image in images])
    labels, scores = scores_in_batches(model, pixels, lambda done, of: None)
    return [
        Asked(name, image, row, int(label))
        for (name, image), label, row in zip(images, labels, scores, strict=True)
    ]


def explained(model: Model, asked: Sequence[Asked]) -> list[dict[str, Any]]:
    """What is known of each image: facts for JSON, and pictures as data URIs in ``picture``,
    ``heat`` and of each of ``nearest``.

    Raises:
        BundleError: for a kind of classifier that cannot be explained.
    """
    classes = model.facts.classes
    found = [(one, why(model, one.pixels, one.label, one.apart)) for one in asked]
    named = _training_images([reason for _, reasons in found for reason in reasons])
    return [
        {
            "image": one.name,
            "class": classes[one.label],
            "score": float(one.scores[one.label]),
            "scores": {
                classes[int(i)]: float(one.scores[i])
                for i in np.argsort(-one.scores, kind="stable")[:SHOWN]
            },
            "true": None if one.truth is None else classes[one.truth],
            "picture": _uri(_enlarged(one.pixels)),
            "reasons": [
                {
                    "who": reason.who,
                    "trial": reason.model.facts.trial,
                    "method": reason.heat.method if reason.heat else "",
                    "nothing": bool(reason.heat and not reason.heat.places.any()),
                    "heat": _uri(overlay(reason.heat)) if reason.heat else "",
                    "remark": reason.remark,
                    "nearest": [
                        _neighbour(near, classes, named[id(reason.model)]) for near in reason.near
                    ],
                }
                for reason in reasons
            ],
        }
        for one, reasons in found
    ]


PICTURES = ("picture", "heat")


def without_pictures(found: Any) -> Any:
    """What is known, for JSON."""
    if isinstance(found, dict):
        return {n: without_pictures(value) for n, value in found.items() if n not in PICTURES}
    return [without_pictures(one) for one in found] if isinstance(found, list) else found


def write_why_page(
    out: Path, facts: BundleFacts, rows: Sequence[dict[str, Any]], headline: str
) -> None:
    """Write the page of what ``explained`` found.

    Raises:
        UserError: if it cannot be written.
    """
    page = rendered("why.html.j2", facts=facts, rows=rows, headline=headline)
    write_page(out, page)


def _neighbour(near: Near, classes: Sequence[str], named: Named) -> dict[str, Any]:
    name, picture = named.get(near.row, ("", ""))
    return {
        "class": classes[near.label],
        "distance": near.distance,
        "number": near.row,
        "mirrored": near.mirrored,
        "image": name,
        "picture": picture,
    }


def _training_images(reasons: Sequence[Reason]) -> dict[int, Named]:
    """Of each classifier, by its id, the training images that it names; those that are not where
    they were, or are not what they were, have neither name nor picture.
    """
    models = {id(reason.model): reason.model for reason in reasons}
    found: dict[int, Named] = {}
    for key, model in models.items():
        rows = sorted({n.row for reason in reasons if id(reason.model) == key for n in reason.near})
        there = _read(model, rows) if rows else {}
        images = Images.from_arrays([image for _, image in there.values()])
        same = same_as_then(model, list(there), images) if there else []
        found[key] = {
            row: (name, _uri(image))
            for (row, (name, image)), unchanged in zip(there.items(), same, strict=True)
            if unchanged
        }
    return found


def _read(model: Model, rows: Sequence[int]) -> dict[int, tuple[str, UInt8]]:
    facts = model.facts
    options = replace(read_options(model), hold_out=facts.hold_out, keep_val=True, seed=facts.seed)
    known = KnownSplit(facts.dataset, options, facts.skipped, "train", training_labels(model))
    return known.images(rows)


def overlay(heat: Heat) -> UInt8:
    """(height, width, 3) the image with what speaks for the class in warm colours."""
    import matplotlib as mpl

    seen = _enlarged(heat.seen)
    grey = np.asarray(Image.fromarray(seen).convert("L"), np.float64)[..., None]
    places = Image.fromarray(heat.places.astype(np.float32))
    size = (seen.shape[1], seen.shape[0])
    warm = np.asarray(places.resize(size, Image.Resampling.BICUBIC), np.float64).clip(0, 1)
    colours = mpl.colormaps["inferno"](warm)[..., :3] * 255
    strength = 0.25 + 0.5 * warm[..., None]
    return np.asarray(grey * (1 - strength) + colours * strength, np.uint8)


def _enlarged(image: UInt8) -> UInt8:
    """The image with a longest side of ``SIDE``."""
    picture = Image.fromarray(image)
    scale = SIDE / max(picture.size)
    size = [max(1, round(length * scale)) for length in picture.size]
    way = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BICUBIC
    return np.asarray(picture.resize((size[0], size[1]), way))


def _uri(image: UInt8) -> str:
    return data_uri(jpeg(image, SIDE))
