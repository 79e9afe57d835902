"""``visiontune doctor``: is this machine ready, and is the cluster file right, before anything is
started or paid for.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from search.cli.options import RUNS, Json, RunsDir


def doctor(
    cluster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Cluster file of Ray's launcher to check too."),
    ] = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            metavar="PLAN.yaml", help="What is to be searched there; one GPU a trial by default."
        ),
    ] = None,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> int:
    """Check this machine, and a cluster file if one is given; starts nothing."""
    from analysis.plan.plan import read_plan
    from search.doctor.cluster_lint import Needs, lint
    from search.doctor.machine import Check, check_machine
    from search.doctor.versions import Pins
    from spaces import plugins

    pins = Pins.read()
    needs = Needs.of(read_plan(plan) if plan else None)
    findings = lint(cluster, pins, needs) if cluster else []
    checks = check_machine(runs_dir, pins)
    for plugin in plugins.loaded():  # one that cannot be loaded has been refused before this
        checks.append(Check("plug-in", True, f"{plugin} (SHA-256 {plugin.sha256[:12]}…)"))
    bad = len(findings) + sum(not check.ok for check in checks)
    if json_:
        facts = {"ok": not bad, "machine": [dataclasses.asdict(check) for check in checks]}
        print(
            json.dumps(
                facts
                | (
                    {"cluster": [dataclasses.asdict(finding) for finding in findings]}
                    if cluster
                    else {}
                )
            )
        )
        return int(bad > 0)
    for check in checks:
        print(f"{'ok      ' if check.ok else 'FINDING '}{check.name}: {check.said}")
    for finding in findings:
        print(f"FINDING {cluster}: {finding.check}: {finding.message}")
    if cluster and not findings:
        print(
            f"ok      {cluster}: Ray accepts it, and nothing else was found (for trials of "
            f"{needs.gpus:g} GPU, {needs.cpus:g} CPU)"
        )
    print(f"{bad} finding{'s' if bad != 1 else ''}" if bad else "ready")
    return int(bad > 0)


COMMANDS = (doctor,)
