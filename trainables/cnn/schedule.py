"""The learning rate over a training, as a fraction of the largest."""

from __future__ import annotations

import math

WARM_UP = 0.2
"""Part of the steps in which one-cycle and triangular schedules rise."""


def fraction(schedule: str, progress: float) -> float:
    """The fraction of the largest learning rate at ``progress`` (0..1) of all steps.

    one-cycle rises linearly, then falls as a cosine (Smith & Topin, 2018); cosine only falls
    (Loshchilov & Hutter, 2017); triangular rises and falls linearly.

    Raises:
        ValueError: for another schedule.
    """
    rising = progress < WARM_UP
    left = (progress - WARM_UP) / (1 - WARM_UP)
    if schedule == "one-cycle":
        return progress / WARM_UP if rising else (1 + math.cos(math.pi * left)) / 2
    if schedule == "cosine":
        return (1 + math.cos(math.pi * progress)) / 2
    if schedule == "triangular":
        return progress / WARM_UP if rising else 1 - left
    raise ValueError(f"schedule must be one-cycle, cosine or triangular, but got {schedule!r}")
