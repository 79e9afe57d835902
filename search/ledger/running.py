"""A trial that runs: what it has said so far, and the record that this makes when it ends."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from analysis.run.records import State, TrialRecord
from search.ledger.trial_source import Proposal
from spaces.objectives import metrics_of


@dataclass
class Running:
    """A trial that was proposed and has not ended.

    Attributes:
        stepwise: whether it reports along the way.
        last_step: the last step it reported, counted from 0; -1 before the first.
        seconds: of its steps so far, earlier drivers' included.
        metrics: of its last step.
    """

    proposal: Proposal
    stepwise: bool
    started: float = field(default_factory=time.time)
    last_step: int = -1
    seconds: float = 0.0
    log: list[str] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)

    def go_on(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take in the steps that it reported to earlier drivers."""
        if rows:
            self.started = rows[0]["time"] - rows[0]["seconds"]
            self.last_step = rows[-1]["step"]
            self.seconds = sum(row["seconds"] for row in rows)

    def step(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """Take in one step; returns what is to be kept of it."""
        self.last_step, self.metrics = int(result["step"]), metrics_of(result)
        seconds = float(result.get("seconds", 0.0))
        self.seconds += seconds
        return {"step": self.last_step, "time": time.time(), **self.metrics, "seconds": seconds}

    def total(self, result: Mapping[str, Any]) -> float:
        """Seconds of all its steps, the last of which came with ``result``."""
        return self.seconds if self.stepwise else float(result.get("seconds", 0.0))

    def measured(self, result: Mapping[str, Any]) -> dict[str, float]:
        """The metrics of a trial that is complete with ``result``."""
        return {**metrics_of(result), "seconds": self.total(result)}

    def record(
        self, state: State, metrics: dict[str, float], result: Mapping[str, Any], **facts: Any
    ) -> TrialRecord:
        """How it ended.

        Args:
            result: the last that its worker said.
            facts: of the record, beside what the trial and its worker say.
        """
        return TrialRecord(
            space=self.proposal.space,
            number=self.proposal.number,
            state=state,
            config=self.proposal.config,
            metrics=metrics,
            started=self.started if self.stepwise else float(result.get("started", self.started)),
            seconds=self.total(result),
            node=str(result.get("node", "")),
            steps=self.last_step + 1,
            device=str(result.get("device", "")),
            parent=self.proposal.parent,
            **facts,
        )
