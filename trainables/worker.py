"""The thin file that makes every pipeline a Ray trainable.

A trial that fails does not raise: it returns its cause as a result. An exception would
end the actor, and a fresh one costs seconds where a reused one costs milliseconds.
"""

from __future__ import annotations

import contextlib
import io
import logging
import platform
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune

from spaces.errors import echo
from trainables.contract.assignment import Assignment
from trainables.contract.learner import Trial
from trainables.io.checkpoint import latest
from trainables.io.keeper import Keeper
from trainables.io.remote import local_copies

logger = logging.getLogger("visiontune.trial")


GATE_PATIENCE = 5.0
"""Seconds without another worker after which those that are there begin."""


def _wait_for_others(gate: Path, name: str, workers: int) -> None:
    """Wait until ``workers`` processes have started, or none has for a while.

    Tune gives the worker of a trial that has ended to one that still waits for its own, and
    kills that one; so trials shorter than the start of a process would start one each, for ever.
    """
    with contextlib.suppress(OSError):
        gate.mkdir(parents=True, exist_ok=True)
        (gate / name).touch()
        there, since = 0, time.monotonic()
        while there < workers and time.monotonic() - since < GATE_PATIENCE:
            time.sleep(0.02)
            now = len(list(gate.iterdir()))
            if now > there:
                there, since = now, time.monotonic()


def _node(trial: Assignment) -> str:
    """Where this runs: the host's name, on a cluster with the node's address and the beginning of
    its id.
    """
    if not trial.joined:
        return platform.node()
    return (
        f"{platform.node()} {ray.util.get_node_ip_address()} "
        f"{ray.get_runtime_context().get_node_id()[:8]}"
    )


def _checked(result: dict[str, Any]) -> dict[str, Any]:
    """What a step gave, which may be a guest's.

    Raises:
        TypeError: if it does not say whether it was the last.
    """
    if not isinstance(result, dict) or "done" not in result:
        raise TypeError(f"a step must give a dictionary that has 'done', but gave {echo(result)}")
    return result


class SearchTrial(tune.Trainable):
    """One configuration of any space, a step at a time.

    The Tune config holds the ``Assignment`` of the trial as ``assignment``.
    """

    def setup(self, config: dict[str, Any]) -> None:
        trial: Assignment = config["assignment"]
        if trial.gate:
            folder, workers = trial.gate
            _wait_for_others(Path(folder), f"{trial.space}-{trial.number}", workers)
        self._begin(trial)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Nothing outlives a trial: everything it knows is in its config. Never fails: Tune would
        lose the trial.
        """
        if self._run is not None:  # its trial was stopped before its end
            self._guarded(self._close)
        self._begin(new_config["assignment"])
        return True

    def _begin(self, trial: Assignment) -> None:
        self._trial = trial
        self._run: Trial | None = None
        self._keeper: Keeper | None = None
        self._took = 0.0  # seconds, of the step before; 0 where there was none
        self._failure: dict[str, Any] | None = None
        self._log = io.StringIO()
        self._guarded(self._make)

    def _make(self) -> dict[str, Any]:
        trial = self._trial
        logger.info("trial %s/%s: %s", trial.space, trial.number, dict(trial.config))
        self._run = trial.make(trial)
        places = [*trial.restore]
        if trial.checkpoints:
            self._keeper = Keeper(trial.checkpoints)
            places += self._keeper.places()  # of a worker that died
        if places:
            with local_copies(places) as folders:
                found = latest(folders)
                if found:
                    self._run.load(found)
                    logger.info("goes on from %s", found)
        return {}

    def _keep(self) -> dict[str, Any]:
        """See to a checkpoint: that the next step is asked for says that the one before is on
        record.
        """
        if self._keeper and self._run is not None and self._took:
            self._keeper.offer(self._run.snapshot, self._took)
            if self._keeper.trouble:
                logger.warning("a checkpoint could not be written: %s", self._keeper.trouble)
                self._keeper.trouble = ""
        return {}

    def _close(self) -> dict[str, Any]:
        assert self._run is not None
        if self._keeper:
            self._keeper.close()
        self._run.close()
        self._run = None
        return {}

    def step(self) -> dict[str, Any]:
        started, began = time.time(), time.monotonic()  # a clock may be set back meanwhile
        run = self._run
        result = self._guarded(self._keep)
        if run is not None and self._failure is None:
            result = self._guarded(lambda: _checked(run.step()))
        result = self._failure or result
        self._took = time.monotonic() - began
        common = {
            "started": started,
            "seconds": self._took,
            "node": _node(self._trial),
            "log": self._log.getvalue(),
        }
        self._log.seek(0)
        self._log.truncate()
        if self._run is not None and (self._failure or result["done"]):
            self._guarded(self._close)
        if self._failure:
            return {**result, **common, "done": True}
        return {**result, **common}

    def _guarded(self, action: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """``action()`` with its log kept; an exception becomes the trial's failure."""
        handler = logging.StreamHandler(self._log)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            return action()
        except Exception as error:
            logger.error("failed: %s", error)
            cause = f"{type(error).__name__}: {error}"
            self._failure = {
                "failure": " ".join(cause.split()),
                "traceback": traceback.format_exc(),
            }
            return {}
        finally:
            logger.removeHandler(handler)

    def cleanup(self) -> None:
        """Tune stops the trial, which goes on from here when the search is resumed."""
        if self._keeper and self._run is not None:
            self._keeper.close(last=True)
