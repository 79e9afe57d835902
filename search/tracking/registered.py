"""A bundle in MLflow's registry: logged as a model of the trial it comes from, registered under a
name, found by an alias.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import os
import sys
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from analysis.bundle.facts import BundleFacts
from analysis.plan.plan import Plan
from analysis.run.directory import RunDirectory, RunError
from search.tracking.mlflow_runs import LONGEST_PARAM, Sent
from search.tracking.sender import Sender, tracking_uri
from search.tracking.tracker import in_time
from spaces import plugins
from spaces.errors import FailedError, UserError, on_one_line

ROOT = Path(__file__).resolve().parents[2]
ALIAS = "best"
CODE = ("analysis", "spaces", "trainables")
"""Layers that a model carries with it: a server needs no visiontune."""
NEEDS = ("mlflow", "pandas")
"""Packages that a server imports, beside what bundle.json names."""


class Registry:
    """Where bundles of a run are registered: its own MLflow. Opened before an export, so that a
    server that is away is met first.

    Raises:
        RunError: if MLflow cannot be reached.
    """

    def __init__(self, run: RunDirectory, plan: Plan) -> None:
        self._run, self._uri = run, tracking_uri(plan.tracking, run.path.parent)
        self._sender, say = Sender(run, plan.tracking), partial(print, file=sys.stderr)
        with _one_line(
            f"MLflow at {self._uri} cannot be used",
            f"start it, or export run {run.name} without --register",
        ):
            lock = run.lock()
            if lock is not None:  # no driver sends at the moment
                try:
                    in_time(self._sender, self._sender.send, say)
                finally:
                    os.close(lock)
            self._runs = in_time(self._sender, self._sender.runs, say)

    def register(self, bundle: Path, facts: BundleFacts, trial: str, name: str, step: int) -> int:
        """Log the bundle as a model of its trial's run, register it and give it the alias ``best``;
        returns its version.

        Args:
            trial: SPACE/N.
            step: last step of the trial, whose metrics are the model's.

        Raises:
            RunError: if MLflow refuses, or does not know the trial.
        """
        sent = self._runs.get(trial)
        if sent is None:
            raise RunError(
                f"{bundle} is written, but MLflow does not know trial {trial} yet; visiontune "
                f"sync {self._run.name}, when it has ended"
            )
        with _one_line(
            f"{bundle} is written, but was not registered as {name!r}", "remove it and export again"
        ):
            return self._register(sent, bundle, facts, name, step)

    def _register(self, sent: Sent, bundle: Path, facts: BundleFacts, name: str, step: int) -> int:
        import mlflow
        from mlflow.models import Model, ModelSignature
        from mlflow.types import ColSpec, DataType, Schema
        from mlflow.types.schema import Map

        mlflow.set_tracking_uri(self._uri)
        mlflow.set_experiment(experiment_id=self._runs.experiment)
        signature = ModelSignature(
            inputs=Schema([ColSpec(DataType.binary, "image")]),
            outputs=Schema(
                [ColSpec(DataType.string, "class"), ColSpec(Map(DataType.double), "scores")]
            ),
        )
        needed = [plugin for plugin in plugins.loaded() if plugin.name in facts.plugins]
        sources = [str(plugin.source) for plugin in needed]
        made = Model.log(
            None,
            mlflow.pyfunc,
            name=name,
            run_id=sent.id,
            registered_model_name=name,
            step=step,
            python_model=str(ROOT / "analysis" / "bundle" / "served_model.py"),
            artifacts={"bundle": str(bundle)},
            code_paths=[*(str(ROOT / layer) for layer in CODE), *sources],
            model_config={"plugins": [[one.name, one.register] for one in needed]},
            signature=signature,
            input_example=_example(),
            pip_requirements=requirements(facts),
            metadata={"classes": list(facts.classes), "trial": facts.trial},
            params={"classes": str(len(facts.classes))[:LONGEST_PARAM]},
        )
        version = made.registered_model_version
        client = self._runs.client
        about = (
            f"{facts.space} from trial {facts.trial}: accuracy {facts.val.accuracy:.4f} on "
            f"{facts.val.n:,} {facts.val.split} images"
        )
        test = f", {facts.test.accuracy:.4f} on {facts.test.n:,} test images" if facts.test else ""
        client.update_model_version(name, version, f"{about}{test}.")
        client.set_registered_model_alias(name, ALIAS, version)
        return int(version)


def requirements(facts: BundleFacts) -> list[str]:
    """Pinned packages that a server of the bundle needs: the versions that made it, and those
    installed here.
    """
    needs = {name: version for name, version in facts.versions.items() if name != "python"}
    return [
        f"{name}=={version}"
        for name, version in (
            {name: importlib.metadata.version(name) for name in NEEDS} | needs
        ).items()
    ]


def _example() -> Any:
    """Two small pictures, as a model is asked."""
    import pandas as pd

    files = []
    for shade in (64, 192):
        out = io.BytesIO()
        Image.fromarray(np.full((32, 32, 3), shade, np.uint8)).save(out, format="PNG")
        files.append(out.getvalue())
    return pd.DataFrame({"image": files})


@contextlib.contextmanager
def _one_line(what: str, then: str) -> Iterator[None]:
    """Any error of MLflow's as one line: what failed, why, what to do. What it says beside that is
    not for the user.
    """
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except FailedError as error:
        raise RunError(f"{what} ({str(error).rpartition(';')[0]}); {then}") from error
    except UserError:
        raise
    except Exception as error:
        raise RunError(f"{what} ({type(error).__name__}: {on_one_line(error)}); {then}") from error
