"""Datasets at a URI: the same images as in a folder of this machine, fetched once, and never
outside their own copy.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from s3_server import s3_here

from spaces.errors import DatasetError
from trainables.data import ReadOptions, read_dataset
from trainables.data.fetched import copy_of
from trainables.data.spec import absolute_spec, check_place
from trainables.io.remote import Remote, RemoteError

MakeFolder = Callable[..., Path]
LAYOUT = {"train": {"cat": 3, "dog": 2}, "test": {"cat": 1, "dog": 1}}


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """An S3 bucket that is not there for other tests."""
    with s3_here() as uri:
        yield uri


@pytest.fixture(autouse=True)
def own_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIONTUNE_DATA", str(tmp_path / "copies"))


def put(uri: str, root: Path) -> str:
    remote = Remote(uri)
    for path in root.rglob("*.*"):
        remote.write(path.relative_to(root).as_posix(), path.read_bytes())
    return uri


def test_a_folder_on_s3_is_the_same_dataset(
    bucket: str, tmp_path: Path, make_folder: MakeFolder
) -> None:
    """Where images lie must change no result, so the fingerprint may not tell."""
    root = make_folder(tmp_path / "here", LAYOUT)
    uri = put(f"{bucket}/animals", root)
    check_place(f"folder:{uri}")
    here, there = (read_dataset(f"folder:{place}", ReadOptions()) for place in (root, uri))
    assert (there.spec, there.fingerprint) == (f"folder:{uri}", here.fingerprint)


def test_only_what_changed_is_fetched_again(tmp_path: Path, make_folder: MakeFolder) -> None:
    """A node reads its own copy again for every search, and a dataset may have a million files."""
    root = make_folder(tmp_path / "there", LAYOUT)
    uri = f"file://{root}"
    copy = copy_of(uri).fetch()
    before = {path: path.stat().st_ino for path in copy.rglob("*.*")}
    gone, changed = sorted(root.glob("train/cat/*"))[:2]
    gone.unlink()
    changed.write_bytes(changed.read_bytes() + b"\0")
    assert copy_of(uri).fetch() == copy
    after = {path: path.stat().st_ino for path in copy.rglob("*.*")}
    assert set(before) - set(after) == {copy / gone.relative_to(root)}
    assert {path for path in after if after[path] != before[path]} == {
        copy / changed.relative_to(root)
    }


def test_arrays_are_read_from_a_uri_too(tmp_path: Path) -> None:
    """npz: takes the same places as folder:."""
    rng = np.random.default_rng(0)
    file = tmp_path / "arrays.npz"
    np.savez(
        file,
        x_train=rng.integers(0, 255, (6, 8, 8), np.uint8),
        y_train=np.array([0, 1, 0, 1, 0, 1]),
    )
    here, there = (
        read_dataset(f"npz:{place}", ReadOptions()) for place in (file, f"file://{file}")
    )
    assert there.fingerprint == here.fingerprint


def test_a_copy_that_was_cut_off_is_finished(
    tmp_path: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that dies while it fetches must not leave a dataset with fewer images."""
    root = make_folder(tmp_path / "there", LAYOUT)
    read, count = Remote.read, [0]

    def broken(self: Remote, name: str) -> bytes | None:
        count[0] += 1
        if count[0] > 3:
            raise RemoteError("the network is gone")
        return read(self, name)

    with monkeypatch.context() as patch:
        patch.setattr(Remote, "read", broken)
        with pytest.raises(RemoteError, match="the network is gone"):
            copy_of(f"file://{root}").fetch()
    copy = copy_of(f"file://{root}").fetch()
    assert {path.relative_to(copy) for path in copy.rglob("*.*")} == {
        path.relative_to(root) for path in root.rglob("*.*")
    }


