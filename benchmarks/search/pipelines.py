"""Two searches of pipelines whose stages are kept, written from their papers.

Li, Sparks, Jamieson and Talwalkar, *Exploiting Reuse in Pipeline-Aware Hyperparameter Tuning*
(2019, arXiv 1903.05176), without its successive halving, which needs a cheaper look at a
configuration; Essofi et al., *Reducing Hyperparameter Tuning Costs in ML, Vision and Language Model
Training Pipelines via Memoization-Awareness* (2024, arXiv 2411.03731): expected improvement per
unit of remaining cost (EEIPU).
"""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.spatial.distance import cdist
from scipy.stats import norm

from benchmarks.search.tables import Table
from benchmarks.search.tape import DRAWN, Tape, drawn

Floats = npt.NDArray[np.float64]
MOST_SEEN = 200
"""The newest trials, or stages, that a process is made of."""


def gridded_random(tape: Tape, seed: int) -> None:
    """Rounds of ``DRAWN`` configurations, each a grid of a few values drawn for each stage, tried
    so that what shares stages stands together. The later a stage, the more of its values.
    """
    draw, chain = np.random.default_rng(20_000 + seed), tape.table.grid.chain
    early = 2 if len(chain) > 2 else 4
    counts = [early] * (len(chain) // 2)
    rest = len(chain) - len(counts)
    each = round((DRAWN / math.prod(counts)) ** (1 / rest))
    while True:
        drawings = [
            [_part(drawn(tape.table, draw), names) for _ in range(count)]
            for names, count in zip(chain, [*counts, *[each] * rest], strict=True)
        ]
        for parts in itertools.product(*drawings):
            tape.whole(_complete(tape.table, parts))


def _part(config: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: config[name] for name in names}


def _complete(table: Table, parts: Any) -> dict[str, Any]:
    """Parts of several configurations as one, with what does not apply as the space has it."""
    values = {name: value for part in parts for name, value in part.items()}
    space, varied = table.grid.space, table.grid.varied
    return space.sample(
        lambda name, domain: (
            values[name] if name in varied and values[name] in domain else domain.values()[0]
        )
    )


class Process:
    """A Gaussian process with a Matérn kernel (5/2), whose length and noise are the likeliest of a
    few.
    """

    def __init__(self, x: Floats, y: Floats) -> None:
        self._x, self._mean, self._scale = x, float(y.mean()), float(y.std()) or 1.0
        targets, best = (y - self._mean) / self._scale, math.inf
        far = cdist(x, x)
        for length, noise in itertools.product((0.5, 1.0, 2.0, 4.0), (1e-3, 3e-2)):
            root = cholesky(_matern(far / length) + noise * np.eye(len(x)), lower=True)
            weights = cho_solve((root, True), targets)
            unlikely = 0.5 * targets @ weights + np.log(np.diag(root)).sum()
            if unlikely < best:
                best, self._length, self._root, self._weights = unlikely, length, root, weights

    def at(self, x: Floats) -> tuple[Floats, Floats]:
        """Mean and deviation there."""
        near = _matern(cdist(x, self._x) / self._length)
        below = solve_triangular(self._root, near.T, lower=True)
        deviation = np.sqrt(np.maximum(1e-9, 1.0 - (below**2).sum(0)))
        return self._mean + self._scale * (near @ self._weights), self._scale * deviation


def _matern(r: Floats) -> Floats:
    far = math.sqrt(5.0) * r
    result: Floats = (1.0 + far + far**2 / 3.0) * np.exp(-far)
    return result


class Encoded:
    """A grid as numbers, one row a configuration.

    Attributes:
        configs: all there are.
        until: for each stage, what tells the stages up to it from others, as a number.
        numbers: for each stage, the parameters of the stages up to it, (n, d).
    """

    def __init__(self, table: Table) -> None:
        grid = table.grid
        self.configs = [dict(zip(grid.varied, key, strict=True)) for key in table.rows]
        self.until, self.numbers = [], []
        for at in range(len(grid.chain)):
            names = [name for part in grid.chain[: at + 1] for name in part]
            keys = [tuple(config[name] for name in names) for config in self.configs]
            places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
            self.until.append(np.array([places[key] for key in keys]))
            columns = [_column(grid.varied[n], [one[n] for one in self.configs]) for n in names]
            self.numbers.append(np.concatenate(columns, axis=1))


def _column(options: list[Any], values: list[Any]) -> Floats:
    """One parameter's values as (n, d) numbers: numbers by their rank, others one by one."""
    if all(type(option) in (int, float) for option in options):
        ranks = [options.index(value) if value in options else 0 for value in values]
        return np.array(ranks, float)[:, None] / max(1, len(options) - 1)
    return np.array([[float(value == option) for option in options] for value in values])


def eeipu(tape: Tape, seed: int, first: int = 10, candidates: int = 512, kept: int = 8) -> None:
    """Expected improvement per expected unit of what a configuration still costs.

    Each stage's seconds have a Gaussian process of their logarithms; a stage that is there costs
    next to nothing. Half of the candidates complete the stages of the best so far. As the budget is
    used up, costs count less.
    """
    table, draw = tape.table, np.random.default_rng(30_000 + seed)
    grid = Encoded(table)
    n, stages = len(grid.configs), range(len(grid.numbers))
    tried, values = list[int](), list[float]()
    there: list[dict[int, tuple[int, float]]] = [{} for _ in stages]

    def run(one: int) -> None:
        row = table.row(grid.configs[one])
        for at, seconds in enumerate(table.cost(row, set(tape.paid))):
            there[at].setdefault(int(grid.until[at][one]), (one, math.log(max(seconds, 1e-4))))
        tried.append(one)
        values.append(row.accuracy[-1])
        tape.whole(grid.configs[one])

    for one in draw.integers(n, size=first):
        run(int(one))
    begun = tape.seconds
    while True:
        seen = tried[-MOST_SEEN:]
        gains = Process(grid.numbers[-1][seen], np.array(values[-MOST_SEEN:]))
        pool = [draw.integers(n, size=candidates // 2)]
        best_first = sorted(range(len(tried)), key=lambda at: values[at], reverse=True)[:kept]
        for at in range(len(stages) - 1):
            for start in best_first:
                same = np.flatnonzero(grid.until[at] == grid.until[at][tried[start]])
                pool.append(draw.choice(same, candidates // (2 * kept * (len(stages) - 1))))
        asked = np.setdiff1d(np.concatenate(pool), tried)
        mean, deviation = gains.at(grid.numbers[-1][asked])
        z = (mean - max(values)) / deviation
        improvement = deviation * (z * norm.cdf(z) + norm.pdf(z))
        seconds = np.zeros((64, len(asked)))
        for at in stages:
            known = list(there[at].values())[-MOST_SEEN:]
            costs = Process(grid.numbers[at][[one for one, _ in known]],
                            np.array([logarithm for _, logarithm in known]))  # fmt: skip
            middle, wide = costs.at(grid.numbers[at][asked])
            sampled = np.exp(middle + wide * draw.standard_normal((64, 1)))
            paid = np.isin(grid.until[at][asked], list(there[at]))
            seconds += np.where(paid, 1e-3, sampled)
        cooling = max(0.0, (tape.most - tape.seconds) / (tape.most - begun))
        run(int(asked[np.argmax(improvement * (1.0 / seconds).mean(0) ** cooling)]))
