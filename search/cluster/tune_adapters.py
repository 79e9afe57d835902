"""A source of trials as Ray Tune wants it: a searcher that asks it, a scheduler and a callback that
tell it.

None of them may raise: Tune ends the whole search over any exception in them. What goes wrong
inside (a full disk, say) is kept, and the search is stopped with that as its reason.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from search.cluster.ray_internals import keep_idle_workers, uncounted_callbacks
from search.ledger.trial_source import Key, Proposal, TrialSource
from trainables.contract.assignment import Assignment
from trainables.io.remote import Remote, is_uri

LOST_NODES = 4
"""Times that a trial goes on from its checkpoint after its worker or node was lost, on a cluster;
on one machine, once.
"""
logger = logging.getLogger("visiontune.search")


class Bridge:
    """Ties Tune's trials to those of a source. Tune pickles whatever holds one into its snapshots:
    it goes in empty.

    Args:
        source: asked and told.
        assign: what the trial of a proposal is given.
        stop_asked: whether somebody asked the search to stop.
        trial_seconds: time limit of one trial, as things stand.
        room: trials at once, as things stand.
        checkpoints: those that a trial (space, number) has left.

    Attributes:
        error: what went wrong on our side; stops the search.
    """

    def __init__(
        self,
        source: TrialSource,
        assign: Callable[[Proposal], Assignment],
        stop_asked: Callable[[], bool],
        trial_seconds: Callable[[], float | None] = lambda: None,
        room: Callable[[], int] = lambda: sys.maxsize,
        checkpoints: Callable[[str, int], tuple[str, ...]] = lambda space, number: (),
    ) -> None:
        self._room = room
        self._checkpoints = checkpoints
        self._source = source
        self._assign = assign
        self._stop_asked = stop_asked
        self._trial_seconds = trial_seconds
        self._keys: dict[str, Key] = {}
        self._begun: dict[str, float] = {}
        self._overdue: dict[str, float] = {}
        self._waited: set[str] = set()
        self._again: deque[tuple[Assignment, int]] = deque()
        self.error: Exception | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def stopping(self) -> bool:
        """Whether trials that run are to be stopped."""
        return (
            self.error is not None
            or self._stop_asked()
            or (self._source.ending is not None and self._source.ending.at_once)
        )

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.stopping():
            return Searcher.FINISHED
        if self._again:
            given, attempt = self._again.popleft()
            key = self._keys[trial_id] = given.space, given.number
            return _config(replace(given, restore=self._checkpoints(*key)), attempt)
        proposal = self._source.propose() if self._source.running < self._room() else None
        if proposal is None:
            return Searcher.FINISHED if self._source.finished_reason else None
        self._keys[trial_id] = proposal.key
        return _config(self._assign(proposal))

    def report(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Tell what a trial says along the way; True if it has ended by that."""
        key = self._keys.get(trial_id)
        return key is None or self._source.report(key, result)

    def end(self, trial_id: str, result: dict[str, Any]) -> None:
        key = self._keys.pop(trial_id, None)
        self._begun.pop(trial_id, None)
        if result.get("failure") and self._stop_asked():
            # whoever stops us may have killed the workers first: resume runs the trial again
            return
        if key is not None:
            self._source.end(key, result)

    def fail(self, trial: Trial) -> None:
        """Tell that a trial's worker is gone for good."""
        given, attempt = trial.config["assignment"], trial.config["attempt"]
        if trial.trial_id in self._waited and attempt < trial.max_failures:
            self._again.append((replace(given, gate=None), attempt + 1))
            del self._keys[trial.trial_id]
            return
        cause = _last_error(trial)
        failure = f"its worker died: {' '.join(cause.split()) or 'Ray gives no cause'}"[:2000]
        if trial.trial_id in self._overdue:
            failure = (
                f"not done after {self._overdue[trial.trial_id]:g} s (limits.trial_seconds); its "
                "worker was killed"
            )
        self.end(trial.trial_id, {"failure": failure})

    def failed_while_waiting(self, trial_id: str) -> None:
        """Tune gives such a trial up, however often it may fail: it goes on as another trial of
        Tune's.
        """
        self._waited.add(trial_id)

    def kill_overdue(self, trials: list[Trial]) -> None:
        """Kill the worker of every trial that has run for too long: it may hang where nothing else
        reaches it.
        """
        most = self._trial_seconds()
        if most is None:
            return
        now = time.monotonic()
        for trial in trials:
            if trial.status != Trial.RUNNING or trial.trial_id not in self._keys:
                # its worker is still starting, or starts again
                self._begun.pop(trial.trial_id, None)
                continue
            if (
                now - self._begun.setdefault(trial.trial_id, now) > most
                and trial.trial_id not in self._overdue
            ):
                self._overdue[trial.trial_id] = most
                trial.max_failures = 0  # or Tune would start it again
                ray.kill(trial.temporary_state.ray_actor)

    def guarded(self, action: Callable[[], Any]) -> Any:
        """``action()``; an exception stops the search instead of breaking Tune."""
        try:
            return action()
        except Exception as error:
            logger.exception("the search stops: %s", error)
            self.error = self.error or error
            return None


def _config(assignment: Assignment, attempt: int = 0) -> dict[str, Any]:
    """Tune's config of a trial, which must be a dictionary."""
    return {"assignment": assignment, "attempt": attempt}


