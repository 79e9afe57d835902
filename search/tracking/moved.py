"""A run that was moved to another runs directory, whose MLflow is a file there: what the file that
it left has of it is closed, or it would be running there for ever.
"""

from __future__ import annotations

import logging
import time

from analysis.plan.addresses import sqlite_file
from analysis.run.directory import RunDirectory
from analysis.run.identity import read_identity
from search.tracking.mlflow_runs import PARENT, MlflowRuns, milliseconds
from trainables.io.refused import told

logger = logging.getLogger("visiontune.tracking")


def close_where_it_was(run: RunDirectory, before: str, now: str, experiment: str) -> None:
    """End this run in the MLflow file of the runs directory that it was moved from, and note there
    where the run is now.

    Args:
        before: address that the run was last sent to. Nothing happens unless it is a file that
            exists, in a runs directory that no longer holds the run: a copy of a run leaves the
            first one as it is.
        now: address that the run is sent to from now on.
    """
    file = sqlite_file(before)
    if before == now or file is None or not file.is_file():
        return
    study = run.identity()
    for path in file.parent.glob("*/run.json"):
        known = read_identity(path.parent)
        if known and known.study == study:
            return
    try:
        runs = MlflowRuns(before, file.parent, experiment, study)
        for name, sent in runs.running():
            if name == PARENT:
                runs.client.set_tag(sent.id, "visiontune.moved_to", str(run.path))
            runs.client.set_terminated(sent.id, "KILLED", milliseconds(time.time()))
    except Exception as error:  # what it left is of no weight beside what is sent now
        logger.warning(
            "MLflow at %s cannot be told that this run was moved: %s", before, told(error)
        )
