"""Datasets by SPEC: digits, Fashion-MNIST, the fingerprint and the held-out part."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spaces.datasets import specs
from spaces.errors import DatasetError
from trainables.data import Dataset, Images, ReadOptions, Split, absolute_spec, read_dataset
from trainables.data.builtin import FASHION_MNIST_CLASSES

MakeFolder = Callable[..., Path]


def refusal(spec: str, **options: Any) -> str:
    """The one line by which ``spec`` is refused."""
    with pytest.raises(DatasetError) as caught:
        read_dataset(spec, ReadOptions(**options))
    message = str(caught.value)
    assert "\n" not in message
    assert spec in message
    return message


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "cifar",
        "folder",
        "folder:",
        "npz",
        "digits:/tmp",
        "/data/images",
        "FOLDER:/data",
        "two\nlines",
    ],
)
def test_an_unknown_spec_is_refused_with_those_there_are(spec: str) -> None:
    """Whoever mistypes a dataset needs the list of them."""
    with pytest.raises(DatasetError) as caught:
        absolute_spec(spec)
    assert str(caught.value) == f"unknown dataset {spec!r}; allowed are {', '.join(specs())}"


def test_a_spec_means_the_same_in_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trials run in working folders of their own, so a path is made absolute once."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    assert absolute_spec("folder:images") == f"folder:{tmp_path}/images"
    assert absolute_spec("npz:~/a:b.npz") == "npz:/home/me/a:b.npz"
    assert absolute_spec("folder:~no-such-user/x") == f"folder:{tmp_path}/~no-such-user/x"
    assert absolute_spec("digits") == "digits"
    assert absolute_spec("cifar10") == "cifar10"


def test_digits_are_1797_images_of_32_pixels_in_ten_classes() -> None:
    """The built-in data must be there without a network, and be the same for everyone."""
    digits = read_dataset("digits")
    assert digits.classes == tuple("0123456789")
    assert {name: len(part) for name, part in digits.splits().items()} == {
        "train": 1437,
        "test": 360,
    }
    assert digits.test is not None
    for part in digits.splits().values():
        assert (part.images.shapes == [32, 32, 1]).all()
        shares = np.bincount(part.labels) / len(part)
        assert shares.max() - shares.min() < 0.01
    assert digits.fingerprint == read_dataset("digits").fingerprint
    assert read_dataset("digits", ReadOptions(color="rgb")).train.images[0].shape == (32, 32, 3)


# Fashion-MNIST


def write_idx(root: Path, *, gzipped: bool, images: int = 30) -> Path:
    """The four files; picture n is n everywhere but its first pixel, its label is n mod 10."""
    root.mkdir(parents=True, exist_ok=True)
    for prefix, count in (("train", images), ("t10k", 10)):
        pixels = np.repeat(np.arange(count, dtype=np.uint8), 12).reshape(count, 3, 4)
        pixels[:, 0, 0] = 255
        for name, magic, array in (
            ("images-idx3-ubyte", 0x803, pixels),
            ("labels-idx1-ubyte", 0x801, np.arange(count, dtype=np.uint8) % 10),
        ):
            raw = struct.pack(f">i{array.ndim}i", magic, *array.shape) + array.tobytes()
            path = root / f"{prefix}-{name}{'.gz' if gzipped else ''}"
            path.write_bytes(gzip.compress(raw) if gzipped else raw)
    return root


@pytest.mark.parametrize("gzipped", [True, False])
def test_idx_files_are_read_and_classes_put_in_alphabetical_order(
    tmp_path: Path, gzipped: bool
) -> None:
    """Files number the classes their own way; labels must move with the names."""
    dataset = read_dataset(f"fashion-mnist:{write_idx(tmp_path, gzipped=gzipped)}")
    assert list(dataset.classes) == sorted(FASHION_MNIST_CLASSES)
    assert [dataset.classes[label] for label in dataset.train.labels] == [
        FASHION_MNIST_CLASSES[n % 10] for n in range(30)
    ]
    assert dataset.test is not None
    assert len(dataset.test) == 10
    for number, image in enumerate(dataset.train.images):
        np.testing.assert_array_equal(
            image, [[255, number, number, number], [number] * 4, [number] * 4]
        )


def _replace(name: str, old: bytes, new: bytes) -> Callable[[Path], None]:
    def damage(root: Path) -> None:
        raw = (root / name).read_bytes()
        assert old in raw
        (root / name).write_bytes(raw.replace(old, new, 1))

    return damage


def _cut_when_packed(root: Path) -> None:
    packed = gzip.compress((root / IMAGES).read_bytes())
    (root / f"{IMAGES}.gz").write_bytes(packed[:-20])


def _shorten(root: Path) -> None:
    (write_idx(root / "other", gzipped=False, images=29) / IMAGES).rename(root / IMAGES)


IMAGES, LABELS = "train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / LABELS).unlink(), f"no {LABELS}[.gz] in"),
        (lambda root: (root / IMAGES).write_bytes(b""), "is not an idx file of 3 dimensions"),
        (lambda root: (root / IMAGES).write_bytes((root / IMAGES).read_bytes()[:-1]),
         "is not an idx file of 3 dimensions"),
        (lambda root: (root / IMAGES).write_bytes((root / IMAGES).read_bytes() + b"x"),
         "is not an idx file of 3 dimensions"),
        (_replace(IMAGES, b"\0\0\x08\x03", b"\0\0\x08\x01"), "magic number 0x801"),
        (_replace(IMAGES, struct.pack(">i", 30), struct.pack(">i", -1)),
         "is not an idx file of 3 dimensions"),
        (_replace(LABELS, bytes([8, 9]), bytes([8, 10])),
         "hold 10 images and 10 labels of up to class 10"),
        (_shorten, "hold 29 images and 30 labels"),
        (lambda root: (root / f"{IMAGES}.gz").write_bytes(b"no gzip"),
         "is not an idx file of 3 dimensions"),
        (_cut_when_packed, "is not an idx file"),
    ],
)  # fmt: skip
def test_a_damaged_idx_file_is_refused(
    tmp_path: Path, damage: Callable[[Path], object], message: str
) -> None:
    """A download that broke off must not become a dataset of another size."""
    write_idx(tmp_path, gzipped=False)
    damage(tmp_path)
    assert message in refusal(f"fashion-mnist:{tmp_path}")


def test_a_changed_byte_anywhere_in_a_gzipped_file_is_refused(tmp_path: Path) -> None:
    """Decompression fails in several ways, and each must be the same one line."""
    path = write_idx(tmp_path, gzipped=True) / f"{IMAGES}.gz"
    whole = path.read_bytes()
    for position in range(10, len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x55]) + whole[position + 1 :])
        assert "is not an idx file of 3 dimensions" in refusal(f"fashion-mnist:{tmp_path}")


# Fingerprint and held-out part

X = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
Y = np.array([0, 1, 2, 0, 1, 2])


def dataset(**change: Any) -> Dataset:
    values = {
        "pixels": X,
        "labels": Y,
        "classes": ("a", "b", "c"),
        "spec": "here",
        "test": None,
    } | change
    train = Split(Images.from_arrays(list(values["pixels"])), values["labels"])
    return Dataset(values["spec"], values["classes"], train, test=values["test"])


def test_the_fingerprint_is_of_content_alone(tmp_path: Path, make_folder: MakeFolder) -> None:
    """The same images read again, or lying elsewhere, are the same dataset, and shared results stay
    valid.
    """
    assert dataset().fingerprint == dataset(spec="there").fingerprint
    assert dataset().train.take(np.arange(6)[::-1]).images[0].tobytes() == X[5].tobytes()
    folders = [make_folder(tmp_path / name, {"train": {"a": 2, "b": 2}}) for name in ("one", "two")]
    one, two = (read_dataset(f"folder:{folder}").fingerprint for folder in folders)
    assert one == two == read_dataset(f"folder:{folders[0]}").fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"pixels": np.where(np.arange(X.size).reshape(X.shape) == 119, X ^ 1, X)},
        {"pixels": X.reshape(6, 4, 5)},
        {"pixels": X[::-1]},
        {"labels": np.array([0, 1, 2, 0, 2, 2])},
        {"classes": ("a", "b", "d")},
        {"test": Split(Images.from_arrays([X[0]]), Y[:1])},
    ],
    ids=["pixel", "shape", "order", "label", "class", "split"],
)
def test_the_fingerprint_changes_with_anything_that_changes_an_answer(
    change: dict[str, Any],
) -> None:
    """A stale result found under the fingerprint of other images would be believed."""
    assert dataset(**change).fingerprint != dataset().fingerprint


def test_a_held_out_part_is_stratified_seeded_and_disjoint() -> None:
    """Selection on images that were also learned from would always choose the one that memorises
    best.
    """
    labels = np.repeat([0, 1, 2], [20, 40, 60])
    pixels = np.arange(120, dtype=np.uint8)[:, None, None]
    whole = dataset(pixels=pixels, labels=labels)
    parts = [whole.hold_out(0.25, seed) for seed in (0, 0, 1)]
    assert parts[0].val is not None
    rows = [
        sorted(int(image[0, 0]) for image in part.images) for part in parts[0].splits().values()
    ]
    assert sorted(rows[0] + rows[1]) == list(range(120))
    assert np.bincount(parts[0].val.labels).tolist() == [5, 10, 15]
    assert all(
        labels[int(image[0, 0])] == label
        for image, label in zip(parts[0].val.images, parts[0].val.labels, strict=True)
    )
    assert parts[0].fingerprint == parts[1].fingerprint != parts[2].fingerprint


def test_a_part_is_held_out_on_reading_where_there_is_none(tmp_path: Path) -> None:
    """With a val split of its own a dataset has said what selects; another would be a second
    opinion.
    """
    arrays = {"x_train": np.tile(X, (4, 1, 1)), "y_train": np.tile(Y, 4)}
    np.savez(tmp_path / "data.npz", **arrays)
    read = read_dataset(f"npz:{tmp_path}/data.npz", ReadOptions(hold_out=0.25))
    assert {name: len(part) for name, part in read.splits().items()} == {"train": 18, "val": 6}
    np.savez(tmp_path / "data.npz", **arrays, x_val=X, y_val=Y, x_test=X, y_test=Y)
    assert "already has a val split" in refusal(f"npz:{tmp_path}/data.npz", hold_out=0.25)


@pytest.mark.parametrize(
    ("labels", "fraction"),
    [([0, 0, 0, 0, 1, 2], 0.5), ([0, 0, 1, 1, 2, 2], 0.1), ([0, 0, 1, 1, 2, 2], 0.9)],
)
def test_a_class_too_small_to_stand_in_both_parts_is_refused(
    labels: list[int], fraction: float
) -> None:
    """A held-out part without some class says nothing about that class."""
    with pytest.raises(
        DatasetError, match=r"^here: cannot hold out 0\.\d of 6 training images: [^\n]+$"
    ):
        dataset(labels=np.array(labels)).hold_out(fraction, 0)
