"""Images that memory should not hold: packed on the disk, and otherwise as if they were not."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from planted import photograph

from spaces.errors import DatasetError, UserError
from trainables.cnn.images import channel_statistics, squares, stack
from trainables.data import Dataset, ReadOptions, listed, read_dataset
from trainables.images import packing
from trainables.images.rule import Rule
from trainables.stages import cache

SIZES = ((60, 40), (40, 60), (50, 50), (33, 70))
HOW = ReadOptions(color="rgb", max_side=48, hold_out=0.25, rule=Rule(orientation="exif"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Photographs of several shapes, some turned, some of 16 bits, some transparent, a copy."""
    for label, name in enumerate(("ant", "bee")):
        for split, count in (("train", 70), ("test", 6)):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                picture = photograph(
                    1000 * label + 100 * (split == "test") + number % 69, *SIZES[number % 4]
                )
                exif = Image.Exif()
                exif[0x0112] = 6 if number % 7 == 0 else 1
                picture.save(folder / f"{number:03d}.jpg", exif=exif)
    grey = np.arange(1200, dtype=np.uint16).reshape(30, 40)
    Image.fromarray(grey).save(tmp_path / "data/train/ant/deep.png")
    clear = photograph(5, 40, 30).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((40, 30)))
    clear.save(tmp_path / "data/train/bee/clear.png")
    return tmp_path / "data"


def read(root: Path, **more: Any) -> Dataset:
    return read_dataset(f"folder:{root}", replace(HOW, **more))


def packed(root: Path, **more: Any) -> Dataset:
    return read(root, **{"packed": True, "shards": str(root.parent / "shards"), **more})


