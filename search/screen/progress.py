"""What a person sees while a search runs: a live display in a terminal, plain lines elsewhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table

from analysis.ranking.leaderboard import short_config
from search.ledger.ledger import Ledger
from spaces.objectives import METRICS

LINE_EVERY = 10.0
"""Seconds between plain lines, at least."""


class ProgressLine:
    """Trials done, best so far, time left.

    Args:
        ledger: what it shows.
        objective: by which the best is chosen.
        clock: seconds since the run began, all its sessions together.
        more: says something else worth a place in the line; may be empty.
    """

    def __init__(
        self,
        ledger: Ledger,
        objective: str,
        clock: Callable[[], float],
        console: Console,
        more: Callable[[], str] = str,
    ) -> None:
        self._ledger = ledger
        self._objective = objective
        self._clock = clock
        self._console = console
        self._more = more
        self._drawn = 0.0
        self._last_line = ""
        self._live = (
            Live(console=console, refresh_per_second=4, transient=True)
            if console.is_terminal
            else None
        )

    def __enter__(self) -> ProgressLine:
        if self._live:
            self._live.start()
        self.redraw()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._live:
            self._live.stop()
        self._console.print(self.line(), highlight=False, soft_wrap=True)

    def left(self) -> str:
        """What is to be expected of the rest, in words; empty before that can be told."""
        limit, found = self._ledger.plan.limits.seconds or math.inf, self._ledger.left()
        until = max(0.0, limit - self._clock())
        if found is None or not found.seconds:
            return f", at most {clock(until)} left" if 0 < until < math.inf else ""
        if found.seconds < until:
            return f", about {clock(found.seconds)} left"
        return f", {clock(until)} left, enough for about {found.trials:,} trials more"

    def redraw(self) -> None:
        """Show how things stand, if it is time to."""
        now = time.monotonic()
        if self._live:
            if now - self._drawn >= 0.25:
                self._drawn = now
                self._live.update(self._table())
            return
        line = self.line()
        if line != self._last_line and (now - self._drawn >= LINE_EVERY or not self._last_line):
            self._drawn, self._last_line = now, line
            self._console.print(line, highlight=False, soft_wrap=True)

    def line(self) -> str:
        tally = self._ledger.tally
        parts = [f"{tally.done}/{self._ledger.plan.trials} trials"]
        pruned = tally.counts["PRUNED"] - tally.infeasible
        for count, word in (
            (pruned, "pruned"),
            (tally.counts["FAIL"], "failed"),
            (tally.infeasible, "against a constraint"),
        ):
            if count:
                parts.append(f"{count} {word}")
        if tally.best:
            value = f"{tally.best.metrics[self._objective]:.{METRICS[self._objective].digits}f}"
            parts.append(f"best {self._objective} {value} ({tally.best.key})")
        if more := self._more():
            parts.append(more)
        parts.append(f"{clock(self._clock())} elapsed{self.left()}")
        return " · ".join(parts)

    def _table(self) -> Table:
        tally, best = self._ledger.tally, self._ledger.tally.best
        table = Table.grid(padding=(0, 1))
        table.add_row(
            ProgressBar(total=self._ledger.plan.trials, completed=tally.done, width=40),
            self.line(),
            f"{self._ledger.running} running",
        )
        if best:
            table.add_row("", short_config(best.config, best.space), "")
        return table


def clock(seconds: float) -> str:
    """``75`` as ``1:15``."""
    whole = int(seconds)
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
