"""``csv:FILE`` and ``parquet:FILE``: a row an image, with columns for its path and its label and,
as wished, for its split and its group.

Paths are relative to the folder of the file, and none may leave it. Rows without a split are
training images. Images of one group (a patient, a video, a place) are never split: neither by the
table, which is refused if it does, nor by a search that holds some out or makes folds.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from spaces.errors import DatasetError, echo, on_one_line
from trainables.data.dataset import Dataset, few
from trainables.data.listed import File, Listed, read_listed
from trainables.data.names import PARTS, check_utf8, part_of, parts_in_words, twins
from trainables.data.options import ReadOptions
from trainables.io.remote import is_uri

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
NO_UTF8 = "is not UTF-8; save it as CSV in UTF-8"
DRIVE = re.compile(r"[A-Za-z]:")
Row = dict[str, str]


def check_table(spec: str, place: str) -> None:
    """Refuse a table that is not there, or says what cannot be; opens no image."""
    files_of_table(spec, place, ReadOptions(judged_only=True))


def read_table(spec: str, place: str, options: ReadOptions) -> Dataset:
    """Read the images that a CSV or Parquet table names.

    Raises:
        DatasetError: in one line, if the table cannot be read, or a row has a class, split, group
            or path that is not allowed.
    """
    return read_listed(spec, files_of_table(spec, place, options), options)


def files_of_table(spec: str, place: str, options: ReadOptions) -> Listed:
    """The files that a table names: by split, class and row."""
    if is_uri(place):
        raise DatasetError(
            f"{spec}: a table is read from this machine, with its images beside it; copy both here"
        )
    table = Path(place)
    if not table.is_file():
        raise DatasetError(f"{spec}: no such file")
    root, notes = table.parent, list[str]()
    try:
        rows = list(_rows(spec, table, notes))
    except DatasetError:
        raise
    except (OSError, ValueError) as error:  # pyarrow's own are among these
        if "UTF8" in str(error):
            raise DatasetError(f"{spec}: {NO_UTF8}") from None
        raise DatasetError(f"{spec}: cannot be read as a table: {on_one_line(error)}") from None
    if not rows:
        raise DatasetError(f"{spec}: has no rows; expected one an image")
    paths = _paths(spec, root, rows)
    classes = tuple(sorted({row["label"] for row in rows}))
    notes += [f"warning: two classes {said}" for said in twins(classes)]
    numbers = [name for name in classes if _is_number(name)]
    if numbers and len(numbers) < len(classes):
        notes.append(
            f"warning: some labels are numbers ({few(numbers)}) and others are not; all are taken "
            "as text"
        )
    splits = {row["split"] for row in rows}
    if "train" not in splits and not options.judged_only:
        raise DatasetError(f"{spec}: has no row of train; its splits are {', '.join(splits)}")
    _check_groups(spec, rows)
    place_of = {name: number for number, name in enumerate(classes)}
    order = {name: number for number, name in enumerate(PARTS)}
    files = [
        File(row["split"], path, place_of[row["label"]], row["group"])
        for row, path in zip(rows, paths, strict=True)
    ]
    files.sort(key=lambda file: (order[file.split], file.label))
    listed = Listed(root, classes, tuple(files), tuple(notes))
    _check_train(spec, listed, options)
    return listed


def _rows(spec: str, path: Path, notes: list[str]) -> Iterator[Row]:
    """Each row, by what its columns are for."""
    count = 0
    columns: dict[str, str] | None = None
    for batch in _batches(spec, path):
        if columns is None:
            columns = _columns(spec, batch.schema.names, notes)
        count += batch.num_rows
        if count > MOST_ROWS:
            raise DatasetError(f"{spec}: has more than {MOST_ROWS:,} rows; give a part of them")
        values = {use: _texts(spec, name, batch.column(name)) for use, name in columns.items()}
        for number in range(batch.num_rows):
            where = f"{spec}: row {count - batch.num_rows + number + 1}"
            row = {use: texts[number] for use, texts in values.items()}
            for use in NEEDED:
                if not row[use]:
                    raise DatasetError(f"{where}: {columns[use]} is empty")
            if said := check_utf8("the path", row["path"]) or check_utf8("the label", row["label"]):
                raise DatasetError(f"{where}: {said}")
            said_split = row.get("split", "") or "train"
            split = part_of(said_split)
            if split is None:
                raise DatasetError(
                    f"{where}: {columns['split']} must be {parts_in_words()}, but got "
                    f"{echo(said_split)}"
                )
            yield {"group": "", **row, "split": split}
    if columns is None:
        raise DatasetError(f"{spec}: has no rows; expected one an image")


def _batches(spec: str, path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a file, some at a time, those of CSV as text."""
    if spec.startswith("parquet:"):
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            yield from file.iter_batches()
        return
    import pyarrow as pa
    import pyarrow.csv as pc

    with open(path, encoding="utf-8-sig", newline="") as file:
        try:
            names = next(csv.reader([file.readline(LONGEST_HEADER)]), [])
        except UnicodeDecodeError:
            raise DatasetError(f"{spec}: {NO_UTF8}") from None
        except csv.Error as error:
            why = on_one_line(error)
            raise DatasetError(f"{spec}: its first line is no names of columns ({why})") from None
    as_text = pc.ConvertOptions(
        column_types={name: pa.string() for name in names}, strings_can_be_null=False
    )
    yield from pc.open_csv(
        path, parse_options=pc.ParseOptions(newlines_in_values=True), convert_options=as_text
    )


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
            raise DatasetError(
                f"{spec}: no column for the {use}: expected {words[0]} (or "
                f"{', '.join(words[1:])}), but there is {few([echo(name) for name in names], 10)}"
            )
    if rest := [name for name in names if name not in found.values()]:
        notes.append(f"columns that are not used: {few([echo(name) for name in rest])}")
    return found


