"""The images of a search: read on Ray, and compared with those that the run began with."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.plan.plan import Plan
from analysis.ranking.confusion import display_names, display_order
from analysis.run import provenance
from analysis.run.directory import RunDirectory, RunError
from analysis.run.identity import read_identity
from analysis.run.notes import note
from analysis.run.records import DataFacts
from analysis.run.sealed import sealed, unsealed
from analysis.run.trial_files import LABELS
from analysis.run.working_copy import copy_of
from search.cluster.capacity import Capacity
from search.cluster.stages_ahead import Lookahead, StageCounts
from search.driver.networks import prepare
from search.ledger.identity import renew_digests
from spaces.errors import DatasetError, UserError, shown
from trainables.audit.look import Glance, glance_at
from trainables.data.fetched import own_place
from trainables.data.source import DataSource, data_source, split_labels
from trainables.data.spec import reader_of
from trainables.data.validation import Validation, check_folds
from trainables.io.files import set_aside, write_whole
from trainables.learners import LEARNERS, Shared
from trainables.stages.cache import shards_folder
from trainables.stages.stage import Stage

MINDS_CLASSES = ("balanced_accuracy", "macro_f1")
"""Objectives that unbalanced classes do not mislead."""


def kept_glance(path: Path) -> Glance | None:
    """What an earlier search saw of the same images; None where none did, or it cannot be read."""
    try:
        seen = unsealed(path.read_bytes(), path)
        said = tuple((str(kind), str(line)) for kind, line in seen["said"])
        return Glance(said, tuple(map(str, seen["unseen"])))
    except (OSError, ValueError, TypeError, KeyError, UserError):
        return None


def shards_of(runs_dir: Path, joined: bool) -> Path:
    """Where images are packed that memory should not hold: beside the runs, or where each node of a
    cluster keeps copies, if that folder is of this machine alone.
    """
    if joined and copy_of(runs_dir):
        return own_place() / "shards"
    return shards_folder(runs_dir)


class Images:
    """The dataset on Ray: read by a task, so that Ray can read it again, and the registry of stages
    made from it.
    """

    def __init__(self, ray: Any, plan: Plan, began: DataFacts | None, shards: Path) -> None:
        from search.cluster.nodes import read_on_all_nodes

        self._ray = ray
        options = replace(plan.read_options(), shards=str(shards))
        options = began.as_read(options) if began else options
        read = ray.remote(read_on_all_nodes).options(max_retries=2)
        self._ref = read.remote(plan.dataset, options)
        source = ray.remote(data_source).remote(self._ref, options, plan.parts)
        try:
            self._source: DataSource = ray.get(source)
        except ray.exceptions.RayTaskError as error:
            raise (error.cause if isinstance(error.cause, ValueError) else error) from None
        labels = ray.remote(split_labels)  # of all splits at once, while no core is busy yet
        self._labels = {
            split: labels.remote(self._ref, split=split)
            for split in self._source.sizes
            if split != "test"
        }
        self._spec, self._options, self._audit = plan.dataset, options, plan.audit
        # copies in the test are told when images are read; whose objective minds the classes is
        # not misled by their sizes
        told = {"copies-across"} if plan.audit == "warn" else set()
        told |= {"orientation"} if plan.orientation == "exif" else set()
        self._told_otherwise = told | ({"imbalance"} if plan.objective in MINDS_CLASSES else set())
        self._validation: Validation = plan.validation_for(self._source.sizes)
        most, groups = self._source.largest_class, self._source.groups
        check_folds(self._validation, most, plan.dataset, groups)
        display_order(self._source.classes, plan.class_order)
        display_names(self._source.classes, plan.abbreviations)

    @property
    def shorter(self) -> int:
        """Median of the training images' shorter sides, pixels."""
        return self._source.shorter

    def facts(self) -> DataFacts:
        source = self._source
        return DataFacts(
            spec=self._spec,
            classes=source.classes,
            sizes=source.sizes,
            fingerprint=source.fingerprint,
            skipped=source.skipped,
            rule=source.rule,
            notes=source.notes,
            square=source.square,
        )

    def glance(self, runs_dir: Path) -> Iterator[str]:
        """What there is to be said of the images before they are searched, a line each.

        Raises:
            DatasetError: where the plan refuses images of which there is something to be said.
        """
        if self._audit == "off" or reader_of(self._spec)[0].ours:
            return
        name = hashlib.sha256(repr((self._source.fingerprint, self._validation)).encode())
        kept = runs_dir / ".cache" / "looks" / f"{name.hexdigest()[:32]}.json"
        glance = kept_glance(kept)
        if glance is None:
            look = self._ray.remote(glance_at).remote(self._ref, self._options, self._validation)
            glance = self._ray.get(look)
            with contextlib.suppress(OSError):
                write_whole(kept, sealed({"said": glance.said, "unseen": glance.unseen}))
        lines = [line for kind, line in glance.said if kind not in self._told_otherwise]
        if lines and self._audit == "refuse":
            more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
            raise DatasetError(
                f"{self._spec}: {lines[0]}{more}; visiontune check shows all of it; mend it, or "
                "give --audit warn"
            )
        yield from (f"warning: {shown(line)}" for line in lines)
        if lines:
            yield f"visiontune check {self._spec} --out check.html shows these images"
        yield from glance.unseen

    def validation_labels(self) -> npt.NDArray[np.int64]:
        """(n,) true classes of the images that configurations are compared on."""
        labels: npt.NDArray[np.int64] = self._ray.get(self._labels[self._validation.split])
        return labels

    def shared(
        self,
        folder: RunDirectory,
        plan: Plan,
        room: Capacity,
        device: str,
        shared: Shared,
        there: dict[Stage, Any],
    ) -> Shared:
        """``shared`` with the images; makes the registry of stages that it names, on the driver's
        own node.

        Args:
            device: where stages compute that can do so on a GPU.
            there: references to results that exist already.
        """
        from trainables.stages.cache import stage_cache
        from trainables.stages.registry import (
            LARGE_SHARE,
            NAMESPACE,
            PARTS_A_CORE,
            QUICK_STAGES,
            StageRegistry,
        )

        # a working copy is of this machine, and stages are made on all of them
        alone = shared.joined and copy_of(folder.path.parent)
        name, cache = (
            f"stages-{folder.identity()}",
            stage_cache(folder.path.parent, 0.0 if alone else plan.cache_gib),
        )
        here = self._ray.get_runtime_context().get_node_id()
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            here, soft=True
        )
        options = {"name": name, "namespace": NAMESPACE, "scheduling_strategy": strategy}
        offered = self._ray.cluster_resources()
        large_bytes, apart = LARGE_SHARE * offered["object_store_memory"], QUICK_STAGES in offered
        registry = StageRegistry.options(**options).remote(  # type: ignore[attr-defined]
            PARTS_A_CORE * room.cores, cache, large_bytes, max(1, int(room.gpus)), apart
        )
        self._source = replace(self._source, device=device)
        self.counts = StageCounts(self._ray, registry)
        labels = {self._source.labels(split): ref for split, ref in self._labels.items()}
        known = {self._source.stage: self._ref} | labels | there
        self._ray.get([registry.adopt.remote(stage, [ref]) for stage, ref in known.items()])
        self._registry = registry
        self._shared = replace(
            shared, registry=name, data=self._source, validation=self._validation
        )
        prepare(self._ray, registry, plan, self._shared)
        return self._shared

    def lookahead(
        self, space: str, coming: Iterator[dict[str, Any]], depth: int
    ) -> Lookahead | None:
        """What makes the stages of coming configurations; not before ``shared``. None for a space
        whose trials share no work.
        """
        work = LEARNERS[space].work
        if work is None:
            return None
        stage = partial(work, self._shared)
        return Lookahead(
            coming,
            lambda config: stage(config).digest,
            lambda config: self._registry.prepare.remote(stage(config)),
            depth,
        )


