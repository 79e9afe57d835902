"""A small space with a condition on a condition, for tests."""

from __future__ import annotations

from spaces import Space
from spaces.domain import Choice, Float, Integer, Parameter

TOY = Space(
    "toy",
    "a space with a condition on a condition",
    (
        Parameter("model", Choice(("a", "b", "c")), "which"),
        Parameter(
            "flag", Choice((False, True)), "whether", when={"model": ("b", "c")}, otherwise=False
        ),
        Parameter(
            "depth",
            Integer(1, 3),
            "how deep",
            allowed=Integer(1, 9),
            when={"flag": (True,), "model": ("c",)},
            otherwise=1,
        ),
        Parameter(
            "rate",
            Float(0.001, 1.0, log=True),
            "how fast, per step",
            when={"model": ("a",)},
            otherwise=0.5,
        ),
    ),
)
