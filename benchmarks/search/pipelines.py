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

from benchmarks.search.methods import DRAWN, Tape, drawn
from benchmarks.search.tables import Table

Floats = npt.NDArray[np.float64]


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
        for length, noise in itertools.product((0.5, 1.0, 2.0, 4.0), (1e-3, 1e-2, 1e-1)):
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


def eeipu(tape: Tape, seed: int, first: int = 10, candidates: int = 256, kept: int = 8) -> None:
    """Expected improvement per expected unit of what a configuration still costs.

    Each stage's seconds have a Gaussian process of their logarithms; a stage that is there costs
    next to nothing. Among the candidates are completions of the stages of the best so far. As the
    budget is used up, costs count less.
    """
    table, draw = tape.table, np.random.default_rng(30_000 + seed)
    chain = table.grid.chain
    tried: list[dict[str, Any]] = []
    values: list[float] = []
    costs: list[list[tuple[Floats, float]]] = [[] for _ in chain]
    there: list[set[tuple[Any, ...]]] = [set() for _ in chain]

    def run(config: dict[str, Any]) -> None:
        row = table.row(config)
        for at, seconds in enumerate(table.cost(row, set(tape.paid))):
            key = _until(config, chain, at)
            if key not in there[at]:
                costs[at].append((_numbers(table, config, at), math.log(max(seconds, 1e-4))))
                there[at].add(key)
        tried.append(config)
        values.append(row.accuracy[-1])
        tape.whole(config)

    for _ in range(first):
        run(drawn(table, draw))
    begun = tape.seconds
    while True:
        told = np.stack([_numbers(table, config) for config in tried[-300:]])
        gains = Process(told, np.array(values[-300:]))
        spent = [
            Process(np.stack([x for x, _ in some[-200:]]), np.array([y for _, y in some[-200:]]))
            for some in costs
        ]
        pool = [drawn(table, draw) for _ in range(candidates)]
        best_first = sorted(range(len(tried)), key=lambda at: values[at], reverse=True)
        for at in range(1, len(chain)):
            for start in best_first[:kept]:
                for _ in range(candidates // (kept * len(chain))):
                    head = [_part(tried[start], names) for names in chain[:at]]
                    tail = [_part(drawn(table, draw), names) for names in chain[at:]]
                    pool.append(_complete(table, [*head, *tail]))
        had = {table.grid.key(config) for config in tried}
        pool = [config for config in pool if table.grid.key(config) not in had] or pool
        mean, deviation = gains.at(np.stack([_numbers(table, config) for config in pool]))
        z = (mean - max(values)) / deviation
        improvement = deviation * (z * norm.cdf(z) + norm.pdf(z))
        seconds = np.zeros((64, len(pool)))
        for at, one in enumerate(spent):
            middle, wide = one.at(np.stack([_numbers(table, config, at) for config in pool]))
            paid = np.array([_until(config, chain, at) in there[at] for config in pool])
            sampled = np.exp(middle + wide * draw.standard_normal((64, 1)))
            seconds += np.where(paid, 1e-3, sampled)
        cooling = max(0.0, (tape.most - tape.seconds) / (tape.most - begun))
        run(pool[int(np.argmax(improvement * (1.0 / seconds).mean(0) ** cooling))])


def _until(config: dict[str, Any], chain: tuple[tuple[str, ...], ...], at: int) -> tuple[Any, ...]:
    """What tells the stages up to one from others."""
    return tuple(config[name] for names in chain[: at + 1] for name in names)


def _numbers(table: Table, config: dict[str, Any], at: int | None = None) -> Floats:
    """A configuration, up to a stage or whole, as numbers: numbers by their rank, others one by
    one.
    """
    grid = table.grid
    names = [n for part in grid.chain[: None if at is None else at + 1] for n in part]
    found: list[float] = []
    for name in names:
        options = grid.varied[name]
        if all(type(option) in (int, float) for option in options):
            rank = options.index(config[name]) if config[name] in options else 0
            found.append(rank / max(1, len(options) - 1))
        else:
            found += [float(config[name] == option) for option in options]
    return np.array(found)
