"""Helpers shared by the tests, and what holds them apart: no test changes what others read."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image
from program import environment_kept, output, visiontune

if TYPE_CHECKING:
    from one_ray import OneRay

# Threads of torch that wait for one another would spin, and keep from its core the one that they
# wait for where the machine is busy.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
MakeFolder = Callable[[Path, Mapping[str, Mapping[str, int]]], Path]
Held = dict[str, tuple[int, int]]
DEAR = ("tests/whole/", *(f"tests/search/{room}/" for room in ("cluster", "driver", "screen")))
SHARED: dict[str, tuple[Path, Held]] = {}
"""By name of its fixture, a folder that several tests read, and what it holds."""


def held(folder: Path) -> Held:
    """Size and time of every file below ``folder`` but those of the cache of stages, which whoever
    reads it touches.
    """
    files = {path.relative_to(folder): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {
        name.as_posix(): (found.st_size, found.st_mtime_ns)
        for name, found in files.items()
        if ".cache" not in name.parts
    }


def for_reading(request: pytest.FixtureRequest, folder: Path) -> Path:
    """``folder``, which no test that uses this fixture may change: the one that does fails, and is
    told what it changed.
    """
    assert request.fixturename is not None
    SHARED[request.fixturename] = (folder, held(folder))
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files whose tests start searches come first: begun last, one of them would leave the other
    processes idle for minutes.
    """
    items.sort(key=lambda item: not item.nodeid.startswith(DEAR))


@pytest.fixture(autouse=True)
def _process_stays_as_it_is() -> Iterator[None]:
    """A command typed in this process may set variables and switches, which later tests and what
    they start must not find.
    """
    with environment_kept():
        yield
    if torch := sys.modules.get("torch"):
        torch.use_deterministic_algorithms(False)
    if plugins := sys.modules.get("spaces.plugins"):
        plugins.unload_all()


@pytest.fixture(autouse=True)
def _shared_folders_stay_as_they_are(request: pytest.FixtureRequest) -> Iterator[None]:
    """Else whether the next test passes would depend on which came before it."""
    yield
    for name in SHARED.keys() & set(request.fixturenames):
        folder, before = SHARED[name]
        after = held(folder)
        SHARED[name] = (folder, after)  # one test is told, not all that come after it
        changed = sorted(
            file for file in before.keys() | after.keys() if before.get(file) != after.get(file)
        )
        assert changed == [], (
            f"{name} is for reading, but this test changed files of it: it wants a copy of its own"
        )


def copied(runs: Path, folder: Path) -> Path:
    """A runs directory of one's own, with the runs of another and its cache of stages."""
    shutil.copytree(runs, folder, ignore=shutil.ignore_patterns(".cache"))
    if (runs / ".cache").exists():
        (folder / ".cache").symlink_to(runs / ".cache")
    # which holds whole paths: the copy would keep its files beside the first
    if (folder / "mlflow.db").exists():
        with contextlib.closing(sqlite3.connect(folder / "mlflow.db")) as database, database:
            for table, column in (("experiments", "artifact_location"), ("runs", "artifact_uri")):
                database.execute(
                    f"UPDATE {table} SET {column} = replace({column}, ?, ?)",
                    (runs.as_uri(), folder.as_uri()),
                )
    return folder


def write_folder(
    root: Path, splits: Mapping[str, Mapping[str, int]], *, side: int = 24, seed: int = 0
) -> Path:
    """A tree of small random grey images, ``{split: {class: images}}``; the split ``""`` puts
    classes right under ``root``.

    PNG and JPEG files alternate.
    """
    generator = np.random.default_rng(seed)
    for split, classes in splits.items():
        for name, count in classes.items():
            folder = root / split / name
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                pixels = generator.integers(0, 256, (side, side), dtype=np.uint8)
                Image.fromarray(pixels).save(
                    folder / f"{number:03d}.{'jpg' if number % 2 else 'png'}"
                )
    return root


@pytest.fixture
def make_folder() -> MakeFolder:
    """``make_folder(root, {split: {class: n}})`` writes real image files and returns ``root``."""
    return write_folder


@pytest.fixture(scope="module")
def one_ray() -> Iterator[OneRay]:
    """Ray for all searches that the tests of a file type."""
    from one_ray import shared_ray  # loads Ray

    with shared_ray() as shared:
        yield shared


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that ``make`` fills, once for all processes that share the tests."""
    own = factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / name
    done = folder.with_suffix(".made")
    with FileLock(folder.with_suffix(".lock")):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def digits_runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs directory that holds one finished search of both spaces on digits, called ``first``;
    for reading.
    """

    def make(folder: Path) -> None:
        words = ("--space", "tiny-image", "--space", "bag-of-sift", "--trials", 12)
        done = visiontune("run", *words, "--name", "first", "--runs-dir", folder)
        assert done.returncode == 0, done.stderr

    return for_reading(request, made_once(tmp_path_factory, "digits", make))


@pytest.fixture
def own_runs(digits_runs: Path, tmp_path: Path) -> Path:
    """A copy of ``digits_runs`` that a test may change."""
    return copied(digits_runs, tmp_path / "runs")


@pytest.fixture(scope="session")
def exported_runs(
    request: pytest.FixtureRequest, digits_runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A copy of ``digits_runs`` from which the best trial was exported to ``bundle`` beside it; for
    reading.
    """

    def make(folder: Path) -> None:
        runs = copied(digits_runs, folder / "runs")
        output("export", "first", "--runs-dir", runs, "--out", folder / "bundle")

    return for_reading(request, made_once(tmp_path_factory, "exported", make)) / "runs"


@pytest.fixture(scope="session")
def digits_bundle(exported_runs: Path) -> Path:
    """The bundle of the best trial of ``first``; for reading."""
    return exported_runs.parent / "bundle"


@pytest.fixture
def own_bundle(digits_bundle: Path, tmp_path: Path) -> Path:
    """A copy of ``digits_bundle`` that a test may change."""
    return Path(shutil.copytree(digits_bundle, tmp_path / "bundle"))
