"""The ledger of one search: what is to be tried, what was begun, what came out.

It knows the studies, the run directory and the outbox, and nothing of Ray. A trial's end
is written in an order that a kill at any moment leaves repairable: its record first, then
the study, then the outbox. ``search.ledger.recovery`` mends what a killed driver left between.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from analysis.plan.limits import Ending, ending
from analysis.plan.plan import Plan
from analysis.ranking.pace import Left
from analysis.run.directory import RunDirectory
from analysis.run.records import State, TrialRecord
from search.ledger import requests
from search.ledger.identity import settle_identity
from search.ledger.kept_checkpoints import drop_end
from search.ledger.outbox import Outbox, trial_fact
from search.ledger.running import Running
from search.ledger.tally import Tally
from search.ledger.trial_source import Key, Proposal
from search.sampling.population import Explore
from search.study.folders import read_shelves
from search.study.storage import study_name
from search.study.study import REQUEST, Answer, SpaceStudy
from spaces.domain import Value
from spaces.objectives import metrics_of
from trainables.learners import LEARNERS

REFUSED_IN_A_ROW = 50
"""Configurations that break a constraint before Tune gets its turn again."""


class Ledger:
    """Opens or continues the studies of a run.

    Args:
        clock: seconds since the run began, all its sessions together.
        mend: writes again what was found damaged; called once everything has been read.
        say: told when a database of studies makes it wait.
        explore: changes values in a population.

    Attributes:
        plan: how far it goes, as it was last asked to.
        tally: the count so far.
        ending: why no more trials are proposed; None while they are.
    """

    def __init__(
        self,
        run: RunDirectory,
        plan: Plan,
        clock: Callable[[], float] = lambda: 0.0,
        say: Callable[[str], None] = lambda line: None,
        mend: Callable[[], None] = lambda: None,
        explore: Explore | None = None,
    ) -> None:
        from search.ledger.rebuilt_studies import whole_studies
        from search.ledger.recovery import recover

        self._run = run
        self.plan = plan
        self._clock = clock
        # first: what may not be read refuses before anything is written
        shelves = read_shelves(run, plan.spaces)
        mend()
        settle_identity(run, plan)
        spaces = plan.search_spaces()
        storage, shelves = whole_studies(run, plan, shelves, say)
        self.outbox = Outbox(run.outbox)
        self.outbox.repair()
        names = {name: study_name(run, plan.storage, name) for name in spaces}
        self._studies = {
            name: SpaceStudy(storage, names[name], space, plan, run, explore)
            for name, space in spaces.items()
        }
        sized = any(one.known and one.space.needs_images for one in plan.learners)
        self._classes = len(run.data().classes) if sized else 0
        self._exhausted: set[str] = set()
        self._running: dict[Key, Running] = {}
        self.tally = Tally(plan, say)
        self._unfinished: deque[Key] = deque(
            recover(run, plan, self._studies, shelves, self.outbox, self.tally, self.tell)
        )
        self._before = {name: len(study.trials()) for name, study in self._studies.items()}
        self._started = dict(self._before)
        known = [t.user_attrs for study in self._studies.values() for t in study.trials()]
        self._requested = {facts[REQUEST] for facts in known if REQUEST in facts}
        self.tally.begin_session()
        self.ending: Ending | None = None

    # --- how it stands

    def go_by(self, plan: Plan) -> None:
        """Take up what a plan that was changed says of how far the search goes."""
        changed = {name: getattr(plan, name) for name in ("trials", "limits", "narrowed")}
        if plan.narrowed != self.plan.narrowed:
            for name, space in plan.narrowed_spaces().items():
                self._studies[name].narrow(space)
        self.plan = self.plan.model_copy(update=changed)
        self.tally.go_by(plan)

    def left(self) -> Left | None:
        """What is to be expected of the rest; None before enough trials have ended to tell."""
        return self.tally.left(self.plan, self._clock(), self._running.values())

    @property
    def running(self) -> int:
        return len(self._running)

    @property
    def finished_reason(self) -> str:
        """Why the search has come to its end; empty while it goes on."""
        if self.ending is None or self._running or (self._unfinished and self.ending.gently):
            return ""
        return self.ending.reason

    def states(self) -> dict[str, int]:
        """Trials by state, as the studies have them."""
        waiting = sum(study.waiting for study in self._studies.values())
        running = len(self._running) + len(self._unfinished)
        return {**self.tally.counts, "RUNNING": running, "WAITING": waiting}

    @property
    def _wanted(self) -> int:
        """Trials that end the search; of a population more, where a limit stopped first members."""
        told = [(one.population, one) for one in self._studies.values()]
        return self.plan.trials + sum(p.drawn_again(one.trials()) for p, one in told if p)

    def look(self) -> Ending | None:
        """Why no more trials are to be proposed as things stand now, or None."""
        gpu_seconds = sum(
            (time.time() - running.started) * self.plan.gpus_of(space)
            for (space, _), running in self._running.items()
        )
        now = self.tally.standing(self._wanted, self._clock(), gpu_seconds)
        self.ending = ending(self.plan.limits, now)
        exhausted = len(self._exhausted) == len(self._studies)
        if exhausted and self.ending is None and not self._unfinished:
            ends = [study.population.end for study in self._studies.values() if study.population]
            none = [f"there are no more than {self.tally.done} combinations"]
            self.ending = Ending((ends or none)[0])
        return self.ending

    # --- what to try

    def propose(self) -> Proposal | None:
        """The next trial to run, or None: wait, or ``finished_reason`` says why there is none."""
        for _ in range(REFUSED_IN_A_ROW):
            if self._is_over():
                return None
            proposal = self._next()
            if proposal is Answer.LATER:
                return None
            if proposal is Answer.NO_MORE:
                continue  # a space has run out of combinations
            known = LEARNERS[proposal.space].known_before(
                proposal.config, self._classes, self.plan.training.side
            )
            violations = self.plan.violations(known)
            if not violations:
                return proposal
            self._close(
                proposal.key,
                "PRUNED",
                {"metrics": known},
                pruned_by="a constraint",
                violations=violations,
                infeasible=True,
            )
        return None

    def _is_over(self) -> bool:
        """Whether nothing is begun; what a killed driver left goes on as if it had not been."""
        ended = self.look()
        if self._unfinished and (ended is None or ended.gently):
            return False
        return ended is not None or self.tally.done + self.running >= self._wanted

    def _next(self) -> Proposal | Answer:
        if self._unfinished:
            space, number = self._unfinished.popleft()
            return self._begin(space, *self._studies[space].continue_trial(number))
        waiting = [name for name, study in self._studies.items() if study.waiting]
        there = [name for name in self._studies if name not in self._exhausted]
        left = self.plan.trials - self.tally.done
        turns = self.tally.shares.order(there, self._started, self._clock(), left)
        for space in waiting or turns:
            asked = self._studies[space].ask()
            if asked is Answer.LATER:
                return asked
            population = self._studies[space].population
            while population and population.spent:
                drop_end(self._run, space, population.spent.pop())
            if asked is not Answer.NO_MORE:
                self._started[space] += 1
                return self._begin(space, *asked)
            self._exhausted.add(space)
        return Answer.NO_MORE

    def _begin(self, space: str, number: int, config: dict[str, Value]) -> Proposal:
        goes_on = number < self._before[space]
        study = self._studies[space]
        proposal = Proposal(
            space, number, config, self.plan.seed, goes_on, **study.going_on(number)
        )
        running = Running(proposal, study.space.stepwise)
        facts = {
            "config": config,
            "seed": self.plan.seed,
            "started": running.started,
            **study.begun(number),
        }
        self._run.begin_trial(space, number, facts)
        running.go_on(self._run.steps(space, number))
        self._running[proposal.key] = running
        self.tally.shares.begin(proposal.key)
        return proposal

    def coming(self, space: str) -> Iterator[dict[str, Value]]:
        """The configurations of a space that will be proposed, as far as that is known."""
        return self._studies[space].coming()

    def take_requests(self) -> None:
        """Enqueue what another terminal asked to be tried."""
        requests.take_up(self._run, self._studies, self._requested)

    # --- what came out

    def report(self, key: Key, result: Mapping[str, Any]) -> bool:
        """Write down what a trial says along the way; True if it has ended by that: pruned, or
        failed.

        Args:
            result: of one step: ``step`` counted from 0, the metrics, and ``report`` where
                the pruner judges another value than the objective.
        """
        running = self._running.get(key)
        if running is None:
            return True
        running.log.append(result.get("log", ""))
        step = int(result.get("step", 0))
        problem = self._problem(result)
        if problem:
            self.end(key, {**result, "log": "", "failure": f"{problem} at step {step}"})
            return True
        if step <= running.last_step:
            return False  # done before its worker or driver died: neither reported nor judged again
        if self._note(running, result) and not result.get("done"):
            self._close(
                key, "PRUNED", result, pruned_by=f"pruner {self.plan.pruner} at step {step}"
            )
            return True
        return False

    def _note(self, running: Running, result: Mapping[str, Any]) -> bool:
        """Keep one step, in the run directory first, then the study; whether the pruner would stop
        the trial.
        """
        proposal = running.proposal
        row = running.step(result)
        value = float(result.get("report", result[self.plan.objective]))
        self._run.append_step(proposal.space, proposal.number, {**row, "report": value})
        return self._studies[proposal.space].report(proposal.number, running.last_step, value)

    def _problem(self, result: Mapping[str, Any]) -> str:
        """Which objective is missing or not finite, in words; empty if none is."""
        for name in self.plan.objectives:
            value = result.get(name)
            if not isinstance(value, int | float) or not math.isfinite(value):
                return f"{name} was {'missing' if name not in result else value}"
        return ""

    def end(self, key: Key, result: Mapping[str, Any]) -> TrialRecord | None:
        """Write down how a trial ended; None if it is not running (Tune may tell an end twice).

        Args:
            result: what the trainable returned, or a ``failure`` that says what became of it.
        """
        running = self._running.get(key)
        if running is None:
            return None
        running.log.append(result.get("log", ""))
        failure = result.get("failure")
        if not failure and "seconds" in self.plan.objectives and "seconds" not in result:
            result = {**result, "seconds": 0.0}
        if not failure and (problem := self._problem(result)):
            failure = f"the trial ended and its {problem}"
        if failure:
            return self._close(key, "FAIL", {**result, "metrics": {}}, failure=failure)
        if running.stepwise and int(result["step"]) > running.last_step:
            self._note(running, result)
        return self._close(key, "COMPLETE", result)

    def settle(self, reason: str) -> None:
        """End every trial that runs or is to be continued: the search is over, for ``reason``."""
        while self._unfinished:
            space, number = self._unfinished.popleft()
            self._begin(space, *self._studies[space].continue_trial(number))
        for key, running in list(self._running.items()):
            self._close(key, "PRUNED", {"metrics": running.metrics}, pruned_by=reason)

    def _close(
        self, key: Key, state: State, result: Mapping[str, Any], **facts: Any
    ) -> TrialRecord:
        """Write a trial's end: record, study, outbox; then count it."""
        running, failed = self._running[key], state == "FAIL"
        metrics = dict(result.get("metrics", metrics_of(result)))
        violations = facts.pop("violations", ())
        if state == "COMPLETE":
            metrics = running.measured(result)
            violations = violations or self.plan.violations(metrics)
        gpus = self.plan.gpus_of(key[0])
        record = running.record(
            state,
            metrics,
            result,
            accuracy_by_k=() if failed else tuple(result.get("accuracy_by_k", ())),
            digests={} if failed else dict(result.get("digests", {})),
            violations=violations,
            gpu_seconds=running.total(result) * gpus,
            **facts,
        )
        kept, shares, best = None, None, False
        if state == "COMPLETE" and (predictions := result.get("predictions")) is not None:
            value = metrics[self.plan.objective]
            best = self.tally.among_best(value)
            given = np.asarray(predictions, np.uint16)
            kept = given if best or self.tally.room_for(given.nbytes) else None
            shares = result.get("shares") if self.tally.among_best(value, key[0]) else None
        traceback = result.get("traceback") or record.failure
        self._run.write_record(record, "".join(running.log), traceback, kept, shares, sure=best)
        self.tell(record)
        self.outbox.append(trial_fact(record, self._run.steps(*key) if running.stepwise else []))
        del self._running[key]
        self.tally.count(record)
        self._studies[record.space].retry_failed(record, self.plan.retries)
        return record

    def tell(self, record: TrialRecord) -> None:
        """Tell the study how a trial ended."""
        self._studies[record.space].tell(record, self.plan.excesses(record.metrics))