@pytest.fixture
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "MOST", 32)
    monkeypatch.setattr(packing, "FEWEST", 16)


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files that are read from now on."""
    seen: list[Path] = []
    before: Callable[..., Any] = packing.outcomes

    def watched(paths: list[Path], how: Any) -> Any:
        seen.extend(paths)
        return before(paths, how)

    monkeypatch.setattr(packing, "outcomes", watched)
    return seen


@pytest.mark.parametrize("color", ["rgb", "grey"])
def test_packed_images_are_what_they_are_in_memory(
    root: Path, color: str, small_shards: None
) -> None:
    """Results must not depend on how much memory a machine has: pixels, order, splits, fingerprint
    and remarks are the same, also where deep and transparent files are read by one rule.
    """
    one, two = read(root, color=color), packed(root, color=color)
    assert two.train.images.packed
    assert two.rule == one.rule
    assert two.rule.white == 2047
    assert (two.fingerprint, two.classes) == (one.fingerprint, one.classes)
    assert two.notes[1:] == one.notes
    assert "packed on the disk" in two.notes[0]
    for name, part in one.splits().items():
        other = two.splits()[name]
        assert np.array_equal(part.labels, other.labels)
        assert all(map(np.array_equal, part.images, other.images))
        assert all(map(np.array_equal, part.images.grey(), other.images.grey()))


def test_squares_are_what_networks_see_of_whole_images(root: Path, small_shards: None) -> None:
    """Straight to the side that is asked, and to the same bits; of images packed with their shapes
    too, and the statistics with them.
    """
    one, two, shapes = read(root), packed(root, square=32), packed(root)
    assert two.square == 32
    for name, part in one.splits().items():
        wanted = stack(part.images, 32)
        for images in (two.splits()[name].images, squares(shapes.splits()[name].images, 32)):
            assert images.squares(32)
            assert np.array_equal(stack(images, 32), wanted)
            assert np.array_equal(channel_statistics(images), channel_statistics(wanted))
    assert packed(root, square=0).square == 32  # what fits a shorter side of 40


def test_what_is_packed_is_not_read_again_and_what_is_damaged_is(
    root: Path, small_shards: None, read_files: list[Path]
) -> None:
    """A second search starts from the shards; one that a kill left half, or the disk turned, is
    made again, and no other; nor is anything of files that stayed as they were.
    """
    first = packed(root, square=32)
    read_files.clear()
    again = packed(root, square=32)
    assert not read_files
    assert (again.fingerprint, again.notes) == (first.fingerprint, first.notes)
    shards = [
        p for p in (root.parent / "shards").glob("*.safetensors") if p.stat().st_size > 60_000
    ]
    shards[0].write_bytes(shards[0].read_bytes()[:-1])
    turned = bytearray(shards[1].read_bytes())
    turned[-1] ^= 1
    shards[1].write_bytes(turned)
    (shards[2].with_suffix(".json")).unlink()  # killed before its note was written
    assert packed(root, square=32).fingerprint == first.fingerprint
    assert 3 * 16 < len(read_files) <= 3 * 32
    read_files.clear()
    photograph(77, 60, 40).save(root / "train/ant/003.jpg")
    assert packed(root, square=32).fingerprint != first.fingerprint
    assert 0 < len(read_files) <= 32
    assert root / "train/ant/003.jpg" in read_files


PACKING = """
import os, sys, time
from trainables.images import packing
from test_packed import packed, Path
packing.MOST, packing.FEWEST, before = 32, 16, packing.outcomes
packing.outcomes = lambda paths, how: (time.sleep(0.2), before(paths, how))[1]
packed(Path(sys.argv[1]), square=32)
"""


@pytest.mark.parametrize("notes", [1, 4])
def test_a_process_killed_while_it_packs_loses_what_it_was_at(
    root: Path,
    small_shards: None,
    read_files: list[Path],
    notes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A power cut costs the shards that were being made: those that were done are not made again,
    nothing half is taken for whole, and nothing stays behind.
    """
    folder = root.parent / "shards"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen([sys.executable, "-c", PACKING, str(root)], env=environment)
    while len(done := list(folder.glob("*.json"))) < notes:
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    finished = {path: path.stat().st_ino for path in folder.glob("*.json")}
    monkeypatch.setattr(cache, "LEFTOVER_SECONDS", 0.0)  # as if that were long ago
    again = packed(root, square=32)
    assert {path: path.stat().st_ino for path in finished} == finished
    assert len(done) <= len(finished) < len(list(folder.glob("*.json")))
    assert 0 < len(read_files) <= 154 - 16 * (len(finished) - 1)
    assert {path.suffix for path in folder.iterdir()} == {".json", ".safetensors"}
    whole = read(root)
    assert (
        again.fingerprint == packed(root, square=32, shards=str(root.parent / "others")).fingerprint
    )
    assert np.array_equal(again.train.labels, whole.train.labels)


def test_another_process_makes_what_it_needs_and_no_more(
    root: Path, small_shards: None, read_files: list[Path]
) -> None:
    """A node of a cluster that has none of the shards makes those of the images it is asked for."""
    first = packed(root, square=32)
    kept = np.array(first.test.images[3])
    copy = pickle.loads(pickle.dumps(first))
    for path in (root.parent / "shards").iterdir():
        path.unlink()
    read_files.clear()
    assert np.array_equal(copy.test.images[3], kept)
    assert {path.parts[-3] for path in read_files} == {"test"}
    assert len(pickle.dumps(first)) < 100_000
    (root / "train/bee/000.jpg").write_bytes(b"")
    with pytest.raises(UserError, match="start a new search"):
        list(copy.train.images)


def test_a_node_fetches_the_files_of_the_shards_it_is_asked_for(
    root: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch, read_files: list[Path]
) -> None:
    """Of a data set at a URI the node that reads it has a copy; others get no tree of their own."""
    home = root.parent / "home"
    monkeypatch.setenv("VISIONTUNE_DATA", str(home))
    options = replace(HOW, packed=True, square=32, shards=str(root.parent / "shards"))
    first = read_dataset(f"folder:file://{root}", options)
    kept, copy = np.array(first.test.images[3]), pickle.loads(pickle.dumps(first))
    for place in (home, root.parent / "shards"):
        shutil.rmtree(place)
    read_files.clear()
    assert np.array_equal(copy.test.images[3], kept)
    assert len(read_files) == len(copy.test)
    assert not home.exists()


