"""The columns of a table of images, in CSV or Parquet, as text, and what each is for."""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spaces.errors import DatasetError, echo, on_one_line
from trainables.data.dataset import few

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = {
    "path": ("path", "image", "file", "filename", "image_path", "file_name", "filepath"),
    "label": ("label", "class", "category", "target"),
    "split": ("split", "part", "subset"),
    "group": ("group", "group_id"),
}
"""What a column is for, and the names under which it is found, in any case."""
NEEDED = ("path", "label")
MOST_ROWS = 5_000_000
LONGEST_HEADER = 1_000_000
LONGEST = 4096
"""Bytes of a cell: of a path, what systems take."""
NO_UTF8 = "is not UTF-8; save it as CSV in UTF-8"
TOO_LONG = "has a row of more than a million bytes; is a quote opened that is never closed?"


def read_columns(spec: str, path: Path, notes: list[str]) -> dict[str, list[str]]:
    """The columns that are used, as text, by what they are for; ``path`` and ``label`` have no cell
    that is empty.

    Args:
        notes: what is to be said of it is added to these.

    Raises:
        DatasetError: in one line.
    """
    import pyarrow as pa

    try:
        columns, batches = (_parquet if spec.startswith("parquet:") else _csv)(spec, path, notes)
        found: dict[str, list[str]] = {use: [] for use in columns}
        while batches:  # each is let go of when it is read
            batch = batches.popleft()
            for use, name in columns.items():
                found[use] += _texts(spec, name, batch.column(name), len(found[use]))
    except DatasetError:
        raise
    except (OSError, ValueError, MemoryError, pa.ArrowException) as error:
        if "UTF8" in str(error):
            raise DatasetError(f"{spec}: {NO_UTF8}") from None
        if "straddling" in str(error):
            raise DatasetError(f"{spec}: {TOO_LONG}") from None
        raise DatasetError(f"{spec}: cannot be read as a table: {on_one_line(error)}") from None
    if not found["path"]:
        raise DatasetError(f"{spec}: has no rows; expected one an image")
    for use in NEEDED:
        if "" in found[use]:
            row = found[use].index("") + 1
            raise DatasetError(f"{spec}: row {row}: {columns[use]} is empty")
    if bad := next((row for row, text in enumerate(found["label"], 1) if "\0" in text), None):
        raise DatasetError(f"{spec}: row {bad}: {columns['label']} has a NUL byte in it")
    return found


def _counted(spec: str, batches: Iterable[pa.RecordBatch]) -> deque[pa.RecordBatch]:
    """All of them, which are a few bytes a row, unless there are too many rows."""
    found, count = deque[Any](), 0
    for batch in batches:
        count += batch.num_rows
        if count > MOST_ROWS:
            raise DatasetError(f"{spec}: has more than {MOST_ROWS:,} rows; give a part of them")
        found.append(batch)
    return found


def _parquet(
    spec: str, path: Path, notes: list[str]
) -> tuple[dict[str, str], deque[pa.RecordBatch]]:
    """What its columns are called, and the rows of those that are used."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        columns = _columns(spec, schema.names, notes)
        for name in columns.values():
            _check_kind(spec, name, schema.field(name).type)
        if file.metadata.num_rows > MOST_ROWS:
            raise DatasetError(
                f"{spec}: has {file.metadata.num_rows:,} rows, more than {MOST_ROWS:,}; give a "
                "part of them"
            )
        return columns, _counted(spec, file.iter_batches(columns=list(columns.values())))


def _csv(spec: str, path: Path, notes: list[str]) -> tuple[dict[str, str], deque[pa.RecordBatch]]:
    """The same of a file of text."""
    import pyarrow as pa
    import pyarrow.csv as pc

    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            first = "\n"
            while first and not first.strip("\r\n"):
                first = file.readline(LONGEST_HEADER)
            names = next(csv.reader([first]), [])
        except UnicodeDecodeError:
            raise DatasetError(f"{spec}: {NO_UTF8}") from None
        except csv.Error as error:
            why = on_one_line(error)
            raise DatasetError(f"{spec}: its first line is no names of columns ({why})") from None
    if "\0" in first:
        raise DatasetError(f"{spec}: {NO_UTF8}")
    if not names:
        raise DatasetError(f"{spec}: has no rows; expected one an image")
    columns = _columns(spec, names, notes)
    convert = pc.ConvertOptions(
        include_columns=list(columns.values()),
        column_types=dict.fromkeys(columns.values(), pa.string()),
        strings_can_be_null=False,
    )
    parse = pc.ParseOptions(newlines_in_values=True)
    return columns, _counted(spec, pc.open_csv(path, parse_options=parse, convert_options=convert))


def _columns(spec: str, names: list[str], notes: list[str]) -> dict[str, str]:
    """What each of the columns that are used is called."""
    found: dict[str, str] = {}
    for use, words in COLUMNS.items():
        mine = [name for name in names if name.strip().casefold() in words]
        if len(mine) > 1:
            raise DatasetError(
                f"{spec}: columns {few(mine)} are all for the {use}; rename all but one"
            )
        if mine:
            found[use] = mine[0]
        elif use in NEEDED:
            other = len(names) == 1 and next((mark for mark in ";\t|" if mark in names[0]), "")
            raise DatasetError(
                f"{spec}: no column for the {use}: expected {words[0]} (or "
                f"{', '.join(words[1:])}), but there is {few([echo(name) for name in names], 10)}"
                + (f"; columns are parted by commas, not by {other!r}" if other else "")
            )
    if rest := [name for name in names if name not in found.values()]:
        notes.append(f"columns that are not used: {few([echo(name) for name in rest])}")
    return found


def _check_kind(spec: str, name: str, kind: pa.DataType) -> None:
    """Refuse a column of what is neither text nor whole numbers."""
    from pyarrow import types

    value = kind.value_type if types.is_dictionary(kind) else kind
    known = (
        types.is_string, types.is_large_string, types.is_string_view, types.is_integer,
        types.is_null,
    )  # fmt: skip
    if not any(test(value) for test in known):
        raise DatasetError(f"{spec}: column {name} must be text or whole numbers, but is {value}")


def _texts(spec: str, name: str, column: pa.Array, before: int) -> list[str]:
    """A column as text, its missing values as none; a text that comes often is held once.

    Args:
        before: rows that came before these.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    text = pc.cast(column, pa.string())
    if (pc.max(pc.binary_length(text)).as_py() or 0) > LONGEST:
        lengths = pc.fill_null(pc.binary_length(text), 0).to_pylist()
        row = next(row for row, length in enumerate(lengths, before + 1) if length > LONGEST)
        raise DatasetError(f"{spec}: row {row}: {name} has more than {LONGEST:,} bytes")
    once: dict[str, str] = {}
    return [
        once.setdefault(value, value)
        for value in (value.strip() if value else "" for value in text.to_pylist())
    ]
