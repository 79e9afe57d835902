"""Recorded tables: lines of JSON while they are recorded, compressed once all are there."""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.search.grids import GRIDS, Grid

TABLES = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class Row:
    """What one configuration came to.

    Attributes:
        accuracy: after each epoch; one value where there are none.
        seconds: of each epoch; of what is its own alone where it has stages.
        stages: that it needs, in the order in which they are computed.
    """

    accuracy: tuple[float, ...]
    seconds: tuple[float, ...]
    stages: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A recorded grid.

    Attributes:
        rows: of each configuration, by ``grid.key``.
        stages: name of each stage's function, and the seconds it took, by digest.
    """

    grid: Grid
    rows: dict[tuple[Any, ...], Row]
    stages: dict[str, tuple[str, float]]

    def row(self, config: Any) -> Row:
        """Of a complete configuration."""
        return self.rows[self.grid.key(config)]

    def cost(self, row: Row, paid: set[str]) -> list[float]:
        """The seconds of each link of the chain, where the stages in ``paid`` are there already;
        all that the row needs are there afterwards.
        """
        found = [0.0] * max(1, len(self.grid.chain))
        for stage in row.stages:
            if stage not in paid:
                name, seconds = self.stages[stage]
                at = [i for i, names in enumerate(self.grid.stages) if name in names]
                found[at[0] if at else -1] += seconds
                paid.add(stage)
        found[-1] += sum(row.seconds)
        return found


def table(name: str) -> Table:
    """The table of a space that is kept here."""
    return _read(name)


@functools.cache
def _read(name: str) -> Table:
    with gzip.open(TABLES / f"{name}.jsonl.gz", "rt") as file:
        return table_of(GRIDS[name], map(json.loads, file))


def table_of(grid: Grid, lines: Iterable[dict[str, Any]]) -> Table:
    """A table of its lines."""
    rows, stages = {}, {}
    for line in lines:
        if "configs" not in line:
            key = tuple(line["config"][name] for name in grid.varied)
            rows[key] = Row(tuple(line["accuracy"]), tuple(line["seconds"]))
            continue
        stages.update({digest: (name, took) for digest, (name, took) in line["stages"].items()})
        for key, accuracy, own, needs in line["configs"]:
            rows[tuple(key)] = Row((accuracy,), (own,), tuple(needs))
    return Table(grid, rows, stages)


# --- while they are recorded


def there(place: Path) -> list[dict[str, Any]]:
    """What was recorded so far; the half line that a kill may have left is cut off."""
    if not place.exists():
        return []
    whole = place.read_bytes().rpartition(b"\n")[0]
    place.write_bytes(whole + b"\n" if whole else b"")
    return [json.loads(line) for line in whole.splitlines()]


def record(place: Path, lines: Iterator[dict[str, Any]]) -> None:
    """Append ``lines`` as they come."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.open("a") as file:
        for line in lines:
            file.write(json.dumps(line) + "\n")
            file.flush()


def pack(place: Path, name: str) -> Path:
    """Keep what was recorded as the table of a space.

    Raises:
        ValueError: if part of its grid is missing.
    """
    lines, grid = there(place), GRIDS[name]
    missing = {grid.key(grid.space.check(point)) for point in grid.space.grid()} - set(
        table_of(grid, lines).rows
    )
    if missing:
        raise ValueError(f"{place} lacks {len(missing)} configurations of {name}; record them")
    kept = TABLES / f"{name}.jsonl.gz"
    kept.parent.mkdir(exist_ok=True)
    text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
    kept.write_bytes(gzip.compress(text.encode(), mtime=0))
    return kept
