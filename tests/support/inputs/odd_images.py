"""Pictures that image files can hold and Pillow does not write, and a small dataset to save in any
way, for tests.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

GREY, RGB, GREY_ALPHA, RGBA = 0, 2, 4, 6


def png(pixels: npt.NDArray[np.uint16], kind: int, transparent: tuple[int, ...] = ()) -> bytes:
    """A 16-bit PNG file of (H, W) or (H, W, channels) numbers; ``kind`` is PNG's colour type."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    key = chunk(b"tRNS", struct.pack(f">{len(transparent)}H", *transparent)) if transparent else b""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + key
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def tiff(pixels: npt.NDArray[np.uint16], order: str = "<") -> bytes:
    """A 16-bit TIFF file of (H, W) or (H, W, 3) numbers, in little (``<``) or big (``>``)
    endian.
    """
    height, width, channels = (*pixels.shape, 1)[:3]
    data = pixels.astype(f"{order}u2").tobytes()
    values = 8 + 2 + 12 * 9 + 4
    bits = struct.pack(f"{order}{channels}H", *[16] * channels) if channels > 2 else b""
    photometric = 2 if channels == 3 else 1
    short = [
        (256, width),
        (257, height),
        (259, 1),
        (262, photometric),
        (277, channels),
        (278, height),
    ]
    long = [(273, values + len(bits)), (279, len(data))]
    tags = [(tag, 3, 1, struct.pack(f"{order}HH", value, 0)) for tag, value in short]
    tags += [(tag, 4, 1, struct.pack(f"{order}I", value)) for tag, value in long]
    tags.append(
        (
            258,
            3,
            channels,
            struct.pack(f"{order}I", values) if channels > 2 else struct.pack(f"{order}HH", 16, 0),
        )
    )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}IH", 8, len(tags))
    entries = b"".join(
        struct.pack(f"{order}HHI", tag, kind, count) + value
        for tag, kind, count, value in sorted(tags)
    )
    return head + entries + struct.pack(f"{order}I", 0) + bits + data


def ppm(pixels: npt.NDArray[np.uint16], most: int = 65535) -> bytes:
    """A binary PPM file of (H, W, 3) numbers of up to ``most``."""
    return (
        b"P6\n%d %d\n%d\n" % (pixels.shape[1], pixels.shape[0], most)
        + pixels.astype(">u2").tobytes()
    )


def shapes(per_class: int, side: int = 24, seed: int = 0) -> dict[str, list[npt.NDArray[np.uint8]]]:
    """(side, side) uint8 pictures of bars on black, from 0 to 240, that even a tiny image tells
    apart: by class.
    """
    generator = np.random.default_rng(seed)
    made: dict[str, list[npt.NDArray[np.uint8]]] = {"down": [], "left": [], "up": []}
    for name, pictures in made.items():
        for _ in range(per_class):
            picture = generator.integers(0, 40, (side, side)).astype(np.uint8)
            half = {
                "down": np.s_[side // 2 :, :],
                "left": np.s_[:, : side // 2],
                "up": np.s_[: side // 2, :],
            }[name]
            picture[half] += np.uint8(200)
            pictures.append(picture)
    return made


def save_all(
    root: Path,
    pictures: dict[str, list[npt.NDArray[np.uint8]]],
    ending: str,
    save: Callable[[npt.NDArray[np.uint8], Path], None],
) -> Path:
    """DIR/train/CLASS/N.ENDING, each as ``save`` writes it; the first third of each class is in
    DIR/test.
    """
    for name, of_class in pictures.items():
        for number, picture in enumerate(of_class):
            folder = root / ("test" if number < len(of_class) // 3 else "train") / name
            folder.mkdir(parents=True, exist_ok=True)
            save(picture, folder / f"{number:03d}.{ending}")
    return root
