"""Files at a URI, as ``s3://bucket/folder`` or ``gs://bucket/folder``, read and written whole
through pyarrow.

Credentials and endpoint come from where pyarrow takes them: the environment (``AWS_ACCESS_KEY_ID``,
``AWS_ENDPOINT_URL``, an instance's profile, …) and the query of the URI
(``?scheme=http&endpoint_override=HOST:PORT``).
"""

from __future__ import annotations

import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from spaces.errors import UserError, on_one_line
from trainables.io.files import write_whole

AT_A_TIME = 16
"""Files sent or fetched at once: most of the time of each is waiting."""
SCHEMES = ("s3", "gs", "gcs", "abfs", "abfss", "file")


class RemoteError(UserError, OSError):
    """Files at a URI that cannot be read, written or listed."""


def is_uri(place: str) -> bool:
    """Whether ``place`` is a URI and not a path."""
    return re.match(r"[a-z][a-z0-9+.-]+://", place) is not None


@dataclass(frozen=True)
class ListedFile:
    """A file in a listing: its size in bytes, and when it was written, nanoseconds since 1970."""

    size: int
    written: int


@dataclass(frozen=True)
class Remote:
    """A folder at a URI. Names are paths below it, with ``/``.

    Raises:
        RemoteError: when made, for a URI that nothing here can read, or that holds a password.
    """

    uri: str

    def __post_init__(self) -> None:
        scheme, _, rest = self.uri.partition("://")
        if scheme not in SCHEMES:
            raise RemoteError(
                f"{self.uri} is not among what can be read: a folder, or "
                f"{', '.join(f'{name}://' for name in SCHEMES)}"
            )
        if "@" in rest.partition("/")[0] and scheme.startswith(("s3", "gs", "gcs")):
            raise RemoteError(
                f"a {scheme}:// URI is kept and shown, so no key belongs in it: put it into the "
                "environment"
            )

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        from pyarrow.fs import FileSystem

        with self._said("opened"):
            filesystem, base = FileSystem.from_uri(self.uri)
        return filesystem, base.rstrip("/")

    def __getstate__(self) -> dict[str, str]:
        return {"uri": self.uri}  # whoever reads it in another process opens it there

    @property
    def filesystem(self) -> Any:
        """pyarrow's."""
        return self._opened[0]

    @property
    def base(self) -> str:
        """The folder as pyarrow's file system names it."""
        return self._opened[1]

    def child(self, *names: str) -> Remote:
        """A folder below this one."""
        place, mark, query = self.uri.partition("?")
        return Remote("/".join([place.rstrip("/"), *names]) + mark + query)

    def read(self, name: str) -> bytes | None:
        """A file's content; None if there is none."""
        with self._said("read"):
            try:
                with self.filesystem.open_input_stream(f"{self.base}/{name}") as file:
                    content: bytes = file.read()
            except FileNotFoundError:
                return None
        return content

    def write(self, name: str, content: bytes) -> None:
        """Put a file there, whole or not at all, in place of one that is there."""
        path = f"{self.base}/{name}"
        local = self.filesystem.type_name == "local"
        # an object appears when it is complete
        target = f"{path}.{uuid.uuid4().hex[:8]}.part" if local else path
        with self._said("written"):
            if local:
                self.filesystem.create_dir(target.rpartition("/")[0])
            with self.filesystem.open_output_stream(target) as file:
                file.write(content)
            if local:
                self.filesystem.move(target, path)

    def files(self, folder: str = "", recursive: bool = True) -> dict[str, ListedFile]:
        """Every file in ``folder``, by its name; also those in folders below it, if
        ``recursive``.
        """
        from pyarrow.fs import FileSelector, FileType

        place = f"{self.base}/{folder}".rstrip("/")
        with self._said("listed"):
            infos = self.filesystem.get_file_info(
                FileSelector(place, recursive=recursive, allow_not_found=True)
            )
        found = {
            info.path.removeprefix(f"{self.base}/"): ListedFile(info.size, info.mtime_ns or 0)
            for info in infos
            if info.type == FileType.File
        }
        return {name: entry for name, entry in found.items() if not name.endswith(".part")}

    def folders(self, folder: str = "") -> list[str]:
        """Names of the folders in ``folder``."""
        from pyarrow.fs import FileSelector, FileType

        place = f"{self.base}/{folder}".rstrip("/")
        with self._said("listed"):
            infos = self.filesystem.get_file_info(FileSelector(place, allow_not_found=True))
        return sorted(info.base_name for info in infos if info.type == FileType.Directory)

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        with self._said("deleted"):
            try:
                self.filesystem.delete_file(f"{self.base}/{name}")
            except FileNotFoundError:
                return

    def delete_folder(self, name: str) -> None:
        """Remove a folder with all that is in it, if it is there."""
        with self._said("deleted"):
            try:
                self.filesystem.delete_dir(f"{self.base}/{name}")
            except FileNotFoundError:
                return

    @contextmanager
    def _said(self, what: str) -> Iterator[None]:
        """One line for whatever goes wrong."""
        try:
            yield
        # pyarrow's own errors are among these
        except (OSError, ValueError, NotImplementedError) as error:
            raise RemoteError(
                f"{self.uri} cannot be {what} ({on_one_line(error)}); check bucket, access and "
                "endpoint"
            ) from error


