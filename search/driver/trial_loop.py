"""The trials of one source, run on Ray until there are no more or somebody asks to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from analysis.plan.plan import Plan
from analysis.run.directory import RunDirectory
from analysis.run.working_copy import place_of
from search.cluster.capacity import Capacity
from search.cluster.stages_ahead import Lookahead
from search.ledger.kept_checkpoints import checkpoints, end_parts
from search.ledger.trial_source import Proposal, TrialSource
from trainables.io.remote import join_place
from trainables.learners import LEARNERS, Assignment, Shared


@dataclass
class TrialLoop:
    """What the trials of a session share, whichever source they are of.

    Attributes:
        run: the search, to which requests to stop are made.
        shared: what every trial is given.
        capacity: how many trials there is room for.
        asked: signals that asked to stop; filled while it runs.
        session: of the run: a trial that goes on does so in another folder than before.
    """

    run: RunDirectory
    plan: Plan
    shared: Shared
    capacity: Capacity
    asked: list[str]
    session: int

    def go_by(self, plan: Plan) -> None:
        """Take up what a plan that was changed says of trials at once, and of how long one may
        take.
        """
        self.plan = self.plan.model_copy(update={"limits": plan.limits})
        room = self.capacity.plan.model_copy(update={"concurrency": plan.concurrency})
        self.capacity = replace(self.capacity, plan=room)

    def __call__(
        self,
        source: TrialSource,
        folder: RunDirectory,
        redraw: Callable[[], object],
        first: int = 0,
        lookaheads: Mapping[str, Lookahead] | None = None,
    ) -> str:
        """Run the trials of ``source``; returns why it stopped early, if it did.

        Args:
            folder: where they lie.
            redraw: called again and again meanwhile.
            first: trials whose workers wait for each other at the beginning.
            lookaheads: of spaces whose trials share their work.

        Raises:
            Exception: whatever kept the source from writing down what came out (a full disk, say).
        """
        from search.cluster.tune_adapters import Bridge, run_tune
        from trainables.worker import SearchTrial

        place, gated = place_of(folder.path), list[int]()
        joined = self.shared.joined
        if joined or not self.capacity.alike:
            first = 0  # no worker goes from a trial of one kind to one of another

        spaces = self.plan.search_spaces()

        def left_of(space: str, number: int) -> tuple[str, ...]:
            return tuple(checkpoints(folder, space, number)) if spaces[space].stepwise else ()

        def end_of(space: str, number: int | None) -> str:
            return "" if number is None else join_place(place, *end_parts(space, number))

        def assign(trial: Proposal) -> Assignment:
            if lookaheads and trial.space in lookaheads:
                lookaheads[trial.space].reached(trial.config)
            gate = None
            if len(gated) < first:
                gated.append(trial.number)
                gate = (str(self.run.path / "tune" / f"gate-{self.session}"), first)
            return LEARNERS[trial.space].assign(
                self.shared,
                place,
                trial.number,
                trial.config,
                self.session,
                seed=trial.seed,
                restore=left_of(*trial.key) if trial.goes_on else (),
                before=trial.before,
                goes_from=end_of(trial.space, trial.parent),
                until=trial.until,
                leaves=end_of(trial.space, trial.number if trial.leaves else None),
                gate=gate,
            )

        # Tune pickles it, and a cluster's capacity knows its nodes
        asks = {name: self.capacity.asks(name) for name in self.plan.spaces}
        bridge = Bridge(
            source,
            assign,
            lambda: bool(self._stop_asked()),
            lambda: self.plan.limits.trial_seconds,
            lambda: self.capacity.now(),
            left_of,
        )
        run_tune(
            SearchTrial,
            bridge,
            redraw,
            resources=lambda trial: asks[trial.space],
            concurrency=self.capacity.most,
            joined=joined,
            alike=self.capacity.alike,
            place=place,
            session=self.session,
        )
        if bridge.error:
            raise bridge.error
        return self._stop_asked()

    def _stop_asked(self) -> str:
        """Who asked to stop; empty if nobody did."""
        if self.asked:
            return f"asked by {self.asked[0]}"
        return "asked by visiontune stop" if self.run.stop_file.exists() else ""
