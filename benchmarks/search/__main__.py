"""How soon a search finds what it is after, on recorded trials, replayed in virtual time.

    python -m benchmarks.search record cnn|bag-of-sift|embedding --data DIR --out FILE
    python -m benchmarks.search replay [--space NAME] [--method NAME] [--seeds 20] [--first 0]
        [--trials 256] [--sampler-option KEY=VALUE]

``record`` really trains each network of a grid (of CIFAR-10's folder DIR), or computes each stage
of a grid of kNN or embedding configurations (of a folder of scenes), by one thread; killed, it goes
on where it was, and once all is there it keeps the table in ``benchmarks/search/tables``.

``replay`` has each method look for the best accuracy of 64 random configurations that a seed draws,
each run to its end, and prints the seconds until an epoch of a trial comes to it: the recorded ones
of all that was run until then, one after the other. What has not found it in four times what those
64 cost counts as that. The first method, ``ours``, is a search by the command's own driver, on Ray,
at its defaults but for what is given. Medians over the seeds, with an interval of 95 % by the
bootstrap, and how many times as long as ours each took.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.search import methods, ours, pipelines, tables
from benchmarks.search.grids import GRIDS, Grid
from benchmarks.search.tape import DRAWN, GENEROUS, EndedError, Search, Tape, goal
from search.cli.options import read_values


def methods_of(
    grid: Grid, with_ray: bool = True, **settings: Any
) -> dict[str, tuple[Search, bool]]:
    """Search by name, and whether its stages are kept; ours with ``settings`` of its plan."""
    search = partial(ours.ours if with_ray else ours.without_ray, **settings)
    own = {"ours": (search(), True)}
    if not grid.chain:
        bare = {"Ray Tune: OptunaSearch, ASHA": (methods.ray_tune, True)}
        return {
            **own,
            "ours, --pruner none": (search(pruner="none"), True),
            **(bare if with_ray else {}),
            "Optuna: TPE, Hyperband": (methods.hyperband, True),
            "random": (methods.random, True),
        }
    return {
        **own,
        "random, stages kept": (methods.random, True),
        "TPE, nothing kept": (methods.tpe, False),
        "TPE, stages kept": (methods.tpe, True),
        "gridded random (Li et al.)": (pipelines.gridded_random, True),
        "EEIPU (Essofi et al.)": (pipelines.eeipu, True),
    }


def found(search: Search, shares: bool, name: str, seed: int) -> tuple[float, bool]:
    """Virtual seconds of a method to the goal of a seed, and whether it came to it."""
    table = tables.table(name)
    target, cost, _ = goal(table, seed)
    tape = Tape(table, target, GENEROUS * cost, shares)
    with contextlib.suppress(EndedError):
        search(tape, seed)
    return tape.found, tape.reached is not None


def interval(values: Sequence[float], drawings: int = 10_000) -> tuple[float, float, float]:
    """The median, and the 95 % of its bootstrap distribution."""
    draw = np.random.default_rng(0)
    given = np.asarray(values)
    medians = np.median(given[draw.integers(len(given), size=(drawings, len(given)))], axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(np.median(given)), float(low), float(high)


def ratio(others: Sequence[float], own: Sequence[float]) -> tuple[float, float, float]:
    """How many times as long the others' median is as our own, and the same 95 % where seeds are
    drawn for both alike.
    """
    draw = np.random.default_rng(0)
    theirs, mine = np.asarray(others), np.asarray(own)
    rows = draw.integers(len(mine), size=(10_000, len(mine)))
    drawn = np.median(theirs[rows], axis=1) / np.median(mine[rows], axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(np.median(theirs) / np.median(mine)), float(low), float(high)


def told(space: str, came: Mapping[str, Sequence[tuple[float, bool]]]) -> str:
    """A table of what each method came to."""
    lines = [f"{space}: seconds to the best of {DRAWN} random configurations"]
    own = [seconds for seconds, _ in came.get("ours", ())]
    for name, results in came.items():
        seconds = [one for one, _ in results]
        middle, low, high = interval(seconds)
        line = (f"  {name:30} n={len(seconds)} median {middle:7.1f} ({low:.1f} to {high:.1f}), "
                f"found {sum(reached for _, reached in results)}")  # fmt: skip
        if own and name != "ours" and len(own) == len(seconds):
            times, low, high = ratio(seconds, own)
            line += f", {times:.2f} ({low:.2f} to {high:.2f}) times ours"
        lines.append(line)
    return "\n".join(lines)


def replay(options: argparse.Namespace) -> None:
    settings = {
        "trials": options.trials,
        "sampler_options": read_values(options.sampler_option, "--sampler-option"),
    }
    for name in options.space or GRIDS:
        every = methods_of(GRIDS[name], not options.without_ray, **settings)
        wanted = {
            method: how
            for method, how in every.items()
            if not options.method or any(word in method for word in options.method)
        }
        came: dict[str, list[tuple[float, bool]]] = {method: [] for method in wanted}
        with (
            tempfile.TemporaryDirectory() as folder,
            ours.one_ray(Path(folder), options.without_ray),
        ):
            for seed in range(options.first, options.first + options.seeds):
                for method, (search, shares) in wanted.items():
                    came[method].append(found(search, shares, name, seed))
                    print(json.dumps([name, method, seed, *came[method][-1]]), flush=True)
        print(told(name, came), flush=True)


def record(options: argparse.Namespace) -> None:
    from benchmarks.search import networks, stages

    name, there = options.name, tables.there(options.out)
    with tempfile.TemporaryDirectory() as folder:
        lines = (
            stages.computed(name, there, options.data, Path(folder))
            if GRIDS[name].chain
            else networks.trained(there, options.data)
        )
        tables.record(options.out, lines)
    print(tables.pack(options.out, name))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    recording = commands.add_parser("record")
    recording.add_argument("name", choices=GRIDS)
    recording.add_argument("--data", type=Path, required=True)
    recording.add_argument("--out", type=Path, required=True)
    recording.set_defaults(call=record)
    replaying = commands.add_parser("replay")
    replaying.add_argument("--space", choices=GRIDS, action="append")
    replaying.add_argument("--method", action="append", help="part of a name; all if none is given")
    replaying.add_argument("--seeds", type=int, default=20, help="how many")
    replaying.add_argument("--first", type=int, default=0, help="the first of the seeds")
    replaying.add_argument("--trials", type=int, default=ours.TRIALS, help="of ours at most")
    replaying.add_argument(
        "--sampler-option", action="append", default=[], metavar="KEY=VALUE", help="of ours"
    )
    replaying.add_argument(
        "--without-ray",
        action="store_true",
        help="ours by its ledger, study, sampler, pruner and records alone: the same trials sooner",
    )
    replaying.set_defaults(call=replay)
    options = parser.parse_args()
    options.call(options)


if __name__ == "__main__":
    main()
