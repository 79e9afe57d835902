"""Which files of the product name private parts of a library, for the tests of those parts."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from program import ROOT

LAYERS = ("spaces", "trainables", "analysis", "search")
NOT_THE_LIBRARY_S = {"_replace", "_exit", "_getframe", "_make_layer"}
"""Private or alike in Python's own or torchvision's parts."""


def private_uses(library: str) -> set[str]:
    """Files that name a private module, attribute or option of ``library``, or anything that stands
    in for one (``unittest.mock``); every other private name must be of our own class.
    """
    found = set()
    for layer in LAYERS:
        for path in (ROOT / layer).rglob("*.py"):
            source = path.read_text(encoding="utf-8")
            if re.search(rf"\b{library}\b", source) and any(_private(ast.parse(source))):
                found.add(path.relative_to(ROOT).as_posix())
    return found


def _private(tree: ast.AST) -> Iterator[str]:
    """What of a file names private parts that are not its own."""
    nodes = list(ast.walk(tree))
    own = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    own |= {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    own |= {
        node.target.id
        for node in nodes
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [] if node.attr in own | NOT_THE_LIBRARY_S else [node.attr]
        elif isinstance(node, ast.keyword) and node.arg:
            names = [node.arg]
        else:
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "unittest" or any(_is_private(part) for part in parts):
                yield name


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name != "_"
