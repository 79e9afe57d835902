"""One image file as an array, by rules that hold whatever the file contains.

- JPEG, PNG, BMP, GIF, TIFF, WebP and PNM are read; an animation or a file of several pages gives
  its first picture. Formats that run programs (EPS) are never tried.
- Grey, palette, RGB, CMYK, YCbCr and LAB become 8-bit grey or RGB; so do more bits, floating-point
  numbers and transparency, by the rule of the data set (``trainables.images.rule``).
- A camera's orientation tag turns a picture upright where the rule says so; else pixels stay as
  stored, as in torchvision's ``ImageFolder`` and in the report (one of the 15 scenes has a tag that
  is wrong).
- A picture that is no square keeps its shape, or is made one, by the rule of the data set.
- More than ``MAX_PIXELS`` pixels, by the header, are refused before anything is unpacked.
- A longer side over ``max_side`` is shrunk to it (box filter), keeping the proportions.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from spaces.errors import DatasetError, UserError, on_one_line
from trainables.images.deep import FORMATS, numbers
from trainables.images.kinds import kind_of
from trainables.images.rule import (
    PLAIN,
    Color,
    Needs,
    Numbers,
    Rule,
    UInt8,
    completed,
    middle,
    needs_of,
    padded,
    to_8_bits,
)

Result = TypeVar("Result")
MAX_PIXELS = 64_000_000
ORIENTATION = 0x0112
"""Tag of EXIF's that says how a camera was held."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture upright, by the tag."""
TRANSPARENT = ("RGBA", "LA", "PA")


@dataclass(frozen=True)
class Reading:
    """How files are read.

    Attributes:
        color: 8-bit grey or RGB.
        max_side: of a picture, pixels; larger ones are shrunk.
        rule: for what is not 8-bit grey or RGB.
        square: side of the square that each becomes at last, pixels; None to keep its shape.
    """

    color: Color = "grey"
    max_side: int | None = None
    rule: Rule = PLAIN
    square: int | None = None


def squared(image: UInt8, side: int) -> UInt8:
    """(side, side) or (side, side, 3) of an image of any shape, by Pillow's bicubic filter."""
    if image.shape[:2] == (side, side):
        return image
    size = (side, side)
    return np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))


def read_image(
    path: Path, color: Color = "grey", max_side: int | None = None, rule: Rule = PLAIN
) -> UInt8:
    """The picture in ``path`` as (H, W) grey or (H, W, 3) RGB uint8; what ``rule`` does not say is
    decided by the picture itself.

    Raises:
        DatasetError: if it is no picture, is damaged, or breaks a rule above.
    """
    (outcome,) = read_images([path], color, max_side, rule)
    if isinstance(outcome, DatasetError):
        raise outcome
    return outcome


def read_images(
    paths: Sequence[Path], color: Color = "grey", max_side: int | None = None, rule: Rule = PLAIN
) -> list[UInt8 | DatasetError]:
    """As ``read_image``, for many files at once: each one's picture, or why there is none."""
    how = Reading(color, max_side, rule)
    return list(over_files(lambda path: read_alone(path, how), paths))


@dataclass(frozen=True)
class Header:
    """What an image file says of its picture before it is unpacked.

    Attributes:
        format: by its content, one of ``FORMATS``.
        endings: of names of such files.
        size: width and height as stored, pixels.
        orientation: a camera's tag: 1 upright, 2 to 8 turned or mirrored.
    """

    format: str
    endings: tuple[str, ...]
    size: tuple[int, int]
    orientation: int = 1


def read_header(path: Path) -> Header | None:
    """What the file says; None if it is none of the formats that are read, or damaged."""
    try:
        if not path.is_file():  # a pipe or a device would be waited for
            return None
        with Image.open(path, formats=FORMATS) as image:
            form = "JPEG" if image.format == "MPO" else image.format or ""
            endings = tuple(sorted(end for end, of in Image.EXTENSION.items() if of == form))
            return Header(form, endings, image.size, orientation_of(image))
    except Exception:  # whoever reads the picture says what is wrong with it
        return None


def orientation_of(image: ImageFile.ImageFile) -> int:
    """A camera's tag, 1 upright, of an opened image. Pillow turns TIFF files itself."""
    tag = 1 if image.format == "TIFF" else image.getexif().get(ORIENTATION, 1)
    return tag if tag in TURNS else 1


def outcomes(paths: Sequence[Path], how: Reading) -> Iterator[UInt8 | Needs | DatasetError]:
    """Each file's picture, or why there is none, or what it needs of a rule that ``how`` has not;
    in the order of ``paths``.
    """
    return over_files(lambda path: _try_read(path, how), paths)


def over_files(function: Callable[[Path], Result], paths: Sequence[Path]) -> Iterator[Result]:
    """``function`` of each path, by threads, in the order of ``paths``."""
    # Pillow warns of odd metadata; what matters is refused below. The filters belong to the
    # process, not to a thread, so they are set once around all threads.
    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")
        yield from pool.map(function, paths)


def read_alone(path: Path, how: Reading) -> UInt8 | DatasetError:
    """The picture, or why there is none; what the rule does not say is decided by itself."""
    while isinstance(found := _try_read(path, how), Needs):
        how = replace(how, rule=completed(how.rule, [found]))
    return found


