"""``visiontune cache``: the stages that searches left on disk for the next one."""

from __future__ import annotations

import json
import time
from typing import Annotated

import typer

from search.cli.options import RUNS, Json, RunsDir
from spaces.errors import UserError


def cache(
    action: Annotated[
        str,
        typer.Argument(
            metavar="list|size|clear", help="Show what is kept, how much it is, or remove it."
        ),
    ] = "list",
    runs_dir: RunsDir = RUNS,
    json_: Json = False,
) -> None:
    """Stages kept on disk, from which the next search of the same images goes on: list, size,
    clear.
    """
    from trainables.stages.cache import DiskCache, cache_folder, shards_folder

    if action not in ("list", "size", "clear"):
        raise UserError(f"cache wants list, size or clear, but got {action!r}")
    kept = cache_folder(runs_dir)
    packed = DiskCache(shards_folder(runs_dir), 0)  # images, which memory should not hold
    entries = [*kept.entries(), *packed.entries()]
    total = sum(entry.bytes for entry in entries)
    if action == "clear":
        kept.clear()
        packed.clear()
    if action == "list":
        if json_:
            print(json.dumps([vars(entry) for entry in entries]))
            return
        for entry in entries:
            used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
            print(f"{entry.bytes / 2**20:9.2f} MiB  {used}  {entry.digest[:12]}  {entry.stage}")
    if json_:
        print(
            json.dumps(
                {
                    "folder": str(kept.folder),
                    "results": len(entries),
                    "bytes": total,
                    "cleared": action == "clear",
                }
            )
        )
    else:
        print(
            f"{'cleared ' if action == 'clear' else ''}{len(entries)} results, "
            f"{total / 2**20:.2f} MiB in {kept.folder}"
        )


COMMANDS = (cache,)
