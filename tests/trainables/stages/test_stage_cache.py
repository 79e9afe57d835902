"""Stages on disk: whole, checked, within their limit, and never a reason to fail."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damages import DAMAGES, damages_of
from program import output, typed

from trainables.stages.cache import DiskCache, stage_cache
from trainables.stages.shards import kept
from trainables.stages.stage import NO_CACHE, Stage, compute

LIMIT = 2**20


def squares(*, count: int, place: str) -> np.ndarray:
    """Numbers squared, leaving a mark of every time they were computed."""
    with open(place, "a") as file:
        file.write("x")
    return np.arange(count, dtype=np.float32) ** 2


def pair(numbers: np.ndarray) -> dict[str, np.ndarray]:
    return {"indices": numbers.astype(np.int64), "distances": numbers / 3}


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache(tmp_path / "cache", LIMIT)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(squares, {"count": 100, "place": str(tmp_path / "mark")})


def runs(tmp_path: Path) -> int:
    mark = tmp_path / "mark"
    return len(mark.read_text()) if mark.exists() else 0


def test_what_one_search_computed_the_next_one_reads(
    cache: DiskCache, stage: Stage, tmp_path: Path
) -> None:
    """The same bits and kinds come back, arrays and dicts of arrays alike, and nothing is computed
    twice.
    """
    both = Stage(pair, {}, (stage,))
    first = compute(both, cache=cache)
    again = compute(both, cache=DiskCache(cache.folder, LIMIT))
    assert runs(tmp_path) == 1
    assert {name: (array.dtype, array.tobytes()) for name, array in first.items()} == {
        name: (array.dtype, array.tobytes()) for name, array in again.items()
    }
    np.testing.assert_array_equal(cache.read(stage), np.arange(100, dtype=np.float32) ** 2)
    assert runs(tmp_path) == 1


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], None]] = {
    "truncated": truncate,
    "one bit": flip,
    "empty": lambda path: path.write_bytes(b""),
    "gone": Path.unlink,
    "a note that is no JSON": lambda path: path.with_suffix(".json").write_text("{"),  # type: ignore[dict-item, return-value]
    "a note of another shape": lambda path: path.with_suffix(".json").write_text("[]"),  # type: ignore[dict-item, return-value]
    "a pickle": lambda path: path.write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR."),  # type: ignore[dict-item, return-value]
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_thrown_away_and_computed_again(
    cache: DiskCache, stage: Stage, tmp_path: Path, damage: str
) -> None:
    """A wrong result believed would be worse than none, and a disk does what it likes."""
    expected = compute(stage, cache=cache)
    (path,) = cache.folder.glob("*.safetensors")
    DAMAGE[damage](path)
    assert cache.read(stage) is None
    assert not cache.has(stage)
    np.testing.assert_array_equal(compute(stage, cache=cache), expected)
    assert runs(tmp_path) == 2
    np.testing.assert_array_equal(cache.read(stage), expected)


def pixels(*, count: int) -> dict[str, np.ndarray]:
    return {"pixels": np.arange(count, dtype=np.uint8)}


@pytest.mark.parametrize("ending", [".json", ".safetensors"])
@pytest.mark.parametrize("damage", DAMAGES)
def test_whatever_lies_in_a_result_s_place_gives_way_to_it(
    cache: DiskCache, damage: str, ending: str
) -> None:
    """What is kept for the next search must not be what keeps it from working: a folder there, or
    brackets without an end, are damage like any other.
    """
    stage = Stage(pixels, {"count": 99})
    expected = compute(stage, cache=cache)
    path = next(cache.folder.glob(f"*{ending}"))
    if damage not in damages_of(path):
        pytest.skip("this damage is none to this file")
    DAMAGES[damage](path)
    cache.entries()
    cache.mapped(stage, checked=True)  # as a search does that begins
    for found in (kept(cache, stage, lambda: expected), cache.read(stage)):
        np.testing.assert_array_equal(found["pixels"], expected["pixels"])
    assert cache.has(stage)


def test_the_least_recently_used_result_makes_room(tmp_path: Path) -> None:
    """A cache without an end fills the disk that holds the runs."""
    cache = DiskCache(tmp_path / "cache", 12_000)
    stages = [Stage(squares, {"count": 1000, "place": str(tmp_path / f"{n}")}) for n in range(4)]
    for age, stage in zip((30, 20, 10), stages[:2], strict=False):
        compute(stage, cache=cache)
        os.utime(cache.folder / f"{stage.digest}.json", (1e9 - age, 1e9 - age))
    assert cache.read(stages[0]) is not None  # used now, so stages[1] is the oldest
    compute(stages[2], cache=cache)
    assert [cache.has(stage) for stage in stages] == [True, False, True, False]
    assert sum(entry.bytes for entry in cache.entries()) <= 12_000
    huge = Stage(squares, {"count": 10_000, "place": str(tmp_path / "huge")})
    compute(huge, cache=cache)
    assert not cache.has(huge)
    assert cache.has(stages[2]), "what never fits must push nothing out"


def test_a_disk_that_cannot_be_written_costs_only_the_cache(stage: Stage, tmp_path: Path) -> None:
    """A search must not end because a cache could not be kept."""
    (tmp_path / "file").write_text("")
    assert len(compute(stage, cache=DiskCache(tmp_path / "file" / "below", LIMIT))) == 100


def test_a_killed_writer_leaves_nothing_that_is_believed(
    cache: DiskCache, stage: Stage, tmp_path: Path
) -> None:
    """Data without its note is no result, and the next clear sweeps it."""
    compute(stage, cache=cache)
    (cache.folder / f"{stage.digest}.json").unlink()
    (cache.folder / ".abc.safetensors.12345678").write_bytes(b"half")
    assert not cache.has(stage)
    assert cache.clear() == 0
    assert list(cache.folder.iterdir()) == []


def test_large_results_are_not_kept(cache: DiskCache, tmp_path: Path) -> None:
    """Descriptors of gigabytes are quicker made than read."""
    compute(Stage(squares, {"count": 10, "place": str(tmp_path / "mark")}, large=1), cache=cache)
    assert cache.entries() == []


def test_no_cache_is_off(stage: Stage, tmp_path: Path) -> None:
    """Zero is a limit a plan may set: nothing is kept, and nothing else changes."""
    assert stage_cache(tmp_path, 0) is NO_CACHE
    for _ in range(2):
        compute(stage, cache=NO_CACHE)
    assert runs(tmp_path) == 2
    assert {path.name for path in tmp_path.iterdir()} == {"mark"}


def test_the_command_shows_and_clears_what_is_kept(digits_runs: Path, tmp_path: Path) -> None:
    """What fills the disk must be seen, and gone when asked."""
    listed: list[dict[str, Any]] = output("cache", "list", "--runs-dir", digits_runs)
    size = output("cache", "size", "--runs-dir", digits_runs)
    assert size["results"] == len(listed) > 0
    assert size["bytes"] == sum(entry["bytes"] for entry in listed) > 0
    assert any("nearest_neighbours(metric=" in entry["stage"] for entry in listed)
    cache = stage_cache(tmp_path, 1.0)
    cache.write(Stage(squares, {"count": 3, "place": "nowhere"}), np.ones(3))
    assert output("cache", "clear", "--runs-dir", tmp_path)["cleared"] is True
    assert output("cache", "size", "--runs-dir", tmp_path)["results"] == 0
    refused = typed("cache", "burn", "--runs-dir", tmp_path)
    assert refused.returncode == 2
    assert "list, size or clear, but got 'burn'" in refused.stderr
    assert (
        json.loads(typed("cache", "size", "--json", "--runs-dir", tmp_path / "none").stdout)[
            "bytes"
        ]
        == 0
    )
