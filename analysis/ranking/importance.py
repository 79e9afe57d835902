"""Which parameters mattered, as the study says: a share each, and why some could not be judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from analysis.run.csv_text import csv_text


@dataclass(frozen=True)
class Importance:
    """How much each parameter of one space mattered to its trials.

    Attributes:
        method: ``PED-ANOVA``: what sets the best trials apart; ``fANOVA``: what the spread of all
            trials comes from.
        trials: complete ones, which alone are looked at.
        best: how many of them count as the best; 0 with fANOVA.
        shares: parameter to its share, all together 1, largest first; empty if none could be
            judged.
        applied: parameter to the number of complete trials it applied in.
        unjudged: parameter to why it could not be judged.
        reason: why nothing could be judged, in one line; empty if something was.
    """

    space: str
    method: str = ""
    trials: int = 0
    best: int = 0
    shares: Mapping[str, float] = field(default_factory=dict)
    applied: Mapping[str, int] = field(default_factory=dict)
    unjudged: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""

    @property
    def headline(self) -> str:
        """What the shares are of, in one line."""
        if self.reason:
            return f"{self.space}: {self.reason}"
        if self.method == "PED-ANOVA":
            return (
                f"{self.space}: what sets the best {self.best} of {self.trials} complete "
                f"trials apart ({self.method})"
            )
        return (
            f"{self.space}: what the spread of {self.trials} complete trials comes from "
            f"({self.method})"
        )

    @property
    def lines(self) -> list[str]:
        """The parameters that were not judged, those with the same reason on one line."""
        by_reason: dict[str, list[str]] = {}
        for name, why in self.unjudged.items():
            by_reason.setdefault(why, []).append(name)
        return [f"{', '.join(names)}: {why}" for why, names in by_reason.items()]

    def facts(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self)


def to_csv(found: Sequence[Importance]) -> str:
    """A line a parameter: its share, in how many complete trials it applied, or why it was not
    judged.
    """
    lines: list[list[object]] = []
    for item in found:
        for name, share in item.shares.items():
            lines.append(
                [item.space, name, f"{share:.6f}", item.applied[name], item.trials, item.method, ""]
            )
        for name, why in item.unjudged.items():
            lines.append(
                [item.space, name, "", item.applied.get(name, ""), item.trials, item.method, why]
            )
    return csv_text(
        ["space", "parameter", "share", "applied", "trials", "method", "not judged"], lines
    )
