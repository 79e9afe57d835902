"""``run`` and ``resume``: a search from plan to report."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from analysis.plan.addresses import check_tracking
from analysis.plan.plan import Plan
from analysis.plan.settings import NO_DATASET
from analysis.run import provenance
from analysis.run.changing import Change, changed
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts
from analysis.run.working_copy import place_of
from search.cluster.capacity import NETWORK_CORES, Capacity
from search.cluster.preflight import Probe
from search.cluster.start import joined_cluster, local_cluster
from search.driver.beginning import (
    check_writable,
    clear_ghost,
    clear_left_behind,
    create,
    named,
    take_lock,
)
from search.driver.images import (
    Images,
    check_comparable,
    facts_before,
    facts_when_begun,
    mend_images,
    shards_of,
)
from search.driver.mirror import mirrored
from search.driver.networks import (
    find_precision,
    on_this_machine,
    stage_device,
    start_warning,
    training_settings,
    with_precision,
    with_start,
)
from search.driver.session import Session
from search.driver.warm_start import find_sources, take
from search.driver.weights import Backbones, with_weights
from search.ledger.status import Summary
from search.screen.console import SearchConsole
from search.screen.signals import ended_in_time, stop_signals
from search.study.combinations import check_combination
from search.study.kept import check_files, check_kept
from spaces.errors import UserError
from trainables.data.spec import check_place
from trainables.learners import Shared
from trainables.stages.registry import QUICK_STAGES


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
    plan = named(with_start(plan).with_side(), runs_dir).model_copy(update={"changes": ()})
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
    sources = find_sources(plan, folder.path.parent) if new else []
    room = Capacity.of(plan, len(os.sched_getaffinity(0)))
    plan, places = with_weights(plan, f"run {folder.name} began", partial(_say, console))
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
        say = partial(_say_stopping, console, folder)
        own = {NETWORK_CORES: room.network_cores, QUICK_STAGES: room.stage_cores}
        with ExitStack() as ending:
            stop = ending.enter_context(stop_signals(say))
            begun = ending.enter_context(ended_in_time())
            _say(console, f"{ray}{reading}")
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
            began = None if new else facts_when_begun(folder)
            backbones = Backbones(ray, plan, places)
            shards = shards_of(folder.path.parent, bool(address))
            images = Images(ray, plan, began, shards) if plan.needs_images else None
            now = (
                images.facts()
                if images
                else DataFacts(spec=NO_DATASET, classes=(), sizes={}, fingerprint="")
            )
            labels = images.validation_labels() if images else None
            if images and new:
                seen = tuple(images.glance(folder.path.parent))
                now = now.model_copy(update={"notes": (*now.notes, *seen)})
            plan = with_precision(ray, plan, precision)
            plan, of_size = plan.with_size(images.shorter) if images else (plan, ())
            known = backbones.known()
            mend: Callable[[], None] = _nothing
            # from here on there is something to leave in order, and soon somebody who does
            stop.make()
            begun()
            if lock is None:
                earlier = take(plan, sources, now, labels, partial(_say, console))
                lock = create(folder, plan, now, labels, earlier)
            else:
                before = facts_before(folder, now)
                check_comparable(before, now, folder.name)
                mend = partial(mend_images, folder, before, now, labels)
            _say_data(console, now)
            for line in of_size:
                _say(console, line)
            if warning := start_warning(plan, folder, now.fingerprint):
                _say(console, f"warning: {warning}")
            if new:
                keep = ending.enter_context(mirrored(folder, partial(_say, console)))
            session = Session(folder, plan, console, keep, mend, change)
            with session.noted():
                stop.never = False
                for line in provenance.note(folder, provenance.facts(plan, now.fingerprint)):
                    _say(console, f"warning: since this run's last session {line}")
                shared = Shared(
                    seed=plan.seed,
                    joined=bool(address),
                    training=training_settings(plan, folder),
                    weights=plan.weights,
                )
                if images:
                    device = stage_device(ray, plan, room.gpus, partial(_say, console))
                    shared = images.shared(folder, plan, room, device, shared, known)
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

    imports = [name for learner in plan.learners for name in learner.imports]
    probe = Probe(place_of(folder.path.parent), imports, plan.uses_gpus)
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
