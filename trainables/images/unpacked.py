"""How much a packed file may unpack to: a small file that stands for all of a machine's memory is a
mistake or a bomb.
"""

from __future__ import annotations

import os
from pathlib import Path

from spaces.errors import UserError, echo

VARIABLE = "VISIONTUNE_MAX_UNPACKED_GIB"
FREE_BYTES = 2**30
"""That any file may unpack to."""
TIMES = 50
"""Of its own size that a larger file may unpack to; photographs and digits pack to no less than a
twentieth.
"""


def most_unpacked(path: Path) -> tuple[int, str]:
    """Bytes that the file at ``path`` may unpack to, and in words how much that is, why, and how to
    raise it.

    Raises:
        UserError: if the environment variable that raises it is no number above 0.
    """
    given = os.environ.get(VARIABLE, "")
    if not given:
        return max(
            FREE_BYTES, TIMES * path.stat().st_size
        ), f"1 GiB or {TIMES} times its size; {VARIABLE}=GIB allows more"
    try:
        gib = float(given)
        if not 0 < gib < 2**30:
            raise ValueError
    except ValueError:
        raise UserError(
            f"{VARIABLE} must be a number of GiB above 0, but got {echo(given)}"
        ) from None
    return int(gib * 2**30), f"{gib:g} GiB ({VARIABLE})"