def facts_when_begun(folder: RunDirectory) -> DataFacts | None:
    """What was known of the images when the run began; None if that file is lost:
    ``facts_before`` then takes what is known now.
    """
    with contextlib.suppress(RunError):
        return folder.data()
    return None


def facts_before(folder: RunDirectory, now: DataFacts) -> DataFacts:
    """What was known of the images when the run began; where that is lost, what is known now, if
    they are the same.

    Raises:
        RunError: if nobody can tell whether they are.
    """
    try:
        return folder.data()
    except RunError as error:
        known, last = read_identity(folder.path), provenance.sessions(folder)[-1:]
        written = hashlib.sha256(now.model_dump_json(indent=1).encode()).hexdigest()
        if (known and known.sha256s.get("data.json") == written) or (
            last and last[0]["data"] == now.fingerprint
        ):
            note(f"{error}; it is written again from the images, which are as they were")
            return now
        raise RunError(
            f"{error}; they are not, or nothing says it, so what was found could not be "
            "compared: start a new run"
        ) from None


def mend_images(
    folder: RunDirectory, before: DataFacts, now: DataFacts, labels: npt.NDArray[np.int64] | None
) -> None:
    """Write data.json and val_labels.npy again where they are missing or damaged, from images that
    are as they were.
    """
    if before.fingerprint != now.fingerprint:
        return
    path = folder.path / "data.json"
    if before is now:
        if path.is_symlink() or path.is_dir():
            set_aside(path)
        folder.write_data(now)
        renew_digests(folder)
    there = folder.validation_labels()
    if labels is not None and (there is None or not np.array_equal(there, labels)):
        path = folder.path / LABELS
        if path.is_symlink() or path.is_dir():
            set_aside(path)
        folder.write_validation_labels(labels)
        renew_digests(folder)
        note(f"{path}: written again from the images")


def check_comparable(before: DataFacts, now: DataFacts, name: str) -> None:
    """Refuse images whose results could not stand beside the earlier ones: other classes, or
    another number of them.
    """
    if (before.classes, before.sizes) != (now.classes, now.sizes):
        raise RunError(
            f"{before.spec} is not what it was when run {name} began ({len(before.classes)} "
            f"classes, {before.sizes} images then, "
            f"{len(now.classes)} classes, {now.sizes} now), so results could not be compared; "
            "put the images back, or start a new run"
        )
