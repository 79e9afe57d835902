"""Plug-ins: modules of a user's own that add to the registries, named on the command line.

Never by a plan or a bundle: those hold the name and the SHA-256 of a plug-in's source, by which a
user is told what to type, and import nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

from spaces.errors import UserError, on_one_line, shown
from spaces.plugin_source import PluginError, installed_source, source_sha256
from spaces.registry import add, registries

GROUP = "visiontune.plugins"
"""Entry points of installed packages: each names a module, or its function ``register``."""
VARIABLE = "VISIONTUNE_PLUGINS"
"""More of them, as ``--plugin`` names them, with ``:`` between; files by their whole paths."""
WANTED = "VISIONTUNE_WANTED_PLUGINS"
"""What a worker is to load, as ``wanted`` says it."""
OURS = ("spaces", "trainables", "analysis", "search", "tests", "benchmarks")


@dataclass(frozen=True)
class Plugin:
    """A plug-in that has been loaded.

    Attributes:
        name: of its module.
        source: its file, or the folder of its package.
        sha256: of its source.
        register: its function that adds.
        installed: it is there because a package is installed, and not because somebody asked.
    """

    name: str
    source: Path
    sha256: str
    register: str = "register"
    installed: bool = False

    @property
    def words(self) -> set[str]:
        """By which a plan or a configuration names what it added."""
        from spaces.space import Space

        things = [
            thing for registry in registries() for thing in registry.added_by(self.name).values()
        ]
        own = [
            parameter
            for thing in things
            if not isinstance(thing, Space)  # whose parameters are asked for with it alone
            for parameter in getattr(thing, "parameters", ())
        ]
        return {thing.name for thing in (*things, *own)}

    def __str__(self) -> str:
        adds = [
            f"{registry.word} {thing.name}"
            for registry in registries()
            for thing in registry.added_by(self.name).values()
        ]
        return f"plug-in {self.name} adds {', '.join(dict.fromkeys(adds)) or 'nothing'}"


_loaded: dict[str, Plugin] = {}
_problems: list[str] = []
_made: set[str] = set()
"""Modules of files, which nothing else has imported."""


def loaded() -> tuple[Plugin, ...]:
    """Those there are, in the order in which they were loaded."""
    return tuple(_loaded.values())


def load(words: Iterable[str], installed: bool = True) -> None:
    """Import plug-ins, and have them add what they bring: all or none of them.

    Args:
        words: each a file, a folder that is a package, or the name of a module; a name that is no
            installed module is looked for in the working directory.
        installed: also those that ``VISIONTUNE_PLUGINS`` and entry points name.

    Raises:
        PluginError: in one line, if one cannot be found, imported, or what it adds is refused.
    """
    before = set(_loaded)
    try:
        for word in words:
            _load(word, f"--plugin {shown(word)}", here=True)
        if installed:
            for word in filter(None, os.environ.get(VARIABLE, "").split(os.pathsep)):
                _load(word, f"{VARIABLE}: {shown(word)}", here=False)
            for package, name, module, function in _entry_points():
                where = f"plug-in {shown(name)} of package {shown(package)}"
                _add(module, None, where, function or "register", installed=True)
    except BaseException:
        for name in set(_loaded) - before:
            unload(name)
        raise


def _entry_points() -> list[tuple[str, str, str, str]]:
    """(package, name, module, function) of each of ours. Files are looked through first: to ask
    for entry points takes as long as half of ``visiontune --help``.
    """
    for folder in sys.path:
        with contextlib.suppress(OSError), os.scandir(folder or ".") as there:
            for entry in there:
                if entry.name.endswith((".dist-info", ".egg-info")):
                    with contextlib.suppress(OSError):
                        text = Path(entry.path, "entry_points.txt").read_bytes()
                        if GROUP.encode() in text:
                            return _asked_entry_points()
    return []


def _asked_entry_points() -> list[tuple[str, str, str, str]]:
    from importlib.metadata import entry_points

    return [
        (point.dist.name if point.dist else "", point.name, point.module, point.attr)
        for point in entry_points(group=GROUP)
    ]


def unload(name: str) -> None:
    """Take back what a plug-in added, and forget its module."""
    _take_back(name)
    _loaded.pop(name, None)
    if name in _made:
        _forget(name)


def _forget(name: str) -> None:
    _made.discard(name)
    for module in [m for m in sys.modules if m == name or m.startswith(f"{name}.")]:
        del sys.modules[module]


def unload_all() -> None:
    for plugin in loaded():
        unload(plugin.name)


def digest() -> str:
    """Of the source of all that are loaded; empty if there are none."""
    return " ".join(sorted(f"{plugin.name}={plugin.sha256}" for plugin in loaded()))


def sha256s(words: Iterable[object], asked: bool = False) -> dict[str, str]:
    """SHA-256 of the source, by name, of each plug-in that adds what one of ``words`` names.

    Args:
        asked: also give those that a user asked for, whatever they add.
    """
    used = {word for word in words if isinstance(word, str)}
    return {
        plugin.name: plugin.sha256
        for plugin in loaded()
        if used & plugin.words or (asked and not plugin.installed)
    }


def need(wanted: Mapping[str, str], what: str) -> None:
    """Refuse to go on without plug-ins, or with others of their names.

    Args:
        wanted: SHA-256 by name, as it is kept.
        what: needs them, ``"run x"``.

    Raises:
        PluginError: saying what to type.
    """
    for name, sha256 in wanted.items():
        there = _loaded.get(name)
        if there is None:
            raise PluginError(
                f"{what} needs plug-in {shown(name)} (SHA-256 {sha256[:12]}…), which is not "
                "loaded; type the command again with --plugin and the file or the module of it"
            )
        if there.sha256 != sha256:
            raise PluginError(
                f"{what} needs plug-in {shown(name)} as it was (SHA-256 {sha256[:12]}…), but "
                f"{shown(there.source)} has changed since (SHA-256 {there.sha256[:12]}…); put that "
                "source back, or start a new run"
            )


def _load(word: str, where: str, here: bool) -> None:
    path = Path(word).expanduser()
    if word.endswith(".py") or os.sep in word:
        if not here and not path.is_absolute():
            raise PluginError(f"{where}: must be the name of a module, or the whole path of a file")
        _add(path.stem, _source_at(path, where), where)
        return
    source = None
    if installed_source(word) is None and here:
        source = next((p for p in (Path(f"{word}.py"), path) if p.exists()), None)
        if source is None:
            raise PluginError(
                f"{where}: there is no installed module of that name, and no {shown(word)}.py in "
                "the working directory; name the file"
            )
    _add(word, source and _source_at(source, where), where)


def _source_at(path: Path, where: str) -> Path:
    """The file, or the folder of a package, at ``path``."""
    if not path.exists():
        raise PluginError(f"{where}: there is no such file")
    if path.is_dir() and not (path / "__init__.py").is_file():
        raise PluginError(f"{where}: a folder must be a package (with __init__.py); name a file")
    if not path.is_dir() and path.suffix != ".py":
        raise PluginError(f"{where}: must be a Python file (.py), a package or a module")
    path = path.absolute()
    name = path.stem
    if not name.isidentifier() or name in OURS or name in sys.stdlib_module_names:
        raise PluginError(f"{where}: {shown(name)} cannot be its name; rename the file")
    other = installed_source(name)
    if other is not None and name not in _loaded and source_sha256(other) != source_sha256(path):
        raise PluginError(
            f"{where}: there is a module {name} already, {shown(other)}; rename the file"
        )
    return path


def _add(
    name: str,
    source: Path | None,
    where: str,
    function: str = "register",
    installed: bool = False,
) -> None:
    if name in _loaded:  # named twice
        if source is not None and _loaded[name].source != source:
            raise PluginError(f"{where}: there is a plug-in {name} already; rename the file")
        return
    there = source or installed_source(name)
    if there is None:
        raise PluginError(f"{where}: there is no installed module {shown(name)}")
    sha256 = source_sha256(there)
    from spaces.known import renew

    try:
        register = getattr(_module(name, source), function, None)
        if not callable(register):
            raise PluginError(f"has no function {function}(add), which adds what it brings")
        register(partial(add, by=name))
        renew()
    except UserError as error:
        unload(name)
        raise PluginError(f"{where}: {str(error).removeprefix(f'{name}: ')}") from error
    except (Exception, SystemExit) as error:
        unload(name)
        raise PluginError(
            f"{where}: fails when it is loaded ({type(error).__name__}: {on_one_line(error)}); "
            "--debug shows where"
        ) from error
    _loaded[name] = Plugin(name, there, sha256, function, installed)


def _module(name: str, source: Path | None) -> ModuleType:
    """The module, imported; one that is a file without its folder becoming importable."""
    if source is None:
        return importlib.import_module(name)
    package = source / "__init__.py" if source.is_dir() else source
    folders = [str(source)] if source.is_dir() else None
    spec = importlib.util.spec_from_file_location(name, package, submodule_search_locations=folders)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _made.add(name)
    spec.loader.exec_module(module)
    return module


def _take_back(name: str) -> None:
    from spaces.known import renew

    for registry in registries():
        for thing in registry.added_by(name):
            registry.remove(thing)
    renew()


def wanted() -> str:
    """What ``load_wanted`` is to load, as a word of an environment."""
    return json.dumps([[plugin.name, plugin.register, plugin.sha256] for plugin in loaded()])


def load_wanted() -> None:
    """In a worker: load what ``WANTED`` names, each by now a module that can be imported. What goes
    wrong is for ``there`` to tell: whoever raises here is started again for ever.
    """
    try:
        for name, function, sha256 in json.loads(os.environ.get(WANTED, "[]")):
            load_modules([(name, function)])
            if _loaded[name].sha256 != sha256:
                raise PluginError(f"plug-in {name} is another there, {_loaded[name].source}")
    except PluginError as error:
        _problems.append(str(error))


def load_modules(named: Iterable[Sequence[str]]) -> None:
    """Load plug-ins that can be imported here by their names.

    Args:
        named: of each, the module and its function that adds.
    """
    for name, function in named:
        _add(name, None, f"plug-in {name}", function)


def sources() -> list[tuple[str, str, str]]:
    """What ``load_sources`` takes."""
    return [(plugin.name, str(plugin.source), plugin.register) for plugin in loaded()]


def load_sources(given: Iterable[tuple[str, str, str]]) -> None:
    """In another process of this machine: load what this one had loaded."""
    for name, source, function in given:
        file = "." not in name and installed_source(name) is None
        _add(name, Path(source) if file else None, f"plug-in {name}", function)


def there() -> tuple[str, str]:
    """Of the process that runs it: the digest of what it has loaded, and what went wrong."""
    return digest(), "; ".join(_problems)


def difference(other: tuple[str, str]) -> str:
    """What is wrong with a process that answered ``there``; empty if it has what this one has."""
    theirs, problem = other
    if problem or theirs == digest():
        return problem
    return f"plug-ins there are {theirs or 'none'}, and here {digest() or 'none'}"
