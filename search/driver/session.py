"""One driver's life on one run: from a locked run directory to a written report."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console

from analysis.plan.plan import Plan
from analysis.ranking.history import running_seconds
from analysis.ranking.leaderboard import ranked
from analysis.run.changing import Change, change_plan
from analysis.run.directory import RunDirectory, RunError
from analysis.run.notes import note, taken
from search.cluster.capacity import Capacity
from search.cluster.stages_ahead import Lookahead
from search.driver.beginning import is_gone
from search.driver.driver_log import log_to
from search.driver.trial_loop import TrialLoop
from search.ledger.kept_checkpoints import clear_checkpoints
from search.ledger.ledger import Ledger
from search.ledger.replicas import Replicas
from search.ledger.status import Summary, best_of
from search.sampling.population import Explore
from search.screen.progress import ProgressLine
from search.tracking.sender import Sender
from search.tracking.tracked_facts import best_metrics, run_fact
from search.tracking.tracker import Tracker
from spaces.errors import UserError
from trainables.io.files import set_aside, write_whole
from trainables.io.refused import told
from trainables.learners import Shared

logger = logging.getLogger("visiontune.session")
NOTE_EVERY = 0.5
"""Seconds between two looks at what other terminals ask, and two notes in state.json for
``status``.
"""
WHILE_IT_RUNS = ("trials", "limits", "concurrency", "narrowed", "changes")
"""Settings that a driver takes up while it runs."""
Ahead = Callable[[str, Iterator[dict[str, Any]], int], Lookahead | None]
"""Makes what prepares the coming configurations of a space, if its trials share their work: space,
configurations, depth.
"""


class Session:
    """Runs the trials that a run still lacks. The caller holds the run's lock.

    Args:
        folder: the run directory; plan and facts are in it.
        plan: as read from it.
        console: where progress is shown.
        keep: called when all is written, and before MLflow is told the rest of it.
        mend: writes again what was found damaged; called once everything has been read.
        change: what of the plan is other than in the folder; written there once everything has been
            read.

    Raises:
        UserError: if the run cannot be gone on with; nothing has been written then but what mends
            it.
    """

    def __init__(
        self,
        folder: RunDirectory,
        plan: Plan,
        console: Console,
        keep: Callable[[], None] = lambda: None,
        mend: Callable[[], None] = lambda: None,
        change: Change | None = None,
    ) -> None:
        self._keep = keep
        self._folder = folder
        self._plan = plan
        self._console = console
        before = folder.state()
        news = {
            "state": "running",
            "reason": "",
            "pid": os.getpid(),
            "node": platform.node(),
            "session": before.session + 1,
        }
        self._seconds_before = before.seconds or running_seconds(folder.records())
        self._began = time.monotonic()
        self._noted = 0.0
        self._loop: TrialLoop | None = None
        self._tell: Callable[[], None] = lambda: None
        self._changes = len(folder.plan().changes)
        explore: Explore | None = None
        if plan.population:
            from search.cluster.ray_internals import explored as explore  # Ray is there by now
        self._ledger = Ledger(folder, plan, self.seconds, self._say, mend, explore)
        if change:
            self._go_by(change_plan(folder, change), "goes on as it is asked to now")
        self._plan_time = 0  # it may have been changed since it was read
        self._state = before.model_copy(update={**news, "study": folder.identity()})
        for path in (folder.state_file, folder.log_file):
            if path.is_symlink() or (path.exists() and not path.is_file()):
                note(f"{path}: no file; moved to {set_aside(path)}")
        folder.write_state(self._state)
        log_to(folder.log_file)
        self._say_notes()
        self._tracker = (
            Tracker(Sender(folder, plan.tracking), self._say) if plan.tracking.enabled else None
        )

    def seconds(self) -> float:
        """Of all sessions of this run so far."""
        return self._seconds_before + time.monotonic() - self._began

    @contextlib.contextmanager
    def noted(self) -> Iterator[None]:
        """For all that is done with a session: note how the search ended, also if it is by an
        exception.
        """
        try:
            yield
        except BaseException as error:
            if self._gone():
                raise self._gone_error() from error
            if self._state.state == "running":
                self._state.state = "stopped" if isinstance(error, KeyboardInterrupt) else "failed"
                self._state.reason = (
                    "interrupted" if isinstance(error, KeyboardInterrupt) else told(error)
                )
            # the disk may be what failed; the first error is the one to tell
            with contextlib.suppress(OSError, UserError):
                self._note()
                self._ledger.outbox.append(
                    {"kind": "end", "time": time.time(), "state": self._state.state, "metrics": {}}
                )
            if self._tracker and self._tracker.is_alive():
                self._tracker.close(0.0)
            raise

    def run(
        self,
        shared: Shared,
        fingerprint: str,
        capacity: Capacity,
        asked: list[str],
        more: Callable[[], str] = str,
        ahead: Ahead | None = None,
    ) -> None:
        """Run trials until there are enough, or until somebody asks to stop.

        Args:
            shared: what every trial is given.
            fingerprint: of the dataset.
            capacity: how many trials there is room for.
            asked: signals that asked to stop; filled while it runs.
            more: what else the progress line is to say.
            ahead: for spaces whose trials share their work.

        Raises:
            Exception: whatever kept the search from writing down what came out (a full disk, say).
        """
        gpus = capacity.gpus
        self._tell = lambda: self._ledger.outbox.append(
            run_fact(self._folder, self._plan, fingerprint, gpus)
        )
        self._tell()
        self._take_news()  # what was asked while no driver was there comes first
        if self._tracker:
            self._tracker.start()
        plan, session = self._plan, self._state.session
        loop = self._loop = TrialLoop(self._folder, plan, shared, capacity, asked, session)
        while True:
            with ProgressLine(
                self._ledger, plan.objective, self.seconds, self._console, more
            ) as progress:
                reason = self._run_trials(loop, progress, ahead)
            ending, cut_short = self._ledger.ending, ""
            if ending is None or ending.gave_up or reason:
                break
            if ending.at_once:
                self._ledger.settle(ending.reason)
            before = self._changes
            cut_short = self._replicate(loop)
            self._take_news()
            if self._changes == before:
                self._ledger.ending = ending  # limits were looked at meanwhile
            if cut_short or self._ledger.ending is not None:
                break  # else more was asked for
        ending = self._ledger.ending
        finished = self._ledger.finished_reason
        self._state.state = "stopped"
        if finished and ending is not None and not cut_short:
            self._state.state = (
                "failed" if ending.gave_up or not self._ledger.tally.done else "finished"
            )
        self._state.reason = cut_short or finished or reason
        self._note()  # from now on nothing is taken up

    def _run_trials(self, loop: TrialLoop, progress: ProgressLine, ahead: Ahead | None) -> str:
        """Run the search's own trials; returns why it stopped early, if it did."""
        concurrency, ledger = loop.capacity.concurrency, self._ledger
        lookaheads = {
            name: found
            for name in self._plan.spaces
            if ahead and (found := ahead(name, ledger.coming(name), 2 * concurrency))
        }
        for lookahead in lookaheads.values():
            # Tune and its first workers need seconds before they ask for anything
            lookahead.begin()

        def redraw() -> None:
            progress.redraw()
            if self._look_in_time():
                # which looks after the nodes of a cluster, also while no more trials are proposed
                loop.capacity.now()

        one, left = self._plan.population, ledger.plan.trials - ledger.tally.done
        first = min(concurrency, left, one.members if one else left)  # a generation at a time
        return loop(ledger, self._folder, redraw, first, lookaheads)

    def _replicate(self, loop: TrialLoop) -> str:
        """Run the best trials again with other seeds, if the plan wants it; returns why that
        stopped early, if it did.
        """
        folder, plan = self._folder, self._plan
        if plan.replicate is None:
            return ""
        jobs = Replicas(
            folder, plan.replicate, plan.objective, plan.seed, self._ledger.outbox, self._say
        )
        if jobs.left:
            top, seeds = plan.replicate.top, plan.replicate.seeds
            self._say(f"running the best {top} again with {seeds} other seeds")
            loop.shared = loop.shared.at_once()
            if reason := loop(jobs, folder.replicas, self._look_in_time):
                return f"{reason}, before all of the best had run again"
            jobs.clear()
        self._ledger.tally.best = next(iter(ranked(folder.records(), plan.objective)), None)
        return ""

    def _say_notes(self) -> None:
        for line in taken():
            self._say(f"warning: {line}")

    def _say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def _look_in_time(self) -> bool:
        """Now and then, take up what is asked and say how things stand; whether it did."""
        if time.monotonic() - self._noted <= NOTE_EVERY:
            return False
        self._take_news()
        self._note()
        return True

    def _gone(self) -> bool:
        """Whether somebody has deleted or moved the run's directory."""
        return is_gone(self._folder)

    def _gone_error(self) -> RunError:
        if self._tracker:
            self._tracker.close(0.0)
        return RunError(
            f"{self._folder.path} is gone: it was deleted or moved while the search ran, which "
            "ends here"
        )

    def _take_news(self) -> None:
        """Do what other terminals asked: more trials (in the plan), configurations to try, the time
        limit.
        """
        if self._gone():
            raise self._gone_error()
        if not self._folder.plan_file.exists():
            write_whole(self._folder.plan_file, self._plan.to_yaml(), within=self._folder.path)
            self._say(f"warning: {self._folder.plan_file} was gone, and is written again")
        changed = self._folder.plan_file.stat().st_mtime_ns
        if changed != self._plan_time:
            self._plan_time = changed
            try:
                self._go_by(self._folder.plan(), "asked from another terminal")
            except UserError as error:  # somebody writes in it by hand
                self._say(f"warning: {error}; the search goes on as it was asked to before")
        self._ledger.take_requests()
        self._ledger.look()
        self._say_notes()

    def _go_by(self, plan: Plan, said: str) -> None:
        """Go on by a plan that was changed, as far as a search that runs can.

        Args:
            said: before what was changed.
        """
        plan = self._plan.model_copy(update={name: getattr(plan, name) for name in WHILE_IT_RUNS})
        plan.narrowed_spaces()  # refuses what is none of what is searched
        for change in plan.changes[self._changes :]:
            self._say(f"{said}: {change}")
        self._plan = plan
        self._ledger.go_by(plan)
        if self._loop:
            self._loop.go_by(plan)
        if len(plan.changes) > self._changes:
            self._changes = len(plan.changes)
            self._tell()

    def _note(self) -> None:
        """Say how things stand, in one file that ``status`` reads."""
        if self._gone():
            raise self._gone_error()
        self._noted = time.monotonic()
        state, tally = self._state, self._ledger.tally
        state.seconds, state.trials = self.seconds(), self._ledger.states()
        state.infeasible = tally.infeasible
        left = self._ledger.left()
        state.left = {"seconds": left.seconds, "trials": left.trials} if left else {}
        state.best = best_of(tally.best)
        state.shares = tally.shares.so_far() if len(self._plan.spaces) > 1 else {}
        state.tracking_error = self._tracker.error if self._tracker else ""
        self._folder.write_state(state)

    def finish(self) -> Summary:
        """Write the report, tell MLflow, and say how it ended."""
        from search.driver.reporting import write_report

        plan, folder, state = self._plan, self._folder, self._state
        ledger, tally = self._ledger, self._ledger.tally
        self._note()
        clear_checkpoints(folder, plan.objectives)
        files = [str(path.relative_to(folder.path)) for path in write_report(folder, plan)]
        ledger.outbox.append({"kind": "report", "files": files})
        found = {**best_metrics(folder, plan, tally.best), "seconds": state.seconds}
        ledger.outbox.append(
            {"kind": "end", "time": time.time(), "state": state.state, "metrics": found}
        )
        self._keep()
        logger.info(
            "the outbox took %.3f s of %.1f s",
            ledger.outbox.seconds,
            time.monotonic() - self._began,
        )
        if self._tracker:
            state.tracking_error = self._tracker.finish()
        folder.write_state(state)
        how, counts = (state.state, state.reason), dict(tally.counts)
        return Summary(folder, *how, counts, tally.best, state.seconds, state.tracking_error)
