"""The command that makes the report's tables again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from search.cli.options import RUNS, Json, RunsDir

if TYPE_CHECKING:
    from analysis.report.reproduced import Number


def reproduce(
    tables: Annotated[
        str | None,
        typer.Option(
            help="1 to 7, architecture and ladder, separated by commas; by default all whose "
            "images are given."
        ),
    ] = None,
    scenes: Annotated[
        Path | None, typer.Option(help="Folder of the 15 scenes, with train and test.")
    ] = None,
    cifar: Annotated[
        Path | None,
        typer.Option(help="Folder of CIFAR-10: with train and val, or as torchvision keeps it."),
    ] = None,
    seeds: Annotated[
        int, typer.Option(min=1, help="Vocabularies that tables 3 and 4 are made with.")
    ] = 3,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of page, pictures and finished parts; by default reproduce in the runs "
            "directory."
        ),
    ] = None,
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="Train networks in full, although there is no CUDA GPU: hours to days."
        ),
    ] = False,
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """The report's tables and figures, its numbers beside ours; selected on the test images, as the
    report did.

    Writes reproduce.html, PNGs and reproduce.json. Stopped and typed again, it goes on with what is
    not finished.
    """
    from analysis.plan.plan import Plan
    from analysis.report.reproduced import numbers_of, write_page
    from search.reproduce.tables import TableRequest, machine
    from search.reproduce.tables import reproduce as run_tables
    from search.screen.terminal import outlive_terminal
    from trainables.stages.cache import stage_cache

    asked = tuple(number.strip() for number in tables.split(",")) if tables is not None else ()
    request = TableRequest(asked, scenes, cifar, seeds, full)
    folder = out or runs_dir / "reproduce"
    outlive_terminal()  # it may take days
    cache = stage_cache(runs_dir, Plan.model_fields["cache_gib"].default)
    made = run_tables(request, folder, cache, lambda line: print(line, file=sys.stderr, flush=True))
    write_page(made.tables, folder, machine(), made.seconds)
    if json_:
        print((folder / "reproduce.json").read_text(encoding="utf-8"))
        return
    numbers = numbers_of(made.tables)
    for name, table in made.tables.items():
        print(f"{name}: {table['title']}{_measured_on(table)}")
        for item in numbers:
            if item.table == name:
                print(_line(item))
    print(folder / "reproduce.html")


def _line(item: Number) -> str:
    """One number, as a line."""
    digits = item.digits
    report = f"{item.relation if item.relation != 'is' else ''} {item.report:.{digits}f}"
    ours = "–" if item.ours is None else f"{item.ours:.{digits}f}"
    difference = "–" if item.difference is None else f"{item.difference:+.{digits}f}"
    more = [f"spread {item.spread:.4f}"] if item.spread is not None else []
    more += ["holds" if item.holds else "does not hold"] if item.holds is not None else []
    more += ["shortened"] if item.shortened else []
    return (
        f"  {item.what:42} report {report:>13}  ours {ours:>10}  {difference:>10}  "
        f"{', '.join(more)}"
    ).rstrip()


def _measured_on(table: dict[str, Any]) -> str:
    """Images, vocabularies, and what was shortened."""
    said = f"{table['n']:,} {table['split']} images" if "split" in table else ""
    drawn = "one vocabulary" if "by_seed" in table else ""
    drawn = (
        f"mean and spread over {len(table['by_seed'])} vocabularies" if "spread" in table else drawn
    )
    cuts = [table["cut"]] if table.get("cut") else []
    cuts += [
        f"{name}: {network['cut']}"
        for name, network in table.get("networks", {}).items()
        if network.get("cut")
    ]
    parts = [part for part in (said, drawn, *(f"shortened: {cut}" for cut in cuts)) if part]
    return f" ({'; '.join(parts)})" if parts else ""


COMMANDS = (reproduce,)