def _try_read(path: Path, how: Reading) -> UInt8 | Needs | DatasetError:
    try:
        return _read(path, how)
    except DatasetError as error:
        return error


def _read(path: Path, how: Reading) -> UInt8 | Needs:
    try:
        if not path.is_file():  # a pipe or a device would be waited for
            raise DatasetError(f"{path}: no such image file")
        with Image.open(path, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise DatasetError(
                    f"{path}: an image may have {MAX_PIXELS:,} pixels, but this has "
                    f"{image.width:,} x {image.height:,}; shrink it or leave it out"
                )
            return _to_array(image, path, how)
    except DatasetError:
        raise
    except UserError as error:
        raise DatasetError(f"{path}: {error}") from None
    except PermissionError:
        raise DatasetError(f"{path}: may not be read; give yourself the right to it") from None
    except Image.DecompressionBombError:
        raise DatasetError(
            f"{path}: an image may have {MAX_PIXELS:,} pixels, but this has more; shrink it or "
            "leave it out"
        ) from None
    except UnidentifiedImageError as error:
        if kind := kind_of(path):
            raise DatasetError(
                f"{path}: {kind} is not read; allowed are {', '.join(FORMATS)}; save it as PNG "
                "or JPEG"
            ) from error
        raise DatasetError(
            f"{path}: not an image; allowed are {', '.join(FORMATS)}; repair or remove it"
        ) from error
    except Exception as error:  # a damaged file can make a decoder raise anything
        raise DatasetError(
            f"{path}: damaged ({on_one_line(error)}); allowed are {', '.join(FORMATS)}; repair "
            "or remove it"
        ) from error


def _to_array(image: ImageFile.ImageFile, path: Path, how: Reading) -> UInt8 | Needs:
    turn = TURNS.get(orientation_of(image)) if how.rule.orientation == "exif" else None
    stored, key = numbers(image, path), _transparent_colour(image)
    need, picture = Needs(), cast(Image.Image, image)
    if stored is not None:
        need = needs_of(stored[..., :3] if stored.ndim == 3 else stored)
        picture, key = _shallow(stored, completed(how.rule, [need]), key), None
    layer = _transparent(picture, key)
    if layer is not None:
        opacity = np.asarray(layer.getchannel("A"), np.float64) / 255
        light = np.asarray(layer.convert("RGB").convert("L"), np.float64) / 255
        uneven = bool(opacity.min() < opacity.max())
        need = replace(
            need, uneven=uneven, visible=float(opacity.sum()), light=float((opacity * light).sum())
        )
    rule = completed(how.rule, [need])
    if rule != how.rule:
        return need
    if layer is not None and rule.background != "dropped":
        picture = Image.alpha_composite(Image.new("RGBA", layer.size, rule.background), layer)
    if picture.mode == "LAB":
        picture = picture.convert("RGB")
    plain = picture.convert("L" if how.color == "grey" else "RGB")
    if (box := middle(*plain.size, how.rule.fit)) != (0, 0, *plain.size):
        plain = plain.crop(box)
    if how.max_side is not None and max(plain.size) > how.max_side:
        scale = how.max_side / max(plain.size)
        size = (max(1, round(plain.width * scale)), max(1, round(plain.height * scale)))
        plain = plain.resize(size, Image.Resampling.BOX)
    if turn is not None:
        plain = plain.transpose(turn)
    found = padded(np.asarray(plain, np.uint8), how.rule.fit)
    return found if how.square is None else squared(found, how.square)


def _transparent_colour(image: ImageFile.ImageFile) -> bytes | int | tuple[int, ...] | None:
    """What a PNG or GIF file says is transparent: a grey level, a colour, an entry of its palette;
    or how opaque each entry is.
    """
    key = image.info.get("transparency")
    if (
        isinstance(key, int)
        and image.mode == "L"
        and image.tile
        and image.tile[0].args in ("L;2", "L;4")
    ):
        # levels of 2 and 4 bits are stretched by Pillow, but not this one
        return key * (85 if image.tile[0].args == "L;2" else 17)
    return key


def _shallow(stored: Numbers, rule: Rule, key: object) -> Image.Image:
    """A deep picture in 8 bits."""
    grey = stored.ndim == 2
    pixels = to_8_bits(stored if grey else stored[..., :3], rule, high_bits=not grey)
    alpha = None
    if not grey and stored.shape[2] == 4:
        alpha = (stored[..., 3].astype(np.uint16) >> 8).astype(np.uint8)
    elif key is not None:
        same = stored == np.asarray(key)
        alpha = np.where(same if grey else same.all(axis=2), 0, 255).astype(np.uint8)
    if alpha is None:
        return Image.fromarray(pixels)
    return Image.fromarray(np.dstack([*([pixels] * 3 if grey else [pixels]), alpha]))


def _transparent(picture: Image.Image, key: object) -> Image.Image | None:
    """The picture in RGBA if any of it is transparent."""
    if picture.mode not in TRANSPARENT and key is None:
        return None
    if key is not None:
        picture.info["transparency"] = key
    layer = picture.convert("RGBA")
    return layer if layer.getchannel("A").getextrema()[0] != 255 else None
