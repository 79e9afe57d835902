"""From a dataset SPEC to the dataset it names."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from spaces.datasets import READERS, specs
from spaces.errors import DatasetError, echo
from spaces.kinds import Reader, function_of
from trainables.data.names import check_utf8
from trainables.data.options import ReadOptions
from trainables.io.remote import Remote, is_uri

if TYPE_CHECKING:
    from trainables.data.dataset import Dataset


def absolute_spec(spec: str) -> str:
    """``spec`` with its path made absolute, so that it means the same in every process.

    Raises:
        DatasetError: if it is of none of the kinds that there are.
    """
    kind, _, place = spec.partition(":")
    reader = READERS.get(kind)
    if (
        reader is None
        or (place and not reader.place)
        or (not place and reader.place and not reader.place.startswith("["))
    ):
        raise DatasetError(f"unknown dataset {echo(spec)}; allowed are {', '.join(specs())}")
    if not place:
        return kind
    if not reader.path:
        return spec
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
    # not needed by whoever checks a SPEC alone, and slow to load
    from trainables.data.dataset import Dataset, check_classes
    from trainables.data.remarks import remarks, with_kept_remarks

    options = options or ReadOptions()
    spec = absolute_spec(spec)
    reader, place = reader_of(spec)
    dataset = function_of(reader.read)(spec, place, options)
    if not isinstance(dataset, Dataset):
        raise DatasetError(
            f"{spec}: the reader must give a trainables.data.Dataset, but gave "
            f"{type(dataset).__name__}"
        )
    if not options.judged_only:
        check_classes(spec, dataset)
    if holds_out(options, len(dataset.train), dataset.val is not None):
        if dataset.val is not None:
            raise DatasetError(
                f"{spec}: already has a val split; leave validation at auto instead of hold-out"
            )
        dataset = dataset.hold_out(options.hold_out, options.seed)
    dataset = replace(dataset, spec=spec)
    if dataset.unmade:
        return dataset
    if dataset.train.images.packed:
        return with_kept_remarks(dataset)
    return replace(dataset, notes=(*dataset.notes, *remarks(dataset)))


def holds_out(options: ReadOptions, count: int, val: bool) -> bool:
    """Whether part of ``count`` training images is set aside, where there is a val split or not."""
    held = options.hold_out > 0 and count >= options.hold_out_from
    return held and not (options.keep_val and val)


def check_place(spec: str) -> None:
    """Refuse at once what a look at the folder or file names shows to be wrong; opens no image.

    Raises:
        DatasetError: as ``read_dataset`` would.
    """
    spec = absolute_spec(spec)
    reader, place = reader_of(spec)
    if reader.check:
        function_of(reader.check)(spec, place)


def reader_of(spec: str) -> tuple[Reader, str]:
    """Who reads an absolute SPEC, and the place that it is given."""
    kind, _, place = spec.partition(":")
    reader = READERS[kind]
    return reader, place or os.path.expanduser(reader.default)
