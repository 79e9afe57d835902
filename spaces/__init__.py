"""What may vary: parameters, their domains and conditions, one file per space.

The names of ``spaces.known`` stand here too. It is imported when the first of them is asked for:
``visiontune --help`` needs no space.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spaces.known import *  # noqa: F403


def __getattr__(name: str) -> Any:
    known = None if name.startswith("_") else importlib.import_module("spaces.known")
    if known is None or name not in known.__all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(known, name)
