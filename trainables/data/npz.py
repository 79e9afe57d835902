"""``npz:FILE``: arrays as a dataset."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from spaces.errors import DatasetError, UserError, on_one_line
from trainables.data.builtin import split_of
from trainables.data.dataset import Dataset
from trainables.data.fetched import fetched_file
from trainables.data.names import PARTS, part_of, parts_in_words, twins
from trainables.data.options import ReadOptions
from trainables.images.rule import Numbers, completed, needs_of, to_8_bits
from trainables.images.unpacked import most_unpacked
from trainables.io.remote import is_uri

IMAGES, LABELS = ("x", "image", "images"), ("y", "label", "labels")
SHAPES = "(n, H, W), (n, H, W, 1) or (n, H, W, 3)"


def check_npz(spec: str, place: str) -> None:
    """Refuse a file that is not there; one at a URI is looked for when it is read."""
    if not is_uri(place) and not Path(place).is_file():
        raise DatasetError(f"{spec}: no such file")


def read_npz(spec: str, place: str, options: ReadOptions) -> Dataset:
    """An npz file with x_train, y_train and, as wished, x_val, y_val, x_test, y_test, classes.

    ``x``: (n, H, W), (n, H, W, 1) or (n, H, W, 3), uint8 or, by the rule of
    ``trainables.images.rule`` for all of them, other integers, floating-point numbers or booleans;
    ``y``: (n,) integers from 0; ``classes``: (c,) names in alphabetical order. Names that say the
    same (``X_valid``, ``train_images``) are taken for these. Pickled content is refused, not run.

    Raises:
        DatasetError: if the file is missing, damaged, or holds something else.
    """
    arrays = _arrays(spec, fetched_file(spec, place) if is_uri(place) else Path(place))
    rule, color, judged_only = options.rule, options.color, options.judged_only
    given, notes = ({name: name for name in arrays}, []) if options.exactly else _keys(spec, arrays)
    found: dict[str, tuple[Numbers, Numbers]] = {}
    for name in PARTS:
        x, y = (arrays.get(given.get(f"{letter}_{name}", "")) for letter in "xy")
        if x is None and y is None and (name != "train" or judged_only):
            continue
        found[name] = (
            _checked_images(spec, f"x_{name}", x, y),
            _checked_labels(spec, f"y_{name}", y, x),
        )
    if not found:
        raise DatasetError(
            f"{spec}: no images, only {', '.join(arrays) or 'nothing'}; expected x_train and "
            "y_train, or x_test and y_test"
        )
    try:
        rule = completed(
            rule,
            (needs_of(x) for x, _ in found.values() if x.dtype != np.uint8 and x.dtype.kind != "b"),
        )
    except UserError as error:
        raise DatasetError(f"{spec}: {error}") from None
    # every class has training images, so there are not more classes
    most = len(found.get("train", next(iter(found.values())))[1])
    for name, (_, y) in found.items():
        if y.min() < 0 or (y.max() >= most and not judged_only):
            raise DatasetError(
                f"{spec}: y_{name} must be in 0..{most - 1} ({most} training images), but got "
                f"{y.min()}..{y.max()}"
            )
    splits = {
        name: split_of(
            (image if image.dtype == np.uint8 else to_8_bits(image, rule) for image in x),
            y,
            color,
            rule.fit,
        )
        for name, (x, y) in found.items()
    }
    top = max(int(part.labels.max(initial=0)) for part in splits.values())
    classes = _classes(spec, arrays.get("classes"), top)
    notes += [f"warning: two classes {said}" for said in twins(classes)]
    if "val" in splits and "test" not in splits:
        splits["test"] = splits.pop("val")
    train = splits.get("train") or next(iter(splits.values())).take(np.empty(0, np.int64))
    return Dataset(
        spec, classes, train, splits.get("val"), splits.get("test"), rule=rule, notes=tuple(notes)
    )


def _arrays(spec: str, path: Path) -> dict[str, Numbers]:
    if not path.is_file():
        raise DatasetError(f"{spec}: no such file")
    try:
        with zipfile.ZipFile(path) as packed, np.load(path, allow_pickle=False) as archive:
            most, rule = most_unpacked(path)
            if (size := sum(item.file_size for item in packed.infolist())) > most:
                raise ValueError(f"{size:,} bytes would be unpacked, more than {rule}")
            return {name: np.asarray(archive[name]) for name in archive.files}
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise DatasetError(
            f"{spec}: not a readable npz file without pickles ({on_one_line(error)})"
        ) from error


def _keys(spec: str, arrays: Mapping[str, Numbers]) -> tuple[dict[str, str], list[str]]:
    """``x_train`` and so on to the name under which the file has it, and a note on each that has
    another.
    """
    found: dict[str, str] = {}
    for name, array in arrays.items():
        words = [word.casefold() for word in re.split(r"[_\-. ]+", name) if word]
        letter = next(
            (letter for letter, kind in (("x", IMAGES), ("y", LABELS)) if {*words} & {*kind}), None
        )
        rest = [word for word in words if word not in (*IMAGES, *LABELS)]
        if letter is None or len(words) > 2 or len(rest) > 1:
            continue
        part = part_of(rest[0]) if rest else "train"
        if part is None and (letter == "y" or array.ndim < 3):
            continue
        if part is None:  # images that would be left out of what the user thinks is all of them
            raise DatasetError(
                f"{spec}: {name} is none of {letter}_ with {parts_in_words()}; rename or remove it"
            )
        if (key := f"{letter}_{part}") in found:
            raise DatasetError(
                f"{spec}: {found[key]} and {name} are both {key}; rename or remove one of them"
            )
        found[key] = name
    return found, [f"{name} is taken for {key}" for key, name in found.items() if name != key]


def _checked_images(spec: str, name: str, x: Numbers | None, y: Numbers | None) -> Numbers:
    fits = (
        x is not None
        and x.dtype.kind in "buif"
        and (x.ndim == 3 or (x.ndim == 4 and x.shape[3] in (1, 3)))
        and x.size
    )
    if x is None or y is None or not fits:
        got = f"{x.dtype} {x.shape}" if x is not None else "none"
        raise DatasetError(
            f"{spec}: {name} must be numbers {SHAPES}, not empty, with y_{name[2:]} beside it, "
            f"but got {got}"
        )
    return x[..., 0] if x.ndim == 4 and x.shape[3] == 1 else x


def _checked_labels(spec: str, name: str, y: Numbers | None, x: Numbers | None) -> Numbers:
    assert x is not None  # checked before
    assert y is not None
    if y.shape != (len(x),) or not np.issubdtype(y.dtype, np.integer):
        raise DatasetError(
            f"{spec}: {name} must be {len(x)} integers from 0, but got {y.dtype} {y.shape}"
        )
    return y


def _classes(spec: str, names: Numbers | None, top: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"{i:0{len(str(top))}d}" for i in range(top + 1))
    classes = tuple(str(c) for c in np.atleast_1d(names))
    if len(classes) <= top or list(classes) != sorted(set(classes)):
        raise DatasetError(
            f"{spec}: classes must be {top + 1} different names in alphabetical order, but got "
            f"{classes}"
        )
    return classes
