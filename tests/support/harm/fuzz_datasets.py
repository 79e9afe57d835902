"""Arrays, tables and pictures, spoilt by a seeded generator, and the command that reads them."""

from __future__ import annotations

import contextlib
import io
import random
import zipfile
from collections.abc import Callable
from csv import writer as csv_writer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image
from spoiling import strange, turned


def arrays() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    return {
        "x_train": generator.integers(0, 256, (8, 6, 6), dtype=np.uint8),
        "y_train": np.arange(8) % 2,
        "x_test": generator.integers(0, 256, (4, 6, 6), dtype=np.uint8), "y_test": np.arange(4) % 2,
        "classes": np.array(["cat", "dog"]),
    }  # fmt: skip


def whole(array: Any) -> bool:
    return bool(array.dtype.kind in "iu")


OTHERS: tuple[Callable[[Any], Any], ...] = (
    lambda a: a.astype(np.float64) if whole(a) else a[1:],
    lambda a: a.astype(np.int64) - 5 if whole(a) else a[:0],
    lambda a: a.astype(np.complex64) if whole(a) else a[::-1],
    lambda a: a.astype(np.uint16) if whole(a) else np.array(["", "\x1b[31m"]),
    lambda a: a[:0],
    lambda a: a[None],
    lambda a: a[..., :0],
    lambda a: np.repeat(a, 3),
    lambda a: np.array(7),
    lambda a: np.array(["a"] * len(a)),
    lambda a: np.array([2**62] * len(a)),
    lambda a: np.full(len(a), np.nan),
)


def npz(generator: random.Random, folder: Path) -> tuple[object, ...]:
    named, path = arrays(), folder / "fuzz.npz"
    if generator.random() < 0.5:
        name = generator.choice(list(named))
        other = generator.choice(OTHERS)
        named[name] = other(named[name])
        if generator.random() < 0.3:
            del named[generator.choice(list(named))]
        np.savez(path, **named)
        content = path.read_bytes()
    else:
        buffer = io.BytesIO()
        np.savez(buffer, **named)
        content = turned(generator, buffer.getvalue())
        if generator.random() < 0.4:  # a header of an array that lies, within a zip that is whole
            with zipfile.ZipFile(path, "w") as packed:
                for name in named:
                    array = io.BytesIO()
                    np.save(array, named[name])
                    packed.writestr(f"{name}.npy", turned(generator, array.getvalue()))
            content = path.read_bytes()
    path.write_bytes(content)
    return (
        "run",
        "--space",
        "tiny-image",
        "--dataset",
        f"npz:{path}",
        "--dry-run",
        "--runs-dir",
        folder / "runs",
    )


def pictures(folder: Path) -> Path:
    """A folder of four pictures of each of two classes; made once."""
    root = folder / "images"
    if not root.is_dir():
        for label in ("cat", "dog"):
            (root / label).mkdir(parents=True)
            for number in range(4):
                shade = np.full((8, 8, 3), 20 * number, np.uint8)
                Image.fromarray(shade).save(root / label / f"{number}.png")
    return root


NAMES = ("path", "label", "split", "group", "Label", "class", "file", "x", "", "é", "\x1b[31m")
WORDS = ("train", "test", "val", "dog", "g1", "../cat/0.png", "cat/0.png", "/etc/passwd", "cat", "")


def columns(generator: random.Random, root: Path) -> dict[str, list[Any]]:
    """A table of the pictures, of which a few cells or columns are strange."""
    paths = sorted(path.relative_to(root).as_posix() for path in root.glob("*/[0-9].png"))
    found: dict[str, list[Any]] = {
        "path": list(paths),
        "label": [path.partition("/")[0] for path in paths],
        "split": ["test" if path.endswith("3.png") else "train" for path in paths],
        "group": [f"g{number // 2}{path[0]}" for number, path in enumerate(paths)],
    }
    for _ in range(generator.choice((0, 1, 1, 2))):
        name, action = generator.choice(list(found)), generator.random()
        value = generator.choice(WORDS) if generator.random() < 0.5 else strange(generator)
        if action < 0.15 and len(found) > 1:
            del found[name]
        elif action < 0.3:
            found[generator.choice(NAMES)] = found.pop(name)
        elif action < 0.45:
            found[generator.choice(NAMES)] = [value] * len(paths)
        elif action < 0.6:
            found[name] = [value] * len(paths)
        else:
            found[name][generator.randrange(len(paths))] = value
    return found


def as_text(value: Any) -> str:
    """Of a cell."""
    # Python writes no number of so many digits
    return "9" * 5000 if value == 10**400 else "" if value is None else str(value)[:4000]


def csv(generator: random.Random, folder: Path) -> tuple[object, ...]:
    root = pictures(folder)
    found = columns(generator, root)
    text = io.StringIO()
    writer = csv_writer(
        text,
        delimiter=generator.choice(",,,,;\t"),
        lineterminator=generator.choice(("\n", "\r\n", "\r")),
    )
    writer.writerow(found)
    writer.writerows([as_text(cell) for cell in row] for row in zip(*found.values(), strict=True))
    encoding = generator.choice(("utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    content = text.getvalue().encode(encoding, "replace")
    if generator.random() < 0.4:
        content = turned(generator, content)
    return judged(generator, "csv", root, content)


def parquet(generator: random.Random, folder: Path) -> tuple[object, ...]:
    root = pictures(folder)
    arrays = {}
    for name, cells in columns(generator, root).items():
        try:
            arrays[name] = pa.array(cells)
        except (pa.ArrowException, OverflowError, ValueError, TypeError):
            arrays[name] = pa.array([as_text(cell) for cell in cells])
        if pa.types.is_nested(arrays[name].type) and generator.random() < 0.8:
            arrays[name] = pa.array([as_text(cell) for cell in cells])
        if generator.random() < 0.1:
            arrays[name] = arrays[name].dictionary_encode()
    buffer = io.BytesIO()
    how = generator.choice(("snappy", "none", "gzip", "zstd"))
    with contextlib.suppress(pa.ArrowNotImplementedError):  # a type that no file can have
        pq.write_table(
            pa.table(arrays), buffer, compression=how, row_group_size=generator.choice((2, 100))
        )
    content = buffer.getvalue()
    if generator.random() < 0.6:
        content = turned(generator, content)
    return judged(generator, "parquet", root, content)


def judged(generator: random.Random, kind: str, root: Path, content: bytes) -> tuple[object, ...]:
    """A table beside the pictures, looked at or searched."""
    path = root / f"table.{kind}"
    path.write_bytes(content)
    if generator.random() < 0.2:
        return "check", f"{kind}:{path}"
    runs = root.parent / "runs"
    words = ("run", "--space", "tiny-image", "--dataset", f"{kind}:{path}", "--dry-run")
    return (*words, "--runs-dir", runs)


def image(generator: random.Random, folder: Path) -> tuple[object, ...]:
    """A picture of a folder of them."""
    root = pictures(folder)
    kind = generator.choice(("png", "jpg", "gif", "bmp", "tif", "webp", "ppm"))
    for left in root.glob("cat/spoilt.*"):
        left.unlink()
    path = root / "cat" / f"spoilt.{kind}"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(path)
    path.write_bytes(turned(generator, path.read_bytes()))
    more = ("--skip-unreadable",) if generator.random() < 0.3 else ()
    runs = folder / "runs"
    words = ("run", "--space", "tiny-image", "--dataset", f"folder:{root}", "--dry-run", *more)
    return (*words, "--runs-dir", runs)
