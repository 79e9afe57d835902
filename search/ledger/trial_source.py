"""What a session runs: a source proposes trials, and is told what came of them.

The ledger of a search is one (``search.ledger.ledger``), its best trials run again with other seeds
another (``search.ledger.replicas``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from analysis.plan.limits import Ending
from spaces.domain import Value

Key = tuple[str, int]
"""Space and number of a trial."""


@dataclass(frozen=True)
class Proposal:
    """A trial to run.

    Attributes:
        config: complete.
        seed: that it runs with.
        goes_on: an earlier driver may have begun it, and left checkpoints.
        parent: number of the trial that it goes on from; None if it begins anew.
        before: the configurations that its network was trained with before, each with the step up
            to which.
        until: steps after which it ends; 0 where it says itself when.
        leaves: others may go on from its end.
    """

    space: str
    number: int
    config: dict[str, Value]
    seed: int
    goes_on: bool = field(compare=False)
    parent: int | None = None
    before: tuple[tuple[int, dict[str, Value]], ...] = ()
    until: int = 0
    leaves: bool = False

    @property
    def key(self) -> Key:
        return self.space, self.number


class TrialSource(Protocol):
    """Whoever proposes trials and writes down how they went.

    Attributes:
        ending: why no more trials are proposed; None while they are.
    """

    ending: Ending | None

    @property
    def running(self) -> int:
        """Trials that were proposed and have not ended."""

    @property
    def finished_reason(self) -> str:
        """Why it has come to its end; empty while trials run or are still to be proposed."""

    def propose(self) -> Proposal | None:
        """The next trial to run, or None: wait, or ``finished_reason`` says why there is no
        more.
        """

    def report(self, key: Key, result: Mapping[str, Any]) -> bool:
        """Write down what a trial says along the way, one step; True if it has ended by that."""

    def end(self, key: Key, result: Mapping[str, Any]) -> object:
        """Write down how a trial ended; nothing if it is not running (Tune may tell an end twice).

        Args:
            result: what the trainable returned, or a ``failure`` that says what became of it.
        """
