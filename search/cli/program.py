"""The program's commands by name, each built when it is asked for: there are many, and building
all of them takes longer than answering ``visiontune --help``.
"""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

import typer
import typer.core
from typer import Abort

from search.cli import analysis as cli_analysis
from search.cli import cache as cli_cache
from search.cli import changing as cli_changing
from search.cli import describe as cli_describe
from search.cli import doctor as cli_doctor
from search.cli import life as cli_life
from search.cli import reproduce as cli_reproduce
from search.cli import results as cli_results
from search.cli import search as cli_search
from search.cli import use as cli_use
from spaces import plugins

__all__ = ["Abort", "UsageError", "app"]
# typer carries its own click, and names the base of its usage errors nowhere public
UsageError: type[Exception] = typer.BadParameter.__bases__[0]
GROUPS = (
    cli_search,
    cli_life,
    cli_changing,
    cli_results,
    cli_analysis,
    cli_cache,
    cli_describe,
    cli_doctor,
    cli_reproduce,
    cli_use,
)
FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__.rstrip("_"): function
    for function in itertools.chain.from_iterable(group.COMMANDS for group in GROUPS)
}
ENDS: dict[str, Callable[[], str]] = {"describe": cli_describe.networks}
"""What stands at the end of a command's help, made when it is asked for."""
PLAIN: dict[str, Any] = {"rich_markup_mode": None, "pretty_exceptions_enable": False}


Plugin = Annotated[
    list[str] | None,
    typer.Option(
        "--plugin",
        metavar="MODULE|FILE",
        help="Python of yours that adds networks, distances, …; may be given several times.",
    ),
]


def _with_plugin(command: Callable[..., Any]) -> Callable[..., Any]:
    """``command``, whose help names the option; it has been taken from the words by then, since
    what it adds may be a value of another.
    """

    @functools.wraps(command)
    def run(plugin: object = None, **options: Any) -> Any:
        return command(**options)

    signature = inspect.signature(command, eval_str=True)
    last = inspect.Parameter(
        "plugin", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Plugin
    )
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), last]
    )
    return run


def _end(name: str = "") -> str:
    """The end of a help: a command's own, and what the plug-ins that are loaded add."""
    own = [ENDS[name]()] if name in ENDS else []
    return "\n\n".join([*own, *map(str, plugins.loaded())])


class Built(Mapping[str, Any]):
    """Typer's commands by name, each built the first time that it is looked up."""

    def __init__(self) -> None:
        self._built: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._built:
            alone = typer.Typer(add_completion=False, **PLAIN)
            alone.command(name=name)(_with_plugin(FUNCTIONS[name]))
            self._built[name] = typer.main.get_command(alone)
        self._built[name].epilog = _end(name)
        return self._built[name]

    def __contains__(self, name: object) -> bool:
        return name in FUNCTIONS

    def __iter__(self) -> Iterator[str]:
        return iter(FUNCTIONS)

    def __len__(self) -> int:
        return len(FUNCTIONS)


class Commands(typer.core.TyperGroup):
    """The group of all commands."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands: Any = Built()

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """With what plug-ins add."""
        super().format_epilog(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(_end())

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Each with the first sentence of what it does."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, sentence(inspect.getdoc(does) or "")) for name, does in FUNCTIONS.items()]
            )


def sentence(text: str) -> str:
    """The first sentence of a docstring, on one line and without its full stop."""
    return " ".join(text.split("\n\n")[0].split()).partition(". ")[0].rstrip(".")


app = typer.Typer(
    name="visiontune",
    cls=Commands,
    epilog="With --debug anywhere, an error shows its traceback.",
    **PLAIN,
)


def _say_version(asked: bool) -> None:
    if asked:
        from search.doctor.versions import VERSION

        print(f"visiontune {VERSION}")
        raise typer.Exit


@app.callback()
def visiontune(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_say_version, is_eager=True, help="Say which it is."),
    ] = False,
) -> None:
    """Find the best image classifier for a folder of images: a Ray-distributed hyperparameter
    search.
    """
