"""Each image of a data set as a look at it needs it: small, with a mark of its pixels."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from spaces.errors import DatasetError
from trainables.audit.near import small
from trainables.data.dataset import Dataset, Split
from trainables.data.listed import Listed
from trainables.images.image_file import Reading, over_files, read_alone, read_header
from trainables.images.rule import UInt8
from trainables.io.files import sha256

HOW = Reading("rgb", 512)
"""How pictures of files are compared."""
ALSO = (".dib", ".apng")
"""Endings that Pillow does not list, of BMP and PNG."""


@dataclass(frozen=True, eq=False)
class Entry:
    """One image.

    Attributes:
        name: its path from the folder of the data set, or its number in its split.
        size: width and height as stored, pixels; None where that cannot be told.
        mark: of its pixels; empty where it cannot be read, and ``fault`` says why.
        content: SHA-256 of its file; empty where it has none of its own.
        picture: by which near copies are found; None where there is too little to see.
        orientation: a camera's tag, 1 upright.
        wrong_ending: what a file is whose name says something else.
        remark: what else is to be said of it.
    """

    split: str
    label: str
    name: str
    size: tuple[int, int] | None = None
    mark: bytes = b""
    content: str = ""
    picture: UInt8 | None = None
    fault: str = ""
    orientation: int = 1
    wrong_ending: str = ""
    remark: str = ""

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.split} {self.name}" if self.name.isdecimal() else self.name


def of_files(listed: Listed) -> Iterator[Entry]:
    """The files of a list, each opened once for its header and once for its pixels."""
    return _each(listed, _of_file)


def of_headers(listed: Listed) -> Iterator[Entry]:
    """What the headers of files say; their sizes are those of the pictures as stored, and their
    pixels are not looked at.
    """
    return _each(listed, _of_header)


def _each(listed: Listed, of: Callable[[Path], Entry]) -> Iterator[Entry]:
    paths = [file.path for file in listed.files]
    for file, found in zip(listed.files, over_files(of, paths), strict=True):
        name, label = listed.name(file), listed.classes[file.label]
        fault = found.fault.replace(str(file.path), name)
        yield replace(found, split=file.split, label=label, name=name, fault=fault)


def _of_header(path: Path) -> Entry:
    header = read_header(path)
    if header is None:
        return Entry("", "", "")
    wrong = path.suffix and path.suffix.lower() not in (*header.endings, *ALSO)
    return Entry(
        "",
        "",
        "",
        header.size,
        orientation=header.orientation,
        wrong_ending=header.format if wrong else "",
    )


def _of_file(path: Path) -> Entry:
    found = _of_header(path)
    picture = read_alone(path, HOW)
    if isinstance(picture, DatasetError):
        return replace(found, fault=str(picture))
    try:
        content = sha256(path)
    except OSError as error:
        return replace(found, fault=f"{path}: changed while it was looked at ({error.strerror})")
    return replace(found, mark=mark_of(picture), content=content, picture=small(picture))


def of_dataset(dataset: Dataset) -> Iterator[Entry]:
    """The images of a data set that has been read."""
    for split, part in dataset.splits().items():
        yield from of_split(split, part, dataset.classes)


def of_split(name: str, part: Split, classes: Sequence[str], sized: bool = True) -> Iterator[Entry]:
    """The images of one split, called by their numbers in it; with their sizes, where those are
    theirs and not what files were shrunk to.
    """
    for row, (image, label) in enumerate(zip(part.images, part.labels, strict=True)):
        yield Entry(
            name,
            classes[int(label)],
            str(row),
            (image.shape[1], image.shape[0]) if sized else None,
            mark_of(image),
            picture=small(image),
        )


def mark_of(image: UInt8) -> bytes:
    """A digest of an image's shape and pixels: equal images have equal marks."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(image.tobytes())
    return digest.digest()
