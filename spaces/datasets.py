"""The kinds of datasets there are: the word before the colon of a SPEC, and who reads it."""

from __future__ import annotations

from spaces.errors import DatasetError
from spaces.kinds import Reader
from spaces.registry import Registry

FASHION_MNIST_DIR = "/usr/share/datasets/fashion-mnist"
CIFAR10_DIR = "~/.cache/visiontune/cifar10"

READERS = Registry(Reader, "dataset kind", error=DatasetError)
for _reader in (
    Reader(
        "digits",
        "1,797 handwritten digits that ship with scikit-learn, shown at 32 x 32 pixels",
        "trainables.data.builtin:read_digits",
        place="",
        ours=True,
    ),
    Reader(
        "fashion-mnist",
        f"70,000 pictures of clothes, idx files (in {FASHION_MNIST_DIR} by default)",
        "trainables.data.builtin:read_fashion_mnist",
        place="[DIR]",
        default=FASHION_MNIST_DIR,
        ours=True,
    ),
    Reader(
        "cifar10",
        "60,000 small pictures in 10 classes, through torchvision (downloaded where there is a "
        "network)",
        "trainables.data.builtin:read_cifar10",
        place="[DIR]",
        default=CIFAR10_DIR,
        ours=True,
    ),
    Reader(
        "folder",
        "your own: DIR/train/CLASS/*.jpg with DIR/test or DIR/val beside it; a folder, or s3://…, "
        "gs://…",
        "trainables.data.folder:read_folder",
        "trainables.data.folder:check_folder",
        files="trainables.data.folder:files_of_folder",
    ),
    Reader(
        "nested",
        "the same with folders inside class folders: all below one is of its class",
        "trainables.data.folder:read_folder",
        "trainables.data.folder:check_folder",
        files="trainables.data.folder:files_of_folder",
    ),
    *(
        Reader(
            kind,
            f"your own: a table{how} with columns path and label and, as wished, split and group; "
            "paths are relative to it",
            "trainables.tables.table:read_table",
            "trainables.tables.table:check_table",
            place="FILE",
            files="trainables.tables.table:files_of_table",
        )
        for kind, how in (("csv", ""), ("parquet", " of Arrow's"))
    ),
    Reader(
        "npz",
        "your own arrays: x_train, y_train and, as wished, x_val, y_val, x_test, y_test, classes",
        "trainables.data.npz:read_npz",
        "trainables.data.npz:check_npz",
        place="FILE",
    ),
):
    READERS.add(_reader)


def specs() -> dict[str, str]:
    """Every SPEC with what it names."""
    return {reader.spec: reader.doc for reader in READERS.values()}