def test_a_class_that_is_removed_at_the_uri_is_none_here(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """There are no folders at a URI, and an empty one here would be a class without images; nor
    may a file stand where a folder has been, or the other way round.
    """
    root = make_folder(tmp_path / "there", {"train": {"cat": 3, "dog": 2, "ant": 1}})
    copy = copy_of(f"file://{root}").fetch()
    shutil.rmtree(root / "train/ant")
    (root / "train/cat").rename(root / "cats")
    (root / "train/cat").write_bytes((root / "train/dog/000.png").read_bytes())
    copy_of(f"file://{root}").fetch()
    assert {p.relative_to(copy) for p in copy.rglob("*")} == {
        p.relative_to(root) for p in root.rglob("*")
    }
    (root / "train/cat").unlink()
    (root / "cats").rename(root / "train/cat")
    assert read_dataset(f"folder:file://{root}", ReadOptions()).classes == ("cat", "dog")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_at_a_uri_names_images_beside_it(
    bucket: str, kind: str, tmp_path: Path, make_folder: MakeFolder
) -> None:
    """The same images, labels and groups as here, and nothing is fetched that no row names."""
    root = make_folder(tmp_path / "here", {"images": {"cat": 3, "dog": 3}})
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*"))
    rows = {"path": names[:5], "label": ["a", "b", "a", "b", "a"], "group": [*"uvwxy"]}
    pc.write_csv(pa.table(rows), root / "t.csv")
    pq.write_table(pa.table(rows), root / "t.parquet")
    uri = put(f"{bucket}/table-{kind}", root)
    check_place(f"{kind}:{uri}/t.{kind}")
    assert not any(path.stat().st_size for path in (tmp_path / "copies").rglob("0*"))
    here, there = (read_dataset(f"{kind}:{place}/t.{kind}", ReadOptions()) for place in (root, uri))
    assert there.fingerprint == here.fingerprint
    assert there.train.groups is not None
    fetched = {"/".join(path.parts[-3:]) for path in (tmp_path / "copies").rglob("0*")}
    assert fetched == set(names[:5])
    for bad, said in (
        ("images/none.png", "row 1: .*no such file"),
        ("../a.png", "leaves the fold"),
    ):
        pc.write_csv(pa.table(rows | {"path": [bad, *names[1:5]]}), root / "t.csv")
        put(uri, root)
        with pytest.raises(DatasetError, match=said):
            check_place(f"csv:{uri}/t.csv")


@pytest.mark.parametrize("kind", ["csv", "parquet", "npz"])
def test_a_file_that_is_not_at_the_uri_is_one_line(kind: str, tmp_path: Path) -> None:
    """As one that is not here."""
    with pytest.raises(DatasetError, match="no such file"):
        read_dataset(f"{kind}:file://{tmp_path}/none.{kind}", ReadOptions())


@pytest.mark.parametrize("name", ["../outside.png", "train/../../outside.png", "train//cat.png"])
def test_a_name_that_leaves_the_copy_is_refused(
    bucket: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket may hold any name, and what is fetched must not write over the user's own files."""
    uri = put(f"{bucket}/plain", _one_file(tmp_path / "one"))
    names = {**Remote(uri).files(), name: next(iter(Remote(uri).files().values()))}
    # no server takes such a name today
    monkeypatch.setattr(Remote, "files", lambda self, folder="", recursive=True: names)
    with pytest.raises(DatasetError, match="would lie outside the folder"):
        copy_of(uri).fetch()
    assert list(tmp_path.rglob("*.png")) == [tmp_path / "one" / "train" / "cat" / "a.png"], (
        "nothing was fetched, here or elsewhere"
    )


def _one_file(root: Path) -> Path:
    (root / "train/cat").mkdir(parents=True)
    (root / "train/cat/a.png").write_bytes(b"")
    return root


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("folder:s3://bucket/nothing-here", "nothing-here"),
        ("folder:ftp://host/images", "is not among what can be read"),
        ("folder:s3://key:secret@bucket/images", "no key belongs in it"),
    ],
)
def test_a_uri_that_cannot_be_read_is_refused_in_one_line(
    bucket: str, spec: str, said: str
) -> None:
    """Before Ray starts, and without the secret that was typed."""
    with pytest.raises((DatasetError, RemoteError), match=said) as caught:
        check_place(absolute_spec(spec))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
