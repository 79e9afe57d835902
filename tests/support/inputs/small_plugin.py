"""A small plug-in, for tests."""

from __future__ import annotations

import sys
from pathlib import Path

from spaces import plugins

SMALL = """
def register(add):
    from spaces.kinds import Distance
    add(Distance("mine", gap, signed=True))

def gap(x, y):
    return abs(x[:, None] - y[None]).max(2)

def doubled(rows, start):
    return rows * FACTOR

FACTOR = 2
"""


def written(folder: Path) -> Path:
    """A file of it."""
    path = folder / "small.py"
    path.write_text(SMALL)
    return path


def forget() -> None:
    """As if no plug-in had been loaded."""
    plugins.unload_all()
    sys.modules.pop("small", None)