def _folder_name(trial: Trial, session: int) -> str:
    """Of a trial in Tune's own directory."""
    given, attempt = trial.config["assignment"], trial.config["attempt"]
    again = f".{attempt}" if attempt else ""
    return f"{given.space}-{given.number:05d}.session-{session}{again}"


def _last_error(trial: Trial) -> str:
    """What Tune wrote of the last failure on this machine; at a URI it may not have arrived yet."""
    try:
        written = Path(trial.error_file or "").read_text()
    except OSError:
        return ""
    return written.rpartition("Failure # ")[2].partition("\n")[2]


class StudySearcher(Searcher):
    """Tune's searcher: proposes what the ledger proposes. Its state is the study, never a
    pickle.
    """

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        suggestion = self._bridge.guarded(lambda: self._bridge.suggest(trial_id))
        return Searcher.FINISHED if self._bridge.error else suggestion

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Ends are told by ``StudyCallback``, which sees the whole result and the cause of an
        error.
        """

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study is on disk."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing to save: the study is on disk."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a resumed search begins from the study."""


class StudyScheduler(FIFOScheduler):
    """Tune's scheduler: stops a trial when the study's pruner would.

    Args:
        bridge: asked.
        pool: idle workers to keep for the next trials. Tune alone keeps one, and starts a
            fresh process, which costs seconds, for every other trial.
    """

    def __init__(self, bridge: Bridge, pool: int) -> None:
        super().__init__()
        self._bridge = bridge
        self._pool = pool

    def on_trial_add(self, tune_controller: TuneController, trial: Trial) -> None:
        keep_idle_workers(tune_controller, trial, self._pool)
        self._pool = 0

    def on_trial_error(self, tune_controller: TuneController, trial: Trial) -> None:
        """Once a lost worker's first task has failed its trial waits to go on; then the second
        fails, or that of the next worker.
        """
        if trial.status == Trial.PENDING:
            self._bridge.failed_while_waiting(trial.trial_id)

    def on_trial_result(
        self, tune_controller: TuneController, trial: Trial, result: dict[str, Any]
    ) -> str:
        stop = self._bridge.guarded(lambda: self._bridge.report(trial.trial_id, result))
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE


class StudyCallback(tune.Callback):
    """Tells the ledger how trials ended, and redraws the display."""

    def __init__(self, bridge: Bridge, redraw: Callable[[], object]) -> None:
        self._bridge = bridge
        self._redraw = redraw

    def __getstate__(self) -> dict[str, Any]:
        """For Tune's snapshot, which nothing is ever restored from: the display holds a
        terminal.
        """
        return {"_bridge": self._bridge}

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if result.get("done"):
            self._bridge.guarded(lambda: self._bridge.end(trial.trial_id, dict(result)))
            for bulky in ("predictions", "shares", "log", "traceback", "accuracy_by_k"):
                result.pop(bulky, None)  # Tune would keep them for as long as the search lasts

    def on_trial_complete(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        """Let go of what Tune would keep of each result, 30 KB a trial: nothing reads it any
        more.
        """
        kept = trial.run_metadata
        kept.metric_analysis, kept.metric_n_steps = {}, {}
        kept.last_result = {"done": True}  # were it empty, Tune would ask the worker

    def on_trial_error(
        self, iteration: int, trials: list[Trial], trial: Trial, **info: Any
    ) -> None:
        self._bridge.guarded(lambda: self._bridge.fail(trial))

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        self._bridge.guarded(lambda: self._bridge.kill_overdue(trials))
        self._bridge.guarded(self._redraw)


class StopRequest(tune.Stopper):
    """Ends the search when somebody asked for it."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._bridge.stopping()


def run_tune(
    trainable: type[tune.Trainable],
    bridge: Bridge,
    redraw: Callable[[], object],
    *,
    resources: Callable[[Assignment], dict[str, float]],
    concurrency: int,
    joined: bool,
    alike: bool,
    place: str,
    session: int,
) -> None:
    """Run trials until the ledger has no more or somebody asks to stop.

    Args:
        resources: what the trial of an assignment asks for.
        alike: whether all trials ask for the same: only then are idle workers kept, which
            would otherwise hold what the others wait for.
        joined: on a cluster, which may grow: how many run at once is for ``bridge`` alone to say,
            and nodes may be lost.
        place: path or URI of the run; Tune's own directory is ``tune`` in it.
        session: of the run: a trial that goes on does so in another folder than before.
    """
    remote = Remote(place) if is_uri(place) else None
    with uncounted_callbacks():
        tune.run(
            tune.with_resources(
                trainable,
                lambda config: tune.PlacementGroupFactory([resources(config["assignment"])]),
            ),
            name="tune",
            storage_path=remote.base if remote else place,
            storage_filesystem=remote.filesystem if remote else None,
            search_alg=StudySearcher(bridge),
            scheduler=StudyScheduler(bridge, concurrency if alike else 0),
            callbacks=[StudyCallback(bridge, redraw)],
            stop=StopRequest(bridge),
            num_samples=-1,
            max_concurrent_trials=None if joined else concurrency,
            reuse_actors=True,
            max_failures=LOST_NODES if joined else 1,
            raise_on_failed_trial=False,
            verbose=0,
            trial_dirname_creator=lambda trial: _folder_name(trial, session),
        )
