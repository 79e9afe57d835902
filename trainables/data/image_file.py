"""One image file as an array, by rules that hold whatever the file contains.

- JPEG, PNG, BMP, GIF, TIFF, WebP and PNM are read; a GIF or TIFF gives its first picture.
  Formats that run programs (EPS) are never tried.
- Grey, palette, RGB, CMYK and YCbCr become 8-bit grey or RGB; transparency is dropped.
- 16-bit grey is divided by 257, so that 65535 becomes 255 (Pillow alone would clip).
  32-bit and floating-point pictures are refused: they have no known white.
- Pixels stay as stored: a camera's orientation tag is not applied, as in torchvision's
  ``ImageFolder`` and in the report (one of the 15 scenes has a tag that is wrong).
- More than ``MAX_PIXELS`` pixels, by the header, are refused before anything is unpacked.
- A longer side over ``max_side`` is shrunk to it (box filter), keeping the proportions.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from trainables.data.dataset import DatasetError, UInt8

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
MAX_PIXELS = 64_000_000
Color = Literal["grey", "rgb"]


def read_image(path: Path, color: Color = "grey", max_side: int | None = None) -> UInt8:
    """The picture in ``path`` as (H, W) grey or (H, W, 3) RGB uint8.

    Raises:
        DatasetError: if it is no picture, is damaged, or breaks a rule above.
    """
    (outcome,) = read_images([path], color, max_side)
    if isinstance(outcome, DatasetError):
        raise outcome
    return outcome


def read_images(paths: Sequence[Path], color: Color = "grey", max_side: int | None = None) -> list[UInt8 | DatasetError]:
    """As ``read_image``, for many files at once: each one's picture, or why there is none."""
    # Pillow warns of odd metadata; what matters is refused below. The filters belong to the
    # process, not to a thread, so they are set once around all threads.
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")
        return list(pool.map(lambda path: _try_read(path, color, max_side), paths))


def _try_read(path: Path, color: Color, max_side: int | None) -> UInt8 | DatasetError:
    try:
        return _read(path, color, max_side)
    except DatasetError as error:
        return error


def _read(path: Path, color: Color, max_side: int | None) -> UInt8:
    try:
        if not path.is_file():  # a pipe or a device would be waited for
            raise DatasetError(f"{path}: no such image file")
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DatasetError(
                    f"{path}: an image may have {MAX_PIXELS:,} pixels, but this has "
                    f"{image.width:,} x {image.height:,}; shrink it or leave it out"
                )
            return _to_array(image, path, color, max_side)
    except DatasetError:
        raise
    except Image.DecompressionBombError:
        raise DatasetError(f"{path}: an image may have {MAX_PIXELS:,} pixels, but this has more; shrink it or leave it out") from None
    except Exception as error:  # a damaged file can make a decoder raise anything
        reason = "not an image" if isinstance(error, UnidentifiedImageError) else f"damaged ({error})"
        raise DatasetError(f"{path}: {' '.join(reason.split())}; allowed are {', '.join(FORMATS)}; repair or remove it") from error


def _to_array(image: Image.Image, path: Path, color: Color, max_side: int | None) -> UInt8:
    grey16 = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")  # Pillow widens 16-bit PGM
    if image.mode in ("I", "F") and not grey16:
        raise DatasetError(
            f"{path}: 32-bit and floating-point images are refused (no known white), got mode {image.mode}; save it as 8 or 16 bits"
        )
    picture: Image.Image = image
    if grey16:
        picture = Image.fromarray((np.asarray(image, np.uint32) // 257).astype(np.uint8))
    plain = picture.convert("L" if color == "grey" else "RGB")
    if max_side is not None and max(plain.size) > max_side:
        scale = max_side / max(plain.size)
        size = (max(1, round(plain.width * scale)), max(1, round(plain.height * scale)))
        plain = plain.resize(size, Image.Resampling.BOX)
    return np.asarray(plain, np.uint8)
