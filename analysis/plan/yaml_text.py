"""YAML that somebody else wrote, read as plain data within limits: a few lines of it can stand for
more than memory holds.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from spaces.errors import UserError, on_one_line

MOST_BYTES = 2**20
MOST_VALUES = 50_000
"""Values, those counted again that an alias repeats."""
MOST_DEPTH = 20
MOST_CHARACTERS = 20_000
"""Of one value: a number of many more takes YAML minutes to read."""
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlError(UserError):
    """Text that is no YAML, or more of it than is read."""


def read_yaml(text: bytes | str, where: str, what: str = "file") -> Any:
    """The plain data that ``text`` holds: nothing in it is executed.

    Args:
        where, what: what it is called in an error, and what it is.

    Raises:
        YamlError: one line, if it is no YAML, or is larger, deeper or more than the limits above
            once its aliases are written out.
    """
    if len(text) > MOST_BYTES:
        raise YamlError(
            f"{where}: at most {MOST_BYTES:,} bytes of YAML are read, but got {len(text):,}"
        )
    try:
        _check_extent(text, where)
        return yaml.load(text, LOADER)
    except YamlError:
        raise
    except Exception as error:  # a tag on the wrong value makes its constructor raise anything
        raise YamlError(f"{where}: not a readable YAML {what} ({on_one_line(error)})") from None


def read_yaml_file(path: Path, what: str) -> Any:
    """The plain data in a file.

    Args:
        what: the file should be, in an error: ``plan``, say.

    Raises:
        YamlError: if it is missing, cannot be read, or ``read_yaml`` raises.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MOST_BYTES + 1)
            size = (
                len(content)
                if len(content) <= MOST_BYTES
                else max(path.stat().st_size, len(content))
            )
    except FileNotFoundError:
        raise YamlError(f"{path}: no such {what} file") from None
    except OSError as error:
        raise YamlError(f"{path}: not a readable YAML file ({on_one_line(error)})") from None
    if size > MOST_BYTES:
        raise YamlError(f"{path}: a {what} has at most {MOST_BYTES:,} bytes, but got {size:,}")
    return read_yaml(content, str(path))


def _check_extent(text: bytes | str, where: str) -> None:
    """Count what the text stands for, from the parser's events alone, before anything is built."""
    extents: dict[str, int] = {}
    # (anchor, values so far) of the lists and mappings that are open
    inside: list[tuple[str | None, int]] = []
    total = 0
    for event in yaml.parse(text, LOADER):
        if isinstance(event, yaml.CollectionStartEvent):
            inside.append((event.anchor, total))
            if len(inside) > MOST_DEPTH:
                raise YamlError(
                    f"{where}: lists and mappings stand at most {MOST_DEPTH} deep in each "
                    "other, but got more"
                )
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = inside.pop()
            if anchor:
                extents[anchor] = total - before
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor in {anchor for anchor, _ in inside}:
                raise YamlError(f"{where}: *{event.anchor} stands within itself")
            total += extents.get(str(event.anchor), 1)
        elif isinstance(event, yaml.ScalarEvent):
            if len(event.value) > MOST_CHARACTERS:
                raise YamlError(
                    f"{where}: one value has at most {MOST_CHARACTERS:,} characters, but got "
                    f"{len(event.value):,}"
                )
            total += 1
            if event.anchor:
                extents[event.anchor] = 1
        if total > MOST_VALUES:
            raise YamlError(
                f"{where}: at most {MOST_VALUES:,} values are read, but with its aliases "
                "written out it has more"
            )
