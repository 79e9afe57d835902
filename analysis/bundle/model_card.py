"""README.md of a bundle."""

from __future__ import annotations

import re
from collections.abc import Sequence

from analysis.bundle.classifier import CLASSIFIERS
from analysis.bundle.facts import BundleFacts
from analysis.ranking.leaderboard import short_config
from spaces.errors import printable, shortened

SHOWN = 50
"""Classes that are named."""


def model_card(facts: BundleFacts) -> str:
    """README.md of a bundle: what it is, how good, how chosen, and how to use it."""
    lines = [
        f"# {facts.space} classifier of {len(facts.classes)} classes",
        "",
        f"{CLASSIFIERS[facts.kind].title} exported by visiontune from trial {_code(facts.trial)}.",
        "",
        *_worth(facts),
        "| split | images | accuracy | balanced accuracy | macro F1 | how |",
        "|---|---|---|---|---|---|",
    ]
    for measured in (facts.val, facts.test, facts.test_all):
        if measured:
            figures_ = (
                f"{measured.accuracy:.4f} | {measured.balanced_accuracy:.4f} | "
                f"{measured.macro_f1:.4f}"
            )
            lines.append(
                f"| {_text(measured.split)} | {measured.n:,} | {figures_} | "
                f"{_text(measured.scheme)} |"
            )
    lines += [
        "",
        "The first row chose this configuration among others, so it is optimistic.",
        *(
            ["Test images that are also training images are left out of the test's first row."]
            * (facts.test_all is not None)
        ),
        *_replicas(facts),
        *_probabilities(facts),
        *([f"In 8-bit integers (model-int8.onnx): {facts.quantized}."] * bool(facts.quantized)),
        *(
            [
                (
                    "The network was trained again afterwards, on the validation images too: "
                    "nothing but the test split judges it."
                )
            ]
            * facts.refit
        ),
        f"The test split of the run was scored {facts.test_evaluations} time(s) up to this export.",
        "",
        f"- configuration: {_code(short_config(facts.config, facts.space))}",
        f"- classes: {_named(facts.classes)}",
        f"- training images: {_code(facts.dataset)}, fingerprint {_code(facts.fingerprint[:16])}",
        (
            f"- images are read as {facts.preprocessing.color}, at most "
            f"{facts.preprocessing.max_side} pixels a side"
        )
        + (
            f", and resized to {facts.preprocessing.size} × {facts.preprocessing.size}"
            if facts.preprocessing.size
            else ""
        ),
        *(f"- {line}" for line in facts.preprocessing.rule.lines()),
        *_weights(facts),
        "- made with: "
        f"{', '.join(_text(f'{name} {version}') for name, version in facts.versions.items())}",
        *(
            f"- needs plug-in {_code(name)} (SHA-256 {sha256[:16]}), to be named with --plugin"
            for name, sha256 in facts.plugins.items()
        ),
        "",
        "```",
        "visiontune predict THIS_FOLDER picture.jpg",
        "visiontune evaluate THIS_FOLDER --dataset folder:DIR",
        "```",
        "",
        "Nothing in this folder is executed: it holds JSON, safetensors and pictures.",
        "",
    ]
    return "\n".join(lines)


def _probabilities(facts: BundleFacts) -> list[str]:
    """What its scores mean."""
    if not (found := facts.calibration):
        return []
    return [
        f"Scores are calibrated probabilities: their expected calibration error is "
        f"{found.after:.3f} on {found.images:,} validation images ({found.before:.3f} before), "
        "each half calibrated by the other; reliability.png shows it. "
        "visiontune predict --coverage 0.95 gives sets of classes.",
    ]


def _named(classes: Sequence[str]) -> str:
    """The classes, the first of them where they are many."""
    more = f" and {len(classes) - SHOWN:,} more, all in bundle.json" if len(classes) > SHOWN else ""
    return ", ".join(_text(shortened(printable(name), 80)) for name in classes[:SHOWN]) + more


def _worth(facts: BundleFacts) -> list[str]:
    if not (found := facts.corrected):
        return []
    return [
        f"On new images, {_text(found.metric)} {found.figure} is to be expected: what chose it "
        f"among {found.trials:,} trials is corrected for that.",
        *(f"But {_text(line)}." for line in found.copies),
        "",
    ]


def _replicas(facts: BundleFacts) -> list[str]:
    if not (again := facts.replicas):
        return []
    spread = f", standard deviation {again.spread:.4f}" if len(again.seeds) > 1 else ""
    return [
        (
            f"The same configuration under {len(again.seeds)} other seed(s): mean validation "
            f"accuracy {again.mean:.4f}{spread}."
        )
    ]


def _weights(facts: BundleFacts) -> list[str]:
    """Whose the pretrained network in it is, and how an image becomes what it sees."""
    if not (known := facts.weights):
        return []
    return [
        f"- weights: {_code(known.name)} from {_text(known.source)}, licence "
        f"{_text(known.licence or 'unknown')}, SHA-256 {known.sha256}"
    ]


def _text(name: str) -> str:
    """A name on one line of Markdown, shown as it is written: a class may be called ``<b>``."""
    return re.sub(r"([\\`*_\[\]<>&|~])", r"\\\1", " ".join(name.split()))


def _code(text: str) -> str:
    """Text on one line in a fixed-width font, between more backticks than it holds itself."""
    line = " ".join(text.split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    return f"{fence}{line}{fence}" if fence == "`" else f"{fence} {line} {fence}"
