"""The thin file that makes every pipeline a Ray trainable.

A trial that fails does not raise: it returns its cause as a result. An exception would
end the actor, and a fresh one costs seconds where a reused one costs milliseconds.
"""

from __future__ import annotations

import contextlib
import io
import logging
import math
import platform
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
from ray import tune

from spaces.errors import echo
from trainables.contract.assignment import Assignment
from trainables.contract.learner import Trial
from trainables.io.checkpoint import latest, steps_done
from trainables.io.keeper import Keeper
from trainables.io.remote import join_place, local_copies, remove_place, write_file

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
        TypeError: if it does not say whether it was the last, or says seconds that are none.
    """
    if not isinstance(result, dict) or "done" not in result:
        raise TypeError(f"a step must give a dictionary that has 'done', but gave {echo(result)}")
    said = result.get("seconds", 0.0)
    if type(said) not in (int, float) or not 0.0 <= said < math.inf:
        raise TypeError(f"seconds of a step must be a number of at least 0, but are {echo(said)}")
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
        self._done = 0  # steps
        self._took = 0.0  # seconds, of the step before; 0 where there was none
        self._failure: dict[str, Any] | None = None
        self._log = io.StringIO()
        self._guarded(self._make)

    def _make(self) -> dict[str, Any]:
        trial = self._trial
        logger.info("trial %s/%s: %s", trial.space, trial.number, dict(trial.config))
        places = [*trial.restore]
        if trial.checkpoints:
            self._keeper = Keeper(trial.checkpoints)
            places += self._keeper.places()  # of a worker that died
        with local_copies(places) as folders:
            found = latest(folders)
            if found is not None or not trial.goes_from:
                self._run = self._made(found)
                return {}
        with local_copies([trial.goes_from]) as folders:
            if (found := latest(folders)) is not None:
                self._run = self._made(found)
                return {}
        logger.warning("%s is not there: its steps are done again", trial.goes_from)
        self._run = self._made(None)
        for done in range(1, trial.begins + 1):
            self._run.step()
            self._change(done)
        return {}

    def _made(self, state: Path | None) -> Trial:
        """What runs the trial, from a state on; from its beginning without one."""
        self._done = (state and steps_done(state)) or 0
        trial = self._trial
        config, own = trial.config_at(self._done), self._done >= trial.begins
        run = trial.make(replace(trial, config=config, goes_from=trial.goes_from if own else ""))
        if state:
            run.load(state)
            logger.info("goes on from %s", state)
        return run

    def _change(self, done: int) -> None:
        """Go on with other values from here, where the trial is to."""
        self._done = done
        if self._run is not None and done in {until for until, _ in self._trial.before}:
            with tempfile.TemporaryDirectory(prefix="visiontune-") as folder:
                self._run.save(Path(folder))
                self._run.close()
                self._run = self._made(Path(folder))

    def _leave(self, run: Trial) -> None:
        """Write the state after the last step, from which others go on."""
        files = run.snapshot()()
        remove_place(self._trial.leaves)
        for name, content in files.items():
            write_file(join_place(self._trial.leaves, name), content)

    def _stepped(self, run: Trial) -> dict[str, Any]:
        """The next step, the last one if the trial is to end there."""
        result, until = _checked(run.step()), self._trial.until
        if until:
            self._done += 1
            result["done"] = result["done"] or self._done >= until
        if result["done"] and self._trial.leaves:
            self._leave(run)
        return result

    def _keep(self) -> dict[str, Any]:
        """See to a checkpoint: that the next step is asked for says that the one before is on
        record.
        """
        if self._run is not None and self._took:
            self._change(self._done)
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
        result = self._guarded(self._keep)
        run = self._run
        if run is not None and self._failure is None:
            result = self._guarded(lambda: self._stepped(run))
        result = self._failure or result
        self._took = time.monotonic() - began
        common = {
            "started": started,
            "seconds": float(result.get("seconds", self._took)),
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
