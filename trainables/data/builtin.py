"""Readers of datasets that are not trees of image files: digits, Fashion-MNIST, CIFAR-10."""

from __future__ import annotations

import gzip
import struct
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from spaces.errors import DatasetError
from trainables.data.dataset import Dataset, Images, Split
from trainables.data.options import ReadOptions
from trainables.images.rule import Color, Fit, UInt8, middle, padded
from trainables.images.unpacked import most_unpacked

FASHION_MNIST_CLASSES = (
    "T-shirt-top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle-boot",
)  # fmt: skip


def read_digits(spec: str, place: str, options: ReadOptions) -> Dataset:
    """The 1,797 digits that ship with scikit-learn, 8 × 8, shown at 32 × 32 pixels.

    dsift finds nothing on 8 × 8 pixels and CNNs want 32. A stratified, fixed fifth
    (360 images) is the test split.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    small = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    large = [
        np.asarray(Image.fromarray(a).resize((32, 32), Image.Resampling.BICUBIC)) for a in small
    ]
    rows = np.arange(len(large))
    train, test = train_test_split(rows, test_size=0.2, random_state=0, stratify=digits.target)
    whole = split_of(large, digits.target, options.color)
    return Dataset(
        spec, tuple("0123456789"), whole.take(np.sort(train)), test=whole.take(np.sort(test))
    )


def read_fashion_mnist(spec: str, place: str, options: ReadOptions) -> Dataset:
    """Fashion-MNIST (Xiao et al., 2017) from its four idx files, gzipped or not.

    Raises:
        DatasetError: if a file is missing or is not the idx file it should be.
    """
    parts, root, color = {}, Path(place), options.color
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = _read_idx(spec, root, f"{prefix}-images-idx3-ubyte", 3)
        labels = _read_idx(spec, root, f"{prefix}-labels-idx1-ubyte", 1)
        if len(images) != len(labels) or labels.max(initial=0) >= len(FASHION_MNIST_CLASSES):
            raise DatasetError(
                f"{spec}: {root}/{prefix}-* hold {len(images)} images and {len(labels)} labels "
                f"of up to class {labels.max(initial=0)}"
            )
        parts[split] = (images, labels)
    # Labels follow the files; class order is alphabetical everywhere.
    order = np.argsort(FASHION_MNIST_CLASSES)
    rank = np.argsort(order)
    splits = {
        name: split_of(images, rank[labels], color) for name, (images, labels) in parts.items()
    }
    return Dataset(spec, tuple(sorted(FASHION_MNIST_CLASSES)), splits["train"], test=splits["test"])


def _read_idx(spec: str, root: Path, name: str, dimensions: int) -> UInt8:
    """One idx file of unsigned bytes (LeCun's format: magic, sizes, data)."""
    path = next((p for p in (root / f"{name}.gz", root / name) if p.is_file()), None)
    if path is None:
        raise DatasetError(
            f"{spec}: no {name}[.gz] in {root}; install Debian's dataset-fashion-mnist or give "
            "its folder"
        )
    try:
        most, rule = most_unpacked(path)
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            raw = file.read(most + 1)
        if len(raw) > most:
            raise ValueError(f"it unpacks to more than {rule}")
        magic, *sizes = struct.unpack_from(f">{dimensions + 1}i", raw)
        data = np.frombuffer(raw, np.uint8, offset=4 * (dimensions + 1))
        if magic != 0x0800 + dimensions:
            raise ValueError(f"magic number {magic:#x}")
        if min(sizes) < 1:
            raise ValueError(f"sizes {sizes}")
        return data.reshape(sizes)
    except (OSError, EOFError, ValueError, struct.error, zlib.error) as error:
        raise DatasetError(
            f"{spec}: {path} is not an idx file of {dimensions} dimensions ({error})"
        ) from error


def read_cifar10(spec: str, place: str, options: ReadOptions) -> Dataset:
    """CIFAR-10 (Krizhevsky, 2009) through torchvision, which checks the files' MD5 sums before it
    unpickles them.

    Raises:
        DatasetError: if it is not there and cannot be downloaded.
    """
    from torchvision.datasets import CIFAR10

    try:
        train, test = (CIFAR10(place, train=part, download=True) for part in (True, False))
    except Exception as error:
        raise DatasetError(
            f"{spec}: CIFAR-10 is not in {place} and cannot be downloaded ({error}); put "
            "cifar-10-batches-py there"
        ) from error
    splits = {
        name: split_of(part.data, np.asarray(part.targets), options.color)
        for name, part in (("train", train), ("test", test))
    }
    return Dataset(spec, tuple(train.classes), splits["train"], test=splits["test"])


def split_of(
    images: Iterable[UInt8], labels: np.ndarray, color: Color, fit: Fit = "squash"
) -> Split:
    """Images as arrays, (H, W) or (H, W, 3) uint8, with their labels.

    Args:
        fit: what becomes of those that are no squares.
    """
    mode = "L" if color == "grey" else "RGB"

    def seen(array: UInt8) -> UInt8:
        picture = Image.fromarray(array).convert(mode)
        return padded(np.asarray(picture.crop(middle(*picture.size, fit))), fit)

    arrays = map(seen, images)
    return Split(Images.from_arrays(arrays), labels.astype(np.int64))
