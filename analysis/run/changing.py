"""A run's plan, changed in its file: by one at a time, and never into one that could not be
read.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Mapping
from typing import Any

from analysis.plan.changed import differences
from analysis.plan.plan import Plan, make_plan
from analysis.run.directory import RunDirectory
from trainables.io.files import write_whole

Change = Callable[[Plan], Mapping[str, Any]]
"""Gives the settings that are to be others, from the plan as it is."""


def changed(plan: Plan, change: Change) -> Plan:
    """The plan with a change, which it keeps with the time of it.

    Raises:
        PlanError: if it may not be so.
    """
    before = plan.model_dump(mode="json")
    after = make_plan({**before, **change(plan)})
    told = differences(before, after.model_dump(mode="json"))
    return after.model_copy(update={"changes": (*plan.changes, told)}) if told else after


def change_plan(run: RunDirectory, change: Change) -> Plan:
    """Change the plan in a run's folder.

    Raises:
        PlanError: if it may not be so; the file is then as it was.
    """
    descriptor = os.open(run.path / "plan.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        # two terminals at once would both read the same number
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        plan = changed(run.plan(), change)
        write_whole(run.plan_file, plan.to_yaml(), within=run.path)
    finally:
        os.close(descriptor)
    return plan
