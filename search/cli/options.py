"""What several commands are given alike, and a search sent elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from spaces.errors import echo
from spaces.plugin_source import PluginError

RunName = Annotated[
    str, typer.Argument(metavar="RUN", help="Name of a run in the runs directory, or path of one.")
]


def _runs_folder(place: str | Path) -> Path:
    """The folder of the runs; for a URI, the folder of this machine that stands for it."""
    from trainables.io.remote import is_uri

    if not is_uri(str(place)):
        return Path(place)
    from analysis.run.working_copy import working_copy

    return working_copy(str(place))


RunsDir = Annotated[
    Path,
    typer.Option(
        "--runs-dir",
        metavar="DIR|URI",
        envvar="VISIONTUNE_RUNS",
        parser=_runs_folder,
        help="Directory of all runs, or s3://…, gs://….",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="auto|HOST:PORT|URL",
        envvar="VISIONTUNE_ADDRESS",
        help="Search on a Ray cluster that this machine is a node of.",
    ),
]
Submit = Annotated[
    bool,
    typer.Option(
        "--submit",
        help="Do it as a job of a Ray cluster; --address is its job server, by default "
        "http://127.0.0.1:8265.",
    ),
]
DropLeaked = Annotated[
    bool,
    typer.Option(
        "--drop-leaked",
        help="Leave test images that are also training images out of the test score; both figures "
        "are told.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RUNS = Path("runs")


def key_values(pairs: list[str], option: str) -> dict[str, str]:
    """``["k=5"]`` as a dict."""
    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key or not value:
            raise typer.BadParameter(f"{option} wants KEY=VALUE, but got {echo(pair)}")
        settings[key.strip()] = value.strip()
    return settings


def read_values(pairs: list[str], option: str) -> dict[str, Any]:
    """The same with the values as YAML has them."""
    from analysis.plan.yaml_text import read_yaml

    texts = key_values(pairs, option)
    return {key: read_yaml(text, f"{option} {key}", "value") for key, text in texts.items()}


def submit_job(
    words: list[str], files: dict[str, str], address: str | None, runs_dir: Path, json_: bool
) -> int:
    """Do ``visiontune WORDS`` as a job of a cluster."""
    from analysis.run.working_copy import place_of
    from search.cluster.submit import submit

    return submit(words, files, address, place_of(runs_dir), json_)


def plugins_named(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words of a command line without ``--plugin``, and what that named.

    Raises:
        PluginError: if one names nothing.
    """
    rest, words = list[str](), list[str]()
    given = iter(arguments)
    for word in given:
        if word == "--":
            return [*rest, word, *given], words
        if word == "--plugin" or word.startswith("--plugin="):
            value = next(given, "") if word == "--plugin" else word.partition("=")[2]
            if not value or value.startswith("-"):
                raise PluginError("--plugin wants a file or a module, as in --plugin mine.py")
            words.append(value)
        else:
            rest.append(word)
    return rest, words