def _texts(spec: str, name: str, column: Any) -> list[str]:
    """A column as text, its missing values as none."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    known = (pa.types.is_string, pa.types.is_large_string, pa.types.is_integer, pa.types.is_null)
    if not any(test(kind) for test in known):
        raise DatasetError(f"{spec}: column {name} must be text or whole numbers, but is {kind}")
    return ["" if value is None else str(value).strip() for value in column.to_pylist()]


def _paths(spec: str, root: Path, rows: list[Row]) -> list[Path]:
    """Where the images of the rows lie, each once and none outside the folder."""
    home, seen = root.resolve(), dict[str, int]()
    paths, missing = list[Path](), list[str]()
    for number, row in enumerate(rows, 1):
        name = row["path"].replace("\\", "/")
        pure = PurePosixPath(name)
        where = f"{spec}: row {number}: {echo(name)}"
        if pure.is_absolute() or ".." in pure.parts or "\0" in name or DRIVE.match(name):
            raise DatasetError(f"{where} leaves the folder of the table; put the images beside it")
        if (before := seen.setdefault(str(pure), number)) != number:
            raise DatasetError(f"{where} stands in row {before} too; an image has one row")
        path = root / pure
        if not path.is_file():
            missing.append(where)
        elif not path.resolve().is_relative_to(home):
            raise DatasetError(f"{where} is a link that leaves the folder; copy the files instead")
        paths.append(path)
    if missing:
        more = f" (and {len(missing) - 1:,} more)" if len(missing) > 1 else ""
        raise DatasetError(f"{missing[0]}: no such file{more}")
    return paths


def _check_groups(spec: str, rows: list[Row]) -> None:
    """Refuse a group that stands on both sides, and rows without one where others have some."""
    given = [row["group"] for row in rows]
    if not any(given):
        return
    if not all(given):
        raise DatasetError(
            f"{spec}: row {given.index('') + 1}: has no group, but others have; give each row one"
        )
    side: dict[str, str] = {}
    for row in rows:
        if side.setdefault(row["group"], row["split"]) != row["split"]:
            raise DatasetError(
                f"{spec}: group {echo(row['group'])} stands in {side[row['group']]} and in "
                f"{row['split']}; all of its images belong into one"
            )


def _check_train(spec: str, listed: Listed, options: ReadOptions) -> None:
    counts = Counter(file.label for file in listed.files if file.split == "train")
    unknown = [name for label, name in enumerate(listed.classes) if not counts[label]]
    if unknown and not options.judged_only:
        raise DatasetError(f"{spec}: no training images of {few(unknown)}; add some")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
