"""The tables of mistakes, ``*.toml`` beside this file, and where in the tree each of them belongs.

A mistake is found by the text it replaces, which stands exactly once in the product, and its tests
by their names: files may move without the tables noticing.

    [[mutant]]
    name = "idf-counts-test-images"      # unique over all tables
    what = "Inverse document frequency is computed on the test images too"
    old = '''the text as it stands'''
    new = '''the text with the mistake'''
    tests = ["test_idf_is_of_training_images_alone"]
    why = ""                             # only where it survives: why no test can tell
"""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("spaces", "trainables", "analysis", "search")


class TableError(Exception):
    """A table that no longer fits the tree."""


@dataclass(frozen=True)
class Mutant:
    """One mistake; see the module for its parts."""

    name: str
    what: str
    old: str
    new: str
    tests: tuple[str, ...]
    why: str = ""


@dataclass(frozen=True)
class Place:
    """The file that a mistake goes into, relative to the root, and its room: package, and folder in
    it.
    """

    file: str

    @property
    def room(self) -> str:
        return "/".join(self.file.split("/")[:-1])


def load(folder: Path = Path(__file__).parent) -> list[Mutant]:
    """Every mistake of every table.

    Raises:
        TableError: if two have one name.
    """
    found = [
        Mutant(**{**row, "tests": tuple(row["tests"])})
        for path in sorted(folder.glob("*.toml"))
        for row in tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    ]
    names = [mutant.name for mutant in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise TableError(f"names that stand twice: {', '.join(twice)}")
    return found


def places(mutants: Iterable[Mutant]) -> dict[str, Place]:
    """Where each mistake goes, by its name.

    Raises:
        TableError: if the text of one does not stand in the product exactly once; names all of
            them.
    """
    sources = _sources()
    found, wrong = {}, []
    for mutant in mutants:
        files = [file for file, text in sources.items() for _ in range(text.count(mutant.old))]
        if len(files) == 1:
            found[mutant.name] = Place(files[0])
        else:
            wrong.append(
                f"{mutant.name}: its text stands {len(files)} times "
                f"({', '.join(files[:4]) or 'nowhere'})"
            )
    if wrong:
        raise TableError("\n".join(wrong))
    return found


def _sources() -> Mapping[str, str]:
    files = (
        path
        for top in PRODUCT
        for end in ("py", "j2")
        for path in sorted((ROOT / top).rglob(f"*.{end}"))
    )
    return {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in files}


def node_ids(names: Iterable[str]) -> list[str]:
    """pytest's names of the tests called ``names``.

    Raises:
        TableError: if there is no such test, or two.
    """
    known = _tests()
    wrong = [
        f"{name}: {len(known[name])} tests are called that"
        for name in names
        if len(known[name]) != 1
    ]
    if wrong:
        raise TableError("\n".join(wrong))
    return [known[name][0] for name in names]


@cache
def _tests() -> Mapping[str, list[str]]:
    found: defaultdict[str, list[str]] = defaultdict(list)
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for name, within in _functions(ast.parse(path.read_text(encoding="utf-8")).body):
            found[name].append("::".join((path.relative_to(ROOT).as_posix(), *within, name)))
    return found


def _functions(
    body: list[ast.stmt], within: tuple[str, ...] = ()
) -> Iterator[tuple[str, tuple[str, ...]]]:
    for node in body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.name, within
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body, (*within, node.name))
