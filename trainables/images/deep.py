"""Pictures of more than 8 bits a channel: their numbers as stored, which Pillow gives of grey ones
alone.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageFile

from trainables.images.rule import Numbers

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""What is read; the rest is not even tried."""
NATIVE = "L" if sys.byteorder == "little" else "B"
OTHER = {"L": "B", "B": "L"}
COLOURS = ("RGB", "RGBX", "RGBA")


def numbers(image: ImageFile.ImageFile, path: Path) -> Numbers | None:
    """(H, W) integers or floats of a grey picture of more than 8 bits, (H, W, 3) or (H, W, 4) of a
    coloured or transparent one.

    Args:
        image: opened, not loaded yet.

    Returns:
        None for a picture of 8 bits, which Pillow gives whole, and for a kind of deep picture that
        can only be had in 8.
    """
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        grey = np.asarray(image)
        return grey if grey.dtype.isnative else grey.astype(grey.dtype.newbyteorder("="))
    if image.mode not in ("RGB", "RGBA") or not image.tile:
        return None
    args = image.tile[0].args
    if (
        image.format == "PPM"
        and image.tile[0].codec_name == "ppm"
        and isinstance(args, tuple)
        and args[1] > 255
    ):
        return _portable(path, image.tile[0].offset, image.size, args[1])
    rawmode = args if isinstance(args, str) else args[0] if args else ""
    kind, _, order = str(rawmode).partition(";16")
    if order not in ("L", "B", "N") or kind not in (*COLOURS, "LA"):
        return None
    return (
        _grey_and_alpha(image)
        if kind == "LA"
        else _two_halves(image, path, f"{kind};16{OTHER[order.replace('N', NATIVE)]}")
    )


def _two_halves(image: ImageFile.ImageFile, path: Path, other: str) -> Numbers:
    """Pillow keeps the high byte of each number: told the other byte order, it keeps the low
    one.
    """
    high = np.asarray(image).astype(np.uint16)
    with Image.open(path, formats=FORMATS) as again:
        tiles = [(tile, tile.args) for tile in again.tile]
        again.tile = [
            tile._replace(args=other if isinstance(args, str) else (other, *(args or ())[1:]))
            for tile, args in tiles
        ]
        low = np.asarray(again)
    return (high << np.uint16(8)) | low


def _grey_and_alpha(image: ImageFile.ImageFile) -> Numbers:
    """Two numbers of 16 bits a pixel, of a PNG file, are four of 8."""
    image.tile = [tile._replace(args="RGBA") for tile in image.tile]
    halves = np.asarray(image).astype(np.uint16)
    grey, alpha = (
        (halves[..., channel] << np.uint16(8)) | halves[..., channel + 1] for channel in (0, 2)
    )
    return np.stack([grey, grey, grey, alpha], axis=2)


def _portable(path: Path, offset: int, size: tuple[int, int], most: int) -> Numbers:
    """A binary PPM file's, stretched so that the ``most`` it declares is 65535."""
    width, height = size
    with open(path, "rb") as file:
        file.seek(offset)
        raw = file.read(6 * width * height)
    stored = np.frombuffer(raw, ">u2").reshape(height, width, 3).astype(np.uint32)
    return (np.minimum(stored, most) * 65535 // most).astype(np.uint16)
