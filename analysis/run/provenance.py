"""What a search ran with: code, packages, plan and data of every session, and what changed since
the last one.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.plan.plan import Plan
from analysis.run.directory import RunDirectory
from analysis.run.notes import note as note_line
from spaces import plugins
from spaces.errors import on_one_line
from trainables.io.files import read_json, set_aside, write_whole

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("spaces", "trainables", "analysis", "search")
PACKAGES = (
    "ray",
    "optuna",
    "numpy",
    "scipy",
    "scikit-learn",
    "torch",
    "torchvision",
    "cyvlfeat",
    "pillow",
    "mlflow",
)
FILE = "provenance.json"
_WANTED = {"python", "packages", "code", "plan", "data", "node", "system"}
MAY_CHANGE = ("trials", "name", "limits", "concurrency", "narrowed", "changes")
"""Settings of a plan that change nothing about a trial."""


def facts(plan: Plan, fingerprint: str) -> dict[str, Any]:
    """What this session runs with; ``plan_sha256`` is of the plan as YAML, ``code`` has a SHA-256 a
    source file.
    """
    return {
        "time": time.time(),
        "node": platform.node(),
        **software(),
        "system": {
            "platform": platform.platform(),
            "cores": len(os.sched_getaffinity(0)),
            "memory_gib": round(
                os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1
            ),
        },
        "plan_sha256": hashlib.sha256(plan.to_yaml().encode()).hexdigest(),
        "plan": plan.model_dump(mode="json", exclude={"tracking", "storage"}),
        "data": fingerprint,
        "plugins": plugins.sha256s(plan.words(), asked=True),
    }


def software() -> dict[str, Any]:
    """What this machine would run: Python, packages, and ``code`` with a SHA-256 a source file of
    ours.
    """
    return {
        "python": platform.python_version(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "code": {
            path.relative_to(ROOT).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:16]
            for layer in LAYERS
            for path in sorted((ROOT / layer).rglob("*.py"))
        }
        | {f"plug-in {plugin.name}": plugin.sha256[:16] for plugin in plugins.loaded()},
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def sessions(run: RunDirectory) -> list[dict[str, Any]]:
    """What every session of a run ran with, oldest first; nothing, and noted, where that cannot be
    read.
    """
    path = run.path / FILE
    try:
        found = read_json(path)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        note_line(
            f"{path}: cannot be read "
            f"({error.strerror if isinstance(error, OSError) else on_one_line(error)}); it only "
            "informs"
        )
        return []
    if not isinstance(found, list) or not all(
        isinstance(item, dict) and item.keys() >= _WANTED for item in found
    ):
        note_line(f"{path}: not what was written (a list of sessions); it only informs")
        return []
    return found


def note(run: RunDirectory, now: dict[str, Any]) -> list[str]:
    """Keep what this session runs with; returns what changed since the last one, a line each."""
    before, path = sessions(run), run.path / FILE
    if not before and (path.is_symlink() or path.exists()):
        note_line(f"{path}: moved to {set_aside(path)}; what sessions ran with is noted anew")
    write_whole(path, json.dumps([*before, now], indent=1), within=run.path)
    return changes(before[-1], now) if before else []


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What differs between two sessions, a line each."""
    lines = software_changes(before, now, "was")
    for name in _differing(before["plan"], now["plan"]):
        if name not in MAY_CHANGE:
            lines.append(
                f"the plan's {name} is {now['plan'].get(name)}, was {before['plan'].get(name)}"
            )
    if before["data"] != now["data"]:
        lines.append(
            "the images have changed, though neither their number nor their classes: trials "
            "before and after saw different pixels"
        )
    return lines


def software_changes(before: Mapping[str, Any], now: Mapping[str, Any], was: str) -> list[str]:
    """What differs between two ``software``, a line each.

    Args:
        was: words before what ``before`` has.
    """
    lines = []
    if before["python"] != now["python"]:
        lines.append(f"Python is {now['python']}, {was} {before['python']}")
    for name in _differing(before["packages"], now["packages"]):
        lines.append(
            f"package {name} is {now['packages'].get(name, 'missing')}, {was} "
            f"{before['packages'].get(name, 'missing')}"
        )
    files = _differing(before["code"], now["code"])
    if files:
        more = f" and {len(files) - 5} more" if len(files) > 5 else ""
        lines.append(
            f"the code {'has changed' if was == 'was' else 'differs'}: {', '.join(files[:5])}{more}"
        )
    return lines


def _differing(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [name for name in sorted({*before, *now}) if before.get(name) != now.get(name)]
