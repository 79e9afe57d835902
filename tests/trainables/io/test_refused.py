"""A file that the system refuses is named in one line: which, why, how much room there is, and how
to go on.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from full_disk import room_for
from program import typed
from samples import run_with

from trainables.io.files import append_lines, write_whole
from trainables.io.refused import TO_DO, refused


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this user may not mount a file system")
    yield place
    subprocess.run(["umount", place], check=True)


def test_a_full_disk_says_which_file_how_much_and_how_to_go_on(small_disk: Path) -> None:
    """ "No space left on device" alone says neither where nor what to do."""
    run_with(small_disk, {1: [0] * 5 + [1] * 5})
    done = typed("report", "made", "--runs-dir", small_disk)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert f"{small_disk}/made/report/" in line
    assert "its disk is full" in line
    assert " KiB to be written, " in line
    assert f"go on with visiontune resume {small_disk}/made" in line
    assert not [path for path in small_disk.rglob(".*") if path.is_file()], (
        "nothing half written is left"
    )


def test_no_room_without_a_disk_of_ones_own(tmp_path: Path) -> None:
    """The same where no file may grow any more, for files that are written whole and those that are
    added to.
    """
    with room_for(4), pytest.raises(OSError, match="File too large") as added:
        append_lines(tmp_path / "lines", "a line\n")
    assert f"{tmp_path}/lines cannot be written" in refused(added.value)
    assert "7 bytes to be written" in refused(added.value)
    (tmp_path / "lines").unlink()
    with room_for(10), pytest.raises(OSError, match="File too large") as large:
        write_whole(tmp_path / "big", "x" * 5000)
    assert f"{tmp_path}/big cannot be written" in refused(large.value)
    assert "4 KiB to be written" in refused(large.value)
    assert list(tmp_path.iterdir()) == []


def as_folder(path: Path) -> None:
    path.mkdir()


def as_loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize("damage", [as_folder, as_loop])
@pytest.mark.parametrize(
    "name",
    ["report", "report/leaderboard.csv", "trials/tiny-image/00001/result.json", "val_labels.npy"],
)
def test_what_lies_where_a_file_belongs_is_named(
    tmp_path: Path, damage: Callable[[Path], None], name: str
) -> None:
    """Any file of a run may be what somebody copied, linked or locked wrongly."""
    folder = run_with(tmp_path, {1: [0] * 5 + [1] * 5})
    path = folder.path / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.parent.mkdir(exist_ok=True, parents=True)
    damage(path)
    done = typed("report", "made", "--runs-dir", tmp_path)
    if done.returncode == 0:
        named = any(str(path) in line for line in done.stderr.splitlines())
        assert named or name.startswith("report"), (
            "what is written anew may take the place of what lies there; all else is named"
        )
        return
    assert done.returncode in (1, 2)
    (line,) = done.stderr.splitlines()
    assert str(path) in line


@pytest.mark.parametrize("number", sorted(TO_DO))
def test_every_refusal_says_what_to_do(tmp_path: Path, number: int) -> None:
    """A number and three words are for whoever wrote the system."""
    line = refused(OSError(number, os.strerror(number), str(tmp_path / "file")))
    assert str(tmp_path / "file") in line
    assert TO_DO[number] in line


def test_a_refusal_without_a_file_is_told_as_it_is() -> None:
    """Connections are refused too, and they are no files."""
    assert "Connection refused" in refused(
        ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    )
    assert refused(OSError("odd")) == "OSError: odd"
