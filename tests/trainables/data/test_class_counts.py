"""Thousands of classes cost what their images cost, not the square of their number; and packed
files have a limit.
"""

from __future__ import annotations

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from analysis.ranking.confusion import display_names, display_order
from spaces.errors import DatasetError
from trainables.data import read_dataset
from trainables.data.scores import score
from trainables.images.unpacked import VARIABLE
from trainables.neighbours.nearest import predicted_by_k, votes_by_k

MANY = 20_000


def test_votes_and_scores_of_many_classes_take_little_memory() -> None:
    """A table of images × classes, or classes × classes, is 3 GB here, and fifty passes over it are
    minutes.
    """
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(MANY), 2)
    neighbours = {
        "indices": generator.integers(0, 2 * MANY, (3000, 50)),
        "distances": np.sort(generator.random((3000, 50)), axis=1),
    }
    tracemalloc.start()
    by_k = predicted_by_k(neighbours, labels, MANY, "distance", 50)  # type: ignore[arg-type]
    found = score(labels[:3000], by_k[:, 0], MANY)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert (by_k[:, 0] == labels[neighbours["indices"][:, 0]]).all()
    assert found.accuracy == (by_k[:, 0] == labels[:3000]).mean()


@pytest.mark.parametrize("vote", ["uniform", "distance"])
@pytest.mark.parametrize("classes", [2, 7, 60])
def test_votes_are_those_counted_one_by_one(vote: str, classes: int) -> None:
    """What is counted without a column a class must be what is counted with one, ties included."""
    generator = np.random.default_rng(classes)
    labels = generator.integers(0, classes, 200)
    gaps = np.sort(generator.integers(0, 4, (40, 30)) / 4, axis=1)
    indices = generator.integers(0, 200, (40, 30))
    by_k, shares = votes_by_k({"indices": indices, "distances": gaps}, labels, classes, vote, 30)
    for row in range(40):
        touching = gaps[row, 0] == 0
        totals = [0.0] * classes
        for nth in range(30):
            weight = (
                1.0
                if vote == "uniform"
                else float(gaps[row, nth] == 0)
                if touching
                else 1 / gaps[row, nth]
            )
            totals[labels[indices[row, nth]]] += weight
            assert by_k[row, nth] == max(range(classes), key=lambda name: (totals[name], -name))
        assert shares[row] == pytest.approx([total / sum(totals) for total in totals])


def test_names_of_many_classes_are_put_in_order_at_once() -> None:
    """A dry run on 20,000 classes must not compare each name with each."""
    names = [f"class {n:05d}" for n in range(MANY)]
    assert display_order(names, names[::-1])[:2] == [MANY - 1, MANY - 2]
    assert display_names(names, {"class 00003": "three"})[3] == "three"


def test_a_small_npz_that_unpacks_to_gigabytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two megabytes of zeros must not take two gigabytes of memory; whoever means it can say so."""
    path = tmp_path / "bomb.npz"
    np.savez_compressed(path, x_train=np.zeros((4, 8, 8), np.uint8), y_train=np.array([0, 0, 1, 1]))
    monkeypatch.setenv(VARIABLE, "0.0000001")
    with pytest.raises(
        DatasetError, match=rf"bytes would be unpacked, more than 1e-07 GiB \({VARIABLE}\)"
    ):
        read_dataset(f"npz:{path}")
    monkeypatch.setenv(VARIABLE, "1")
    assert len(read_dataset(f"npz:{path}").train) == 4
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setattr("trainables.images.unpacked.FREE_BYTES", 1000)
    np.savez_compressed(
        path, x_train=np.zeros((4, 512, 512), np.uint8), y_train=np.array([0, 0, 1, 1])
    )
    with pytest.raises(DatasetError, match=f"50 times its size; {VARIABLE}=GIB allows more"):
        read_dataset(f"npz:{path}")


@pytest.mark.parametrize("given", ["many", "0", "-1", "nan", "inf"])
def test_a_limit_that_is_none_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    """A limit mistyped must not become no limit."""
    np.savez(
        tmp_path / "a.npz", x_train=np.zeros((4, 8, 8), np.uint8), y_train=np.array([0, 0, 1, 1])
    )
    monkeypatch.setenv(VARIABLE, given)
    with pytest.raises(ValueError, match=f"{VARIABLE} must be a number of GiB above 0"):
        read_dataset(f"npz:{tmp_path / 'a.npz'}")


def test_a_small_idx_file_that_unpacks_to_gigabytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same rule for every packed file."""
    monkeypatch.setattr("trainables.images.unpacked.FREE_BYTES", 1000)
    for part in ("train", "t10k"):
        images = struct.pack(">4i", 0x803, 100, 100, 100) + bytes(10**6)
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(images))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(
            gzip.compress(struct.pack(">2i", 0x801, 100) + bytes(100))
        )
    with pytest.raises(DatasetError, match="it unpacks to more than 1 GiB or 50 times its size"):
        read_dataset(f"fashion-mnist:{tmp_path}")
