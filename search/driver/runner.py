"""``run`` and ``resume``: a search from plan to report."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from analysis.plan.addresses import check_tracking
from analysis.plan.plan import NO_DATASET, Plan
from analysis.ranking.confusion import display_names, display_order
from analysis.run import provenance
from analysis.run.changing import Change, changed
from analysis.run.directory import RunDirectory, RunError
from analysis.run.identity import read_identity
from analysis.run.notes import note
from analysis.run.records import DataFacts
from analysis.run.trial_files import LABELS
from analysis.run.working_copy import copy_of, place_of
from search.cluster.capacity import NETWORK_CORES, Capacity
from search.cluster.lookahead import Lookahead
from search.cluster.preflight import Probe
from search.cluster.stage_counts import StageCounts
from search.cluster.start import joined_cluster, local_cluster
from search.driver.beginning import (
    check_writable,
    clear_ghost,
    clear_left_behind,
    create,
    named,
    take_lock,
)
from search.driver.mirror import mirrored
from search.driver.networks import (
    find_precision,
    how,
    on_this_machine,
    prepare_images,
    start_warning,
    with_precision,
    with_start,
)
from search.driver.session import Session, Summary
from search.screen.console import SearchConsole
from search.screen.signals import stop_signals
from search.study.combinations import check_combination
from search.study.kept import check_files, check_kept
from spaces.errors import UserError
from trainables.data.source import DataSource, data_source, split_labels
from trainables.data.spec import check_place
from trainables.data.validation import Validation, check_folds
from trainables.io.files import set_aside
from trainables.knn.pipeline import CONFIG_TYPES, validation_stage
from trainables.stages.stage import Stage


def run(
    plan: Plan, runs_dir: Path = Path("runs"), console: Console | None = None, address: str = ""
) -> Summary:
    """Run a new search to its end.

    Args:
        runs_dir: a folder; for a URI, its ``analysis.run.working_copy``.
        address: of a Ray cluster that this machine is a node of
            (``search.cluster.start.joined_cluster``); this machine alone if empty.

    Raises:
        PlanError: if a run of that name is there already, or the plan does not fit the data.
        ClusterError: if the cluster cannot be joined, or a node of it is not fit.
        DatasetError: if the images cannot be read; nothing is left behind then.
        OSError: if the runs directory cannot be written.
    """
    plan = named(with_start(plan).with_side(), runs_dir)
    check_combination(plan)
    check_tracking(plan.tracking, runs_dir)
    if plan.needs_images:
        check_place(plan.dataset)
    check_writable(runs_dir)
    return _search(
        plan, RunDirectory((runs_dir / plan.name).absolute()), console, address, new=True
    )


def resume(
    folder: RunDirectory,
    console: Console | None = None,
    address: str = "",
    change: Change | None = None,
) -> Summary:
    """Go on with a search that stopped, was stopped or was killed.

    Args:
        address: as ``run`` takes it.
        change: of the plan; written once everything has been read and nothing is against it.

    Raises:
        BusyError: if another driver works on it.
        RunError: if its images have changed, or a file of it is missing or damaged that nothing
            else can replace.
        PlanError: if the plan cannot be read, or may not be changed so.
        DatasetError: if the images can no longer be read.
    """
    plan = folder.plan()
    return _search(
        changed(plan, change) if change else plan,
        folder,
        console,
        address,
        new=False,
        change=change,
    )


def _search(
    plan: Plan,
    folder: RunDirectory,
    console: Console | None,
    address: str,
    new: bool,
    change: Change | None = None,
) -> Summary:
    try:
        return _searched(plan, folder, console, address, new, change)
    finally:
        clear_ghost(folder)


def _searched(
    plan: Plan,
    folder: RunDirectory,
    console: Console | None,
    address: str,
    new: bool,
    change: Change | None,
) -> Summary:
    console = console or SearchConsole(stderr=True)
    room = Capacity.of(plan, len(os.sched_getaffinity(0)))
    if not new:
        check_files(folder, plan)
        check_kept(folder, plan)
        try:
            check_tracking(plan.tracking, folder.path.parent)
        except UserError as error:  # of a run that is there already the work goes on
            _say(console, f"warning: MLflow cannot be told of this run: {error}")
    lock = None if new else take_lock(folder)
    clear_left_behind(folder)
    with contextlib.suppress(OSError):
        # an old request; one made from now on is meant for us
        folder.stop_file.unlink(missing_ok=True)
    try:
        reading = f", reading {plan.dataset}" if plan.needs_images else ""
        ray = f"joining Ray at {address}" if address else f"starting Ray on {room.cores} cores"
        _say(console, f"{ray}{reading}")
        say = partial(_say_stopping, console, folder)
        own = {NETWORK_CORES: room.network_cores}
        with ExitStack() as ending:
            stop = ending.enter_context(stop_signals(say))
            if not new:  # from now on other machines know that somebody works on it
                keep = ending.enter_context(mirrored(folder, partial(_say, console)))
            start = (
                joined_cluster(address)
                if address
                else local_cluster(room.cores, partial(_say_lost, console, folder), own)
            )
            ray = ending.enter_context(start)
            stop.listen()  # again: Ray has a handler of its own
            if address:
                plan, room = _on_cluster(plan, folder, partial(_say, console), ending)
            else:
                gpus = ray.cluster_resources().get("GPU", 0.0)
                plan = on_this_machine(plan, gpus)
                room = replace(room, plan=plan, gpus=gpus)
            _ = room.concurrency  # refuses what there is no room for
            precision = find_precision(ray, plan) if new else None
            images = (
                _Images(ray, plan, None if new else _began(folder)) if plan.needs_images else None
            )
            now = (
                images.facts()
                if images
                else DataFacts(spec=NO_DATASET, classes=(), sizes={}, fingerprint="")
            )
            labels = images.validation_labels() if images else None
            plan = with_precision(ray, plan, precision)
            mend: Callable[[], None] = _nothing
            # from here on there is something to leave in order, and soon somebody who does
            stop.at_once, stop.never = False, True
            if lock is None:
                lock = create(folder, plan, now, labels)
            else:
                before = _data_before(folder, now)
                _check_comparable(before, now, folder.name)
                mend = partial(_mend_data, folder, before, now, labels)
            _say_data(console, now)
            if warning := start_warning(plan, folder, now.fingerprint):
                _say(console, f"warning: {warning}")
            if new:
                keep = ending.enter_context(mirrored(folder, partial(_say, console)))
            session = Session(folder, plan, console, keep, mend, change)
            with session.noted():
                stop.never = False
                for line in provenance.note(folder, provenance.facts(plan, now.fingerprint)):
                    _say(console, f"warning: since this run's last session {line}")
                shared = {"seed": plan.seed, "joined": bool(address)}
                if images:
                    shared |= images.shared(folder, plan, room.cores, bool(address))
                watched = (images.counts.line, images.lookahead) if images else (str, None)
                session.run(shared, now.fingerprint, room, stop.asked, *watched)
                if images:
                    _say(console, images.counts.line(wait=10.0))
                return session.finish()
    finally:
        if lock is not None:
            os.close(lock)


def _on_cluster(
    plan: Plan, folder: RunDirectory, say: Callable[[str], None], ending: ExitStack
) -> tuple[Plan, Capacity]:
    """The plan and its room on the nodes of a cluster, each asked whether it is fit."""
    from search.cluster.growing import ClusterCapacity
    from search.cluster.nodes import Fleet

    probe = Probe(place_of(folder.path.parent), plan.trains)
    ending.callback(probe.close)
    fleet = Fleet(probe, say)
    fleet.board()
    there = fleet.resources()
    cores, gpus = (sum(node.get(name, 0.0) for node in there) for name in ("CPU", "GPU"))
    say(
        f"{len(there)} nodes, {cores:g} CPU and {gpus:g} GPU in all; each has the same software "
        "and the same storage"
    )
    plan = on_this_machine(plan, gpus)
    return plan, ClusterCapacity(plan, max(1, int(cores)), gpus, fleet.resources)


class _Images:
    """The dataset on Ray: read by a task, so that Ray can read it again, and the registry of stages
    made from it.
    """

    def __init__(self, ray: Any, plan: Plan, began: DataFacts | None) -> None:
        from trainables.data import read_dataset

        self._ray = ray
        options = plan.read_options()
        options = began.as_read(options) if began else options
        self._ref = ray.remote(read_dataset).options(max_retries=2).remote(plan.dataset, options)
        source = ray.remote(data_source).remote(self._ref, options)
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
        self._spec = plan.dataset
        self._validation: Validation = plan.validation_for(self._source.sizes)
        check_folds(self._validation, self._source.largest_class, plan.dataset)
        display_order(self._source.classes, plan.class_order)
        display_names(self._source.classes, plan.abbreviations)

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
        )

    def validation_labels(self) -> npt.NDArray[np.int64]:
        """(n,) true classes of the images that configurations are compared on."""
        labels: npt.NDArray[np.int64] = self._ray.get(self._labels[self._validation.split])
        return labels

    def shared(self, folder: RunDirectory, plan: Plan, cores: int, joined: bool) -> dict[str, Any]:
        """What every trial's config holds; makes the registry of stages that it names, on the
        driver's own node.
        """
        from trainables.stages.cache import stage_cache
        from trainables.stages.registry import LARGE_SHARE, NAMESPACE, PARTS_A_CORE, StageRegistry

        # a working copy is of this machine, and stages are made on all of them
        alone = joined and copy_of(folder.path.parent)
        name, cache = (
            f"stages-{folder.identity()}",
            stage_cache(folder.path.parent, 0.0 if alone else plan.cache_gib),
        )
        here = self._ray.get_runtime_context().get_node_id()
        strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            here, soft=True
        )
        options = {"name": name, "namespace": NAMESPACE, "scheduling_strategy": strategy}
        large_bytes = LARGE_SHARE * self._ray.cluster_resources()["object_store_memory"]
        registry = StageRegistry.options(**options).remote(PARTS_A_CORE * cores, cache, large_bytes)  # type: ignore[attr-defined]
        self.counts = StageCounts(self._ray, registry)
        known = {self._source.stage: self._ref} | {
            self._source.labels(split): ref for split, ref in self._labels.items()
        }
        self._ray.get([registry.adopt.remote(stage, [ref]) for stage, ref in known.items()])
        self._registry, self._seed = registry, plan.seed
        shared = {"registry": name, "data": self._source, "validation": self._validation}
        if plan.trains:
            prepare_images(self._ray, registry, self._source, plan.training.image_size)
            shared["how"] = how(plan, folder)
        return shared

    def lookahead(self, space: str, coming: Iterator[dict[str, Any]], depth: int) -> Lookahead:
        """What makes the stages of coming configurations; not before ``shared``."""

        def stage(config: dict[str, Any]) -> Stage:
            return validation_stage(
                CONFIG_TYPES[space](**config), self._source, self._validation, self._seed
            )

        return Lookahead(
            coming,
            lambda config: stage(config).digest,
            lambda config: self._registry.prepare.remote(stage(config)),
            depth,
        )


def _say(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)


def _say_lost(console: Console, folder: RunDirectory, what: str) -> None:
    _say(
        console,
        f"visiontune: {what} died, and the search cannot go on without it; go on with "
        f"visiontune resume {folder.name}",
    )


def _say_stopping(console: Console, folder: RunDirectory, name: str) -> None:
    _say(console, f"{name}: stopping; what runs now goes on with visiontune resume {folder.name}")


def _nothing() -> None:
    """There is nothing to be mended."""


def _began(folder: RunDirectory) -> DataFacts | None:
    """What was known of the images when the run began; None where that is lost, of which
    ``_data_before`` speaks.
    """
    with contextlib.suppress(RunError):
        return folder.data()
    return None


def _data_before(folder: RunDirectory, now: DataFacts) -> DataFacts:
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


def _mend_data(
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
    there = folder.validation_labels()
    if labels is not None and (there is None or not np.array_equal(there, labels)):
        path = folder.path / LABELS
        if path.is_symlink() or path.is_dir():
            set_aside(path)
        folder.write_validation_labels(labels)
        note(f"{path}: written again from the images")


def _check_comparable(before: DataFacts, now: DataFacts, name: str) -> None:
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


def _say_data(console: Console, facts: DataFacts) -> None:
    if facts.spec == NO_DATASET:
        return
    sizes = ", ".join(f"{size:,} {name}" for name, size in facts.sizes.items())
    console.print(f"{len(facts.classes)} classes; images: {sizes}", highlight=False)
    if facts.skipped:
        _say(
            console,
            f"skipped {len(facts.skipped)} unreadable files, first {facts.skipped[0]}; all are "
            "in data.json",
        )
    for line in facts.notes:
        _say(console, line)