def read_file(place: str) -> bytes:
    """The content of a file at a path or URI.

    Raises:
        OSError: if it cannot be read; RemoteError, if it lies at a URI.
    """
    if not is_uri(place):
        return Path(place).read_bytes()
    folder, name = _split(place)
    content = folder.read(name)
    if content is None:
        raise FileNotFoundError(f"{place}: no such file")
    return content


def write_file(place: str, content: bytes) -> None:
    """Put a file at a path or URI, whole or not at all, whenever the process dies."""
    if is_uri(place):
        folder, name = _split(place)
        folder.write(name, content)
        return
    write_whole(Path(place), content)


def remove_place(place: str) -> None:
    """Remove a folder at a path or URI with all that is in it."""
    if is_uri(place):
        parent, name = _split(place)
        parent.delete_folder(name)
    else:
        shutil.rmtree(place, ignore_errors=True)


def join_place(place: str, *names: str) -> str:
    """What lies below a path or URI."""
    return Remote(place).child(*names).uri if is_uri(place) else str(Path(place, *names))


@contextmanager
def fetched(uri: str, names: Sequence[str]) -> Iterator[list[Path]]:
    """Give temporary local copies of the files with these names below ``uri``. Files that are gone
    are left out. The copies are deleted when the block ends.
    """
    remote = Remote(uri)
    with (
        tempfile.TemporaryDirectory(prefix="visiontune-") as folder,
        ThreadPoolExecutor(AT_A_TIME) as pool,
    ):
        copies = [Path(folder, str(number), Path(name).name) for number, name in enumerate(names)]
        for copy, content in zip(copies, pool.map(remote.read, names), strict=True):
            if content is not None:
                copy.parent.mkdir()
                copy.write_bytes(content)
        yield copies


@contextmanager
def local_copies(places: Iterable[str]) -> Iterator[list[Path]]:
    """Give a folder on this machine for each path or URI: the folder itself for a path, a temporary
    copy for a URI. The copies are deleted when the block ends.
    """
    with tempfile.TemporaryDirectory(prefix="visiontune-") as temporary:
        found = []
        for number, place in enumerate(places):
            if not is_uri(place):
                found.append(Path(place))
                continue
            source, target = Remote(place), Path(temporary, str(number))
            for name in source.files(recursive=False):
                target.mkdir(exist_ok=True)
                (target / Path(name).name).write_bytes(source.read(name) or b"")
            found.append(target)
        yield found


def folder_of(uri: str) -> str:
    """The URI of the folder that a file at a URI lies in."""
    return _split(uri)[0].uri


def _split(uri: str) -> tuple[Remote, str]:
    place, mark, query = uri.partition("?")
    parent, _, name = place.rpartition("/")
    return Remote(f"{parent}{mark}{query}"), name
