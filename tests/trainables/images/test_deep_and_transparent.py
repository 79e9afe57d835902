"""Images of more than 8 bits and images with transparency: which grey levels they are seen with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from odd_images import GREY, GREY_ALPHA, RGB, RGBA, png, ppm, save_all, shapes, tiff
from PIL import Image

from trainables.data import Dataset, ReadOptions, read_dataset
from trainables.images.image_file import read_image
from trainables.images.rule import Rule

UInt8 = npt.NDArray[np.uint8]
Save = Callable[[UInt8, Path], None]
PICTURES = shapes(6)


def read(root: Path, **options: Any) -> Dataset:
    return read_dataset(f"folder:{root}", ReadOptions(**options))


def stacked(dataset: Dataset) -> UInt8:
    return np.stack([image for part in dataset.splits().values() for image in part.images])


def expected(tmp_path: Path) -> UInt8:
    """The pictures as plain 8-bit files give them."""
    return stacked(
        read(
            save_all(
                tmp_path / "plain",
                PICTURES,
                "png",
                lambda picture, path: Image.fromarray(picture).save(path),
            )
        )
    )


def in_bytes(encode: Callable[[UInt8], bytes]) -> Save:
    return lambda picture, path: path.write_bytes(encode(picture)) and None


def colour(picture: UInt8) -> npt.NDArray[np.uint16]:
    return np.dstack([picture] * 3).astype(np.uint16)


WAYS: dict[str, tuple[str, Save]] = {
    "16-bit PNG": (
        "png",
        lambda picture, path: Image.fromarray(picture.astype(np.uint16)).save(path),
    ),
    "16-bit TIFF": (
        "tif",
        lambda picture, path: Image.fromarray(picture.astype(np.uint16)).save(path),
    ),
    "16-bit TIFF, packed": (
        "tif",
        lambda picture, path: Image.fromarray(picture.astype(np.uint16)).save(
            path, compression="tiff_lzw"
        ),
    ),
    "16-bit TIFF, big endian": (
        "tif",
        in_bytes(lambda picture: tiff(picture.astype(np.uint16), ">")),
    ),
    "16-bit PGM": (
        "pgm",
        in_bytes(lambda picture: b"P5\n24 24\n65535\n" + picture.astype(">u2").tobytes()),
    ),
    "16-bit colour PNG": ("png", in_bytes(lambda picture: png(colour(picture), RGB))),
    "16-bit colour TIFF": ("tif", in_bytes(lambda picture: tiff(colour(picture), "<"))),
    "16-bit colour TIFF, big endian": ("tif", in_bytes(lambda picture: tiff(colour(picture), ">"))),
    "16-bit colour PPM": ("ppm", in_bytes(lambda picture: ppm(colour(picture)))),
    "16-bit grey PNG with opaque alpha": (
        "png",
        in_bytes(
            lambda picture: png(
                np.dstack([picture.astype(np.uint16), np.full_like(picture, 1, np.uint16) * 65535]),
                GREY_ALPHA,
            )
        ),
    ),
    "16-bit colour PNG with opaque alpha": (
        "png",
        in_bytes(
            lambda picture: png(
                np.dstack([colour(picture), np.full(picture.shape, 65535, np.uint16)]), RGBA
            )
        ),
    ),
    "32-bit integer TIFF": (
        "tif",
        lambda picture, path: Image.fromarray(picture.astype(np.int32)).save(path),
    ),
    "float TIFF to 1": (
        "tif",
        lambda picture, path: Image.fromarray((picture / 255).astype(np.float32)).save(path),
    ),
    "float TIFF to 255": (
        "tif",
        lambda picture, path: Image.fromarray(picture.astype(np.float32)).save(path),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_8_bit_values_in_a_deeper_file_are_the_same_pictures(way: str, tmp_path: Path) -> None:
    """A microscope's software stores 8 bits in 16: divided by what 16 bits could hold, every
    picture is black.
    """
    wanted = expected(tmp_path)
    if way == "float TIFF to 1":
        wanted = np.rint(wanted / wanted.max() * 255) if wanted.max() < 128 else wanted
    ending, save = WAYS[way]
    dataset = read(save_all(tmp_path / "deep", PICTURES, ending, save))
    assert np.abs(stacked(dataset).astype(int) - wanted).max() <= (0 if "float" not in way else 1)
    in_colour = read(tmp_path / "deep", color="rgb")
    np.testing.assert_array_equal(stacked(in_colour)[..., 1], stacked(dataset))
    assert dataset.rule.white in (None, 255)
    assert not [line for line in dataset.notes if "warning" in line]


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("kind", ["grey", "colour"])
def test_white_is_what_the_bits_of_the_brightest_picture_can_hold(
    bits: int, kind: str, tmp_path: Path
) -> None:
    """12-bit data in 16-bit files kept 16 of its 4,096 levels; the rule is of all pictures, so that
    they compare.
    """
    most = 2**bits - 1
    ramp = np.linspace(0, most, 24 * 24).reshape(24, 24).astype(np.uint16)
    dim = ramp // 4
    for name, pixels in (("a", ramp), ("b", dim)):
        (tmp_path / "train" / name).mkdir(parents=True)
        content = png(pixels, GREY) if kind == "grey" else png(np.dstack([pixels] * 3), RGB)
        (tmp_path / "train" / name / "1.png").write_bytes(content)
    dataset = read(tmp_path)
    assert dataset.rule == Rule(white=most)
    bright, faint = dataset.train.images
    assert len(np.unique(bright)) >= 250
    assert (int(bright.max()), int(faint.max())) == (255, 63)
    assert any(f"{most:,} becomes white" in line for line in dataset.notes)


def test_values_that_use_all_16_bits_are_what_they_were(tmp_path: Path) -> None:
    """Runs that the first release began on such images are resumed: grey was divided by 257, colour
    lost its low bytes.
    """
    pixels = np.random.default_rng(0).integers(0, 65536, (24, 24, 3)).astype(np.uint16)
    pixels[0, 0] = 65535
    (tmp_path / "grey.png").write_bytes(png(pixels[..., 0], GREY))
    (tmp_path / "colour.png").write_bytes(png(pixels, RGB))
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), pixels[..., 0] // 257)
    np.testing.assert_array_equal(read_image(tmp_path / "colour.png", "rgb"), pixels >> 8)


def shape_in_alpha(level: int, ground: int | None = None) -> Save:
    """Pictures that are one grey level all over, with their shape in the alpha channel alone."""

    def save(picture: UInt8, path: Path) -> None:
        plain = np.full_like(picture, level)
        Image.fromarray(np.dstack([plain, plain, plain, picture])).save(path)

    return save


def by_palette(picture: UInt8, path: Path) -> None:
    image = Image.fromarray((picture > 120).astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 0, 0, 0])
    image.save(path, transparency=bytes([0, 255]))


def by_one_colour(picture: UInt8, path: Path) -> None:
    image = Image.fromarray(np.where(picture > 120, 3, 0).astype(np.uint8))
    image.save(path, transparency=0)


def by_one_deep_colour(picture: UInt8, path: Path) -> None:
    path.write_bytes(
        png(np.where(picture > 120, 300, 299).astype(np.uint16), GREY, transparent=(299,))
    )


TRANSPARENT: dict[str, tuple[str, Save]] = {
    "black": ("png", shape_in_alpha(0)),
    "white": ("png", shape_in_alpha(255)),
    "grey": ("png", shape_in_alpha(128)),
    "grey and alpha": ("png", lambda picture, path: Image.fromarray(np.dstack([picture * 0,
    picture]), "LA").save(path)),
    "palette": ("png", by_palette),
    "GIF": ("gif", lambda picture,
    path: Image.fromarray((picture > 120).astype(np.uint8) * 5).save(path, transparency=0)),
    "one grey level": ("png", by_one_colour),
    "one 16-bit grey level": ("png", by_one_deep_colour),
    "16-bit": ("png", in_bytes(lambda picture: png(np.dstack([colour(picture) * 0,
    picture.astype(np.uint16) * 257]), RGBA))),
    "16-bit grey": ("png", in_bytes(lambda picture: png(np.dstack([picture * 0,
    picture]).astype(np.uint16) * 257, GREY_ALPHA))),
    "WebP": ("webp", lambda picture, path: shape_in_alpha(0)(picture, path)),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
@pytest.mark.parametrize("way", TRANSPARENT)
def test_a_shape_that_is_in_the_transparency_alone_is_seen(way: str, tmp_path: Path) -> None:
    """Logos, sprites and cut-outs keep their outline there, and without it every picture is the
    same.
    """
    ending, save = TRANSPARENT[way]
    dataset = read(save_all(tmp_path, PICTURES, ending, save))
    assert dataset.rule.background == (
        "black" if way in ("white", "grey", "one 16-bit grey level") else "white"
    )
    seen = np.stack(list(dataset.train.images)).astype(float).reshape(len(dataset.train), -1)
    same = np.corrcoef(seen) > 0.5
    np.testing.assert_array_equal(same, dataset.train.labels[:, None] == dataset.train.labels)
    assert not [line for line in dataset.notes if "sixteenth" in line], dataset.notes


def test_half_transparent_pictures_lie_on_white(tmp_path: Path) -> None:
    """The background is stated, and every grey level follows from it."""
    pixels = np.array([[[200, 0, 0, 255], [200, 0, 0, 0], [0, 100, 0, 51]]], np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png", "rgb").tolist() == [
        [[200, 0, 0], [255, 255, 255], [204, 224, 204]]
    ]


@pytest.mark.parametrize("alpha", [0, 7, 255])
def test_transparency_that_is_the_same_all_over_is_left_out(alpha: int, tmp_path: Path) -> None:
    """Some programs write an alpha channel that means nothing, and the colours below it are the
    picture.
    """

    def save(picture: UInt8, path: Path) -> None:
        Image.fromarray(np.dstack([picture, picture, picture, np.full_like(picture, alpha)])).save(
            path
        )

    np.testing.assert_array_equal(
        stacked(read(save_all(tmp_path / "x", PICTURES, "png", save))), expected(tmp_path)
    )
