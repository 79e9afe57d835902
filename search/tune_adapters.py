"""The ledger as Ray Tune wants it: a searcher that asks it, a callback that tells it.

Neither may raise: Tune ends the whole search over any exception in them. What goes wrong
inside (a full disk, say) is kept, and the search is stopped with that as its reason.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from search.ledger import Key, Ledger

logger = logging.getLogger("visiontune.search")


class Bridge:
    """Ties Tune's trials to the ledger's. Tune pickles whatever holds one into its snapshots: it goes in empty.

    Args:
        ledger: asked and told.
        shared: Tune config entries that every trial gets.
        stop_asked: whether somebody asked the search to stop.

    Attributes:
        error: what went wrong on our side; stops the search.
    """

    def __init__(self, ledger: Ledger, shared: dict[str, Any], stop_asked: Callable[[], bool]) -> None:
        self._ledger = ledger
        self._shared = shared
        self._stop_asked = stop_asked
        self._keys: dict[str, Key] = {}
        self.error: Exception | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def stopping(self) -> bool:
        return self.error is not None or self._stop_asked()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        if self.stopping():
            return Searcher.FINISHED
        proposal = self._ledger.propose()
        if proposal is None:
            return Searcher.FINISHED if self._ledger.finished_reason else None
        self._keys[trial_id] = proposal.key
        return {**self._shared, "space": proposal.space, "number": proposal.number, "config": proposal.config}

    def end(self, trial_id: str, result: dict[str, Any]) -> None:
        key = self._keys.pop(trial_id, None)
        if result.get("failure") and self.stopping():
            return  # whoever stops us may have killed the workers first: resume runs the trial again
        if key is not None:
            self._ledger.end(key, result)

    def guarded(self, action: Callable[[], Any]) -> Any:
        """``action()``; an exception stops the search instead of breaking Tune."""
        try:
            return action()
        except Exception as error:
            logger.exception("the search stops: %s", error)
            self.error = self.error or error
            return None


class StudySearcher(Searcher):
    """Tune's searcher: proposes what the ledger proposes. Its state is the study, never a pickle."""

    def __init__(self, bridge: Bridge) -> None:
        super().__init__()
        self._bridge = bridge

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        suggestion = self._bridge.guarded(lambda: self._bridge.suggest(trial_id))
        return Searcher.FINISHED if self._bridge.error else suggestion

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Ends are told by ``StudyCallback``, which sees the whole result and the cause of an error."""

    def save(self, checkpoint_path: str) -> None:
        """Nothing to save: the study is on disk."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing to save: the study is on disk."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to restore: a resumed search begins from the study."""


class StudyCallback(tune.Callback):
    """Tells the ledger how trials ended, and redraws the display."""

    def __init__(self, bridge: Bridge, redraw: Callable[[], None]) -> None:
        self._bridge = bridge
        self._redraw = redraw

    def __getstate__(self) -> dict[str, Any]:
        """For Tune's snapshot, which nothing is ever restored from: the display holds a terminal."""
        return {"_bridge": self._bridge}

    def on_trial_result(self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any) -> None:
        if result.get("done"):
            self._bridge.guarded(lambda: self._bridge.end(trial.trial_id, dict(result)))
            for bulky in ("predictions", "log", "traceback", "accuracy_by_k"):
                result.pop(bulky, None)  # Tune would keep them for as long as the search lasts

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        cause = trial.get_error()
        text = " ".join(str(cause).split()) if cause is not None else "no cause given"
        failure = f"its worker died: {type(cause).__name__}: {text}"[:2000]
        self._bridge.guarded(lambda: self._bridge.end(trial.trial_id, {"failure": failure}))

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
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
    redraw: Callable[[], None],
    *,
    cpus: float,
    concurrency: int,
    folder: Path,
) -> None:
    """Run trials until the ledger has no more or somebody asks to stop."""
    tune.run(
        trainable,
        name=folder.name,
        storage_path=str(folder.parent),
        search_alg=StudySearcher(bridge),
        scheduler=FIFOScheduler(),
        callbacks=[StudyCallback(bridge, redraw)],
        stop=StopRequest(bridge),
        num_samples=-1,
        max_concurrent_trials=concurrency,
        resources_per_trial=tune.PlacementGroupFactory([{"CPU": cpus}]),
        reuse_actors=True,
        max_failures=1,
        raise_on_failed_trial=False,
        verbose=0,
        trial_dirname_creator=lambda trial: f"{trial.config['space']}-{trial.config['number']:05d}-{trial.trial_id}",
    )
