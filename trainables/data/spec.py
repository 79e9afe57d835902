"""From a dataset SPEC to the dataset it names."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from spaces.errors import DatasetError, echo
from trainables.data.builtin import FASHION_MNIST_DIR, read_cifar10, read_digits, read_fashion_mnist
from trainables.data.dataset import Dataset, check_classes
from trainables.data.fetched import fetched_file, fetched_folder
from trainables.data.folder import read_folder
from trainables.data.names import check_utf8
from trainables.data.npz import read_npz
from trainables.data.remarks import remarks
from trainables.data.tree import Tree, list_folder
from trainables.images.image_file import Color, Reading
from trainables.images.rule import PLAIN, Rule
from trainables.io.remote import Remote, is_uri

SPECS: dict[str, str] = {
    "digits": "1,797 handwritten digits that ship with scikit-learn, shown at 32 x 32 pixels",
    "fashion-mnist[:DIR]": (
        f"70,000 pictures of clothes, idx files (in {FASHION_MNIST_DIR} by default)"
    ),
    "cifar10[:DIR]": (
        "60,000 small pictures in 10 classes, through torchvision (downloaded "
        "where there is a network)"
    ),
    "folder:DIR": (
        "your own: DIR/train/CLASS/*.jpg with DIR/test or DIR/val beside it; a "
        "folder, or s3://…, gs://…"
    ),
    "npz:FILE": (
        "your own arrays: x_train, y_train and, as wished, x_val, y_val, x_test, y_test, classes"
    ),
}
"""Every SPEC with what it names, as ``visiontune datasets`` prints them."""

CIFAR10_DIR = Path("~/.cache/visiontune/cifar10")


@dataclass(frozen=True)
class ReadOptions:
    """How a dataset is read; part of its fingerprint through what it changes.

    Attributes:
        color: 8-bit grey (all that kNN needs) or RGB.
        max_side: larger pictures of ``folder:`` are shrunk so that no side is longer, pixels.
        skip_unreadable: leave out and count files that cannot be read, instead of refusing them.
        hold_out: set this fraction of train aside as val; 0 leaves the splits as they are.
        keep_val: hold nothing out where the dataset has a val split of its own.
        seed: of the held-out draw.
        left_out: files of a ``folder:`` that are not read even if they could be now, relative to
            it, where files may be left out.
        rule: how what is not 8-bit grey or RGB becomes that; what it does not say is decided by the
            dataset.
        exactly: take files and arrays as the first release did, which passed over all but the exact
            names of the splits.
        judged_only: the images are to be judged, not learned from: any part will do, and any number
            of classes.
    """

    color: Color = "grey"
    max_side: int = 512
    skip_unreadable: bool = False
    hold_out: float = 0.0
    keep_val: bool = False
    seed: int = 0
    left_out: tuple[str, ...] = ()
    rule: Rule = PLAIN
    exactly: bool = False
    judged_only: bool = False


def absolute_spec(spec: str) -> str:
    """``spec`` with its path made absolute, so that it means the same in every process.

    Raises:
        DatasetError: if it is none of ``SPECS``.
    """
    kind, _, place = spec.partition(":")
    needs_place = {
        "digits": False,
        "fashion-mnist": None,
        "cifar10": None,
        "folder": True,
        "npz": True,
    }
    if (
        kind not in needs_place
        or (needs_place[kind] is True and not place)
        or (needs_place[kind] is False and place)
    ):
        raise DatasetError(f"unknown dataset {echo(spec)}; allowed are {', '.join(SPECS)}")
    if not place:
        return kind
    if is_uri(place):
        Remote(place)  # refuses a key, which would be kept and shown
        return spec
    if said := check_utf8("the path", place):  # it stands in plans, records and pages
        raise DatasetError(said)
    return f"{kind}:{Path(os.path.expanduser(place)).absolute()}"


def read_dataset(spec: str, options: ReadOptions | None = None) -> Dataset:
    """The dataset that ``spec`` names; of one at a URI, this machine's own copy is read.

    Raises:
        DatasetError: one line on what cannot be read, and why; RemoteError, of a URI.
    """
    options = options or ReadOptions()
    spec = absolute_spec(spec)
    kind, _, place = spec.partition(":")
    if kind == "digits":
        dataset = read_digits(spec, options.color)
    elif kind == "fashion-mnist":
        dataset = read_fashion_mnist(spec, Path(place or FASHION_MNIST_DIR), options.color)
    elif kind == "cifar10":
        dataset = read_cifar10(spec, Path(place or CIFAR10_DIR).expanduser(), options.color)
    elif kind == "folder":
        root = fetched_folder(place) if is_uri(place) else Path(place)
        how = Reading(options.color, options.max_side, options.rule)
        dataset = read_folder(
            spec,
            root,
            tree_of(spec, root, options),
            how,
            skip_unreadable=options.skip_unreadable,
            left_out=options.left_out,
        )
    else:
        path = fetched_file(place) if is_uri(place) else Path(place)
        dataset = read_npz(
            spec,
            path,
            options.color,
            options.rule,
            exactly=options.exactly,
            judged_only=options.judged_only,
        )
    if not options.judged_only:
        check_classes(spec, dataset)
    if options.hold_out and not (options.keep_val and dataset.val is not None):
        if dataset.val is not None:
            raise DatasetError(
                f"{spec}: already has a val split; leave validation at auto instead of hold-out"
            )
        dataset = dataset.hold_out(options.hold_out, options.seed)
    return replace(dataset, spec=spec, notes=(*dataset.notes, *remarks(dataset)))


def tree_of(spec: str, root: Path, options: ReadOptions) -> Tree:
    """The files of a ``folder:``, as these options take them."""
    return list_folder(spec, root, needs_train=not options.judged_only, exactly=options.exactly)


def check_place(spec: str) -> None:
    """Refuse at once what a look at the folder or file names shows to be wrong; opens no image.

    Raises:
        DatasetError: as ``read_dataset`` would.
    """
    kind, _, place = absolute_spec(spec).partition(":")
    if is_uri(place):
        if kind == "folder":
            folders = Remote(place).folders()
            if not folders:
                raise DatasetError(f"{spec}: no folder lies there; expected URI/train/CLASS/*.jpg")
    elif kind == "folder":
        list_folder(spec, Path(place))
    elif kind == "npz" and not Path(place).is_file():
        raise DatasetError(f"{spec}: no such file")
