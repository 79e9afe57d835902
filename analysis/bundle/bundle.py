"""The export bundle: a folder that holds everything needed to classify an image, and no code.

    bundle.json         format, kind, config, classes, preprocessing, metrics with their split and
    n,
                        seed, versions, dataset, source trial, and the model file's SHA-256
    model.safetensors   arrays: see ``analysis.bundle.knn`` and ``analysis.bundle.cnn``

Nothing in a bundle is executed: JSON and safetensors hold data only.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from pydantic import ValidationError
from safetensors import SafetensorError

from analysis.bundle.classifier import CLASSIFIERS, ENSEMBLE, Calibrated, Model
from analysis.bundle.facts import FORMAT, BundleError, BundleFacts, as_written, write_facts
from spaces import get_space, plugins
from spaces.errors import echo, on_one_line, shown
from spaces.plugin_source import PluginError
from trainables.io.files import TEMPORARY, write_whole
from trainables.learners import LEARNERS


def write_bundle(folder: Path, model: Model, unfinished: bool = False) -> None:
    """Write bundle.json and model.safetensors; ``unfinished`` where more is to be done before
    anybody may use them.
    """
    content = model.content()
    write_whole(folder / "model.safetensors", content)
    write_facts(
        folder,
        model.facts.model_copy(
            update={"model_sha256": hashlib.sha256(content).hexdigest(), "unfinished": unfinished}
        ),
    )


def read_facts(folder: Path) -> BundleFacts:
    """What bundle.json in ``folder`` says, with its configuration checked.

    Raises:
        BundleError: with the reason why it cannot be trusted or read.
    """
    facts, content = _facts(folder)
    _check_digest(folder, facts, content)
    return facts


def _facts(folder: Path) -> tuple[BundleFacts, bytes]:
    """bundle.json, read and as it stands; its digest is left to be compared last, so that what is
    plainly wrong is named first.
    """
    if not (folder / "bundle.json").is_file():
        raise BundleError(
            f"{folder}: no bundle here (no bundle.json); make one with visiontune export RUN "
            "--out DIR"
        )
    try:
        content = (folder / "bundle.json").read_bytes()
        raw = json.loads(content)
        if isinstance(raw, dict) and raw.get("format") != FORMAT:
            got = echo(raw.get("format"))
            raise BundleError(
                f"{folder / 'bundle.json'}: bundle format must be {FORMAT}, but got {got}; use the "
                "visiontune that wrote it"
            )
        facts = BundleFacts.model_validate(raw)
        plugins.need(facts.plugins, f"bundle {shown(folder)}")
        if facts.kind != ENSEMBLE:
            facts = facts.model_copy(update={"config": get_space(facts.space).check(facts.config)})
    except (ValidationError, ValueError, RecursionError, OSError) as error:
        if isinstance(error, BundleError | PluginError):
            raise
        raise BundleError(
            f"{folder}: not a whole bundle (bundle.json: {on_one_line(error)})"
        ) from error
    if len(set(facts.classes)) != len(facts.classes):
        raise BundleError(f"{folder}: bundle.json names a class twice")
    kind = ENSEMBLE if facts.kind == ENSEMBLE == facts.space else LEARNERS[facts.space].classifier
    if facts.kind not in CLASSIFIERS or facts.kind != kind:
        raise BundleError(f"{folder}: bundle.json calls space {facts.space} a {echo(facts.kind)}")
    return facts, content


def _check_digest(folder: Path, facts: BundleFacts, content: bytes) -> None:
    if not as_written(content, facts):
        raise BundleError(
            f"{folder}: bundle.json is not the file that was exported (SHA-256 differs); export "
            "it again"
        )


def read_bundle(folder: Path, whole: bool = True) -> Model:
    """The model in ``folder``, checked against what bundle.json says of it.

    Args:
        whole: refuse one whose export has not come to its end.

    Raises:
        BundleError: with the reason why it cannot be trusted or read.
    """
    facts, manifest = _facts(folder)
    if whole and (facts.unfinished or TEMPORARY.fullmatch(folder.absolute().name)):
        raise BundleError(
            f"{folder}: no bundle, but what an export that was killed has left; remove it, and "
            "export again"
        )
    model = _model(folder, facts)
    _check_digest(folder, facts, manifest)
    return Calibrated(model) if facts.calibration else model


def _model(folder: Path, facts: BundleFacts) -> Model:
    try:
        content = (folder / "model.safetensors").read_bytes()
        if hashlib.sha256(content).hexdigest() != facts.model_sha256:
            raise BundleError(
                f"{folder}: model.safetensors is not the file that was exported (SHA-256 "
                "differs); export it again"
            )
        return CLASSIFIERS[facts.kind].read(folder, facts, content)
    except (ValueError, RecursionError, OSError, SafetensorError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(
            f"{folder}: not a whole bundle (model.safetensors: {on_one_line(error)})"
        ) from error