def test_what_is_packed_from_a_uri_is_not_kept_as_files_too(
    root: Path, small_shards: None, monkeypatch: pytest.MonkeyPatch, read_files: list[Path]
) -> None:
    """Nobody keeps two copies, nor fetches anything for the second search; what has changed there
    is seen, and damaged files are named by where they would lie.
    """
    home = root.parent / "home"
    monkeypatch.setenv("VISIONTUNE_DATA", str(home))
    monkeypatch.setattr(listed, "PROBED", 5)
    options = replace(HOW, packed=True, square=32, shards=str(root.parent / "shards"))
    spec = f"folder:file://{root}"
    first = read_dataset(spec, options)
    assert first.fingerprint == packed(root, square=32, shards=str(root.parent / "own")).fingerprint
    assert sum(path.stat().st_size > 0 for path in home.rglob("*.*g")) <= 10
    read_files.clear()
    assert read_dataset(spec, options).fingerprint == first.fingerprint
    assert not read_files
    photograph(77, 60, 40).save(root / "train/ant/003.jpg")
    (root / "train/bee/004.jpg").write_bytes(b"none")
    with pytest.raises(DatasetError, match=r"files/train/bee/004\.jpg: not an image"):
        read_dataset(spec, options)
    photograph(78, 60, 40).save(root / "train/bee/004.jpg")
    found = read_dataset(spec, options).fingerprint
    assert found == packed(root, square=32, shards=str(root.parent / "own")).fingerprint
    assert found != first.fingerprint


def test_files_that_cannot_be_read_are_named_left_out_and_mended(
    root: Path, small_shards: None
) -> None:
    """As in memory; and a disk that was at fault for a moment is not remembered for ever."""
    bad = root / "train/ant/010.jpg"
    whole = bad.read_bytes()
    before = bad.stat()
    bad.write_bytes(whole[:200].ljust(len(whole), b"\0"))
    os.utime(bad, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DatasetError, match=r"010\.jpg: .*--skip-unreadable"):
        packed(root)
    one, two = (how(root, skip_unreadable=True) for how in (read, packed))
    assert one.skipped == two.skipped == ("train/ant/010.jpg",)
    assert one.fingerprint == two.fingerprint
    bad.write_bytes(whole)
    os.utime(bad, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert packed(root, skip_unreadable=True, left_out=two.skipped).fingerprint == two.fingerprint
    assert packed(root).fingerprint == read(root).fingerprint != two.fingerprint


def test_few_images_are_not_packed_and_the_limit_is_said(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What memory holds is read as ever; a limit that is no number is refused."""
    assert not packed(root, packed=False).train.images.packed
    monkeypatch.setenv("VISIONTUNE_PACKED_GIB", "0.0001")
    about = packed(root, packed=False, square=32)
    assert about.train.images.packed
    known = packed(root, packed=False, square=32, unmade=True, shards="/dev/null")
    assert {name: len(part) for name, part in known.splits().items()} == {
        name: len(part) for name, part in about.splits().items()
    }
    assert known.notes[0] == about.notes[0]
    monkeypatch.setenv("VISIONTUNE_PACKED_GIB", "much")
    with pytest.raises(UserError, match="VISIONTUNE_PACKED_GIB must be a number"):
        packed(root, packed=False)


def test_a_full_or_forbidden_disk_is_one_line(root: Path) -> None:
    """Whoever has no room there is told where, and what to do."""
    (root.parent / "file").write_text(json.dumps("no folder"))
    with pytest.raises(UserError, match="cannot be packed in") as refused:
        packed(root, shards=str(root.parent / "file"))
    assert "\n" not in str(refused.value)
