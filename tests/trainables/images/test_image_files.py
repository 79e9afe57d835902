"""One image file as an array: what is read, and what is refused in one line."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spaces.errors import DatasetError
from trainables.images import image_file as module
from trainables.images.image_file import read_image, read_images

COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [90, 90, 90]]], np.uint8)
GREYS = np.array([[76, 150], [29, 90]])
"""The same four pixels as ITU-R 601 brightness."""


def refusal(path: Path) -> str:
    """The one line by which ``path`` is refused."""
    with pytest.raises(DatasetError) as caught:
        read_image(path)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "ppm", "jpg", "gif"])
def test_every_format_named_is_read(tmp_path: Path, suffix: str) -> None:
    """Users bring all of these; a lossy one may move a grey level by a little."""
    path = tmp_path / f"picture.{suffix}"
    pixels = np.repeat(np.repeat(COLOURS, 16, axis=0), 16, axis=1)
    options = {"webp": {"lossless": True}, "jpg": {"quality": 95, "subsampling": 0}}.get(suffix, {})
    Image.fromarray(pixels).save(path, **options)
    assert read_image(path, "rgb").shape == (32, 32, 3)
    assert np.abs(read_image(path, "rgb").astype(int) - pixels).max() <= (
        4 if suffix == "jpg" else 0
    )
    assert read_image(path, "grey").dtype == np.uint8
    assert np.abs(read_image(path, "grey")[::16, ::16].astype(int) - GREYS).max() <= 2


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_colour_modes_give_the_same_pixels(tmp_path: Path, mode: str) -> None:
    """How a file stores a colour, or how transparent it is, must not change the image."""
    path = tmp_path / "picture.png"
    image = Image.fromarray(COLOURS)
    if mode == "RGBA":
        image.putalpha(7)
    if mode == "P":
        image = image.convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    image.save(path)
    np.testing.assert_array_equal(read_image(path, "rgb"), COLOURS)
    assert np.abs(read_image(path, "grey").astype(int) - GREYS).max() <= 1


def test_a_cmyk_jpeg_is_read(tmp_path: Path) -> None:
    """Print shops save these, and a decoder that takes ink for light gives a negative."""
    path = tmp_path / "print.jpg"
    Image.new("CMYK", (16, 16), (0, 255, 255, 0)).save(path, quality=95)
    assert np.abs(read_image(path, "rgb").astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize(
    ("mode", "values"), [("L", [[0, 7, 255]]), ("1", [[0, 255, 0]]), ("LA", [[0, 7, 255]])]
)
def test_grey_modes_are_read_in_both_colours(
    tmp_path: Path, mode: str, values: list[list[int]]
) -> None:
    """A grey file in a colour dataset has three equal channels, and no other value than its own."""
    path = tmp_path / "grey.png"
    Image.fromarray(np.array(values, np.uint8)).convert(mode).save(path)
    np.testing.assert_array_equal(read_image(path, "grey"), values)
    np.testing.assert_array_equal(
        read_image(path, "rgb"), np.repeat(np.array(values)[:, :, None], 3, axis=2)
    )


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_grey_is_divided_by_257(tmp_path: Path, suffix: str) -> None:
    """White is 65535, and must become 255; Pillow alone makes everything over 255 white."""
    path = tmp_path / f"deep.{suffix}"
    deep = np.array([[0, 257 * 100 - 1, 257 * 100, 65535]], np.uint16)
    if suffix == "pgm":
        path.write_bytes(b"P5\n4 1\n65535\n" + deep.astype(">u2").tobytes())
    else:
        Image.fromarray(deep).save(path)
    np.testing.assert_array_equal(read_image(path), [[0, 99, 100, 255]])
    np.testing.assert_array_equal(read_image(path, "rgb")[0, :, 2], [0, 99, 100, 255])


@pytest.mark.parametrize(
    ("ending", "name"),
    [("avif", "AVIF"), ("jp2", "JPEG 2000"), ("ico", "a Windows icon"), ("pdf", "PDF")],
)
def test_a_picture_in_a_format_that_is_not_read_is_named(
    tmp_path: Path, ending: str, name: str
) -> None:
    """Phones and archives write these; told that the file is damaged, people look for the
    damage.
    """
    data = io.BytesIO()
    Image.new("RGB", (32, 32), 90).save(data, {"jp2": "JPEG2000"}.get(ending, ending))
    path = tmp_path / "picture.jpg"
    path.write_bytes(data.getvalue())
    assert f"{name} is not read; allowed are JPEG, PNG" in refusal(path)


@pytest.mark.parametrize(
    "head",
    [
        b"\0\0\0\x18ftypheic\0\0\0\0",
        b"8BPS\0\1",
        b"\xff\x0a\0\0",
        b"\0" * 128 + b"DICM",
        b"II*\0\xff\xff\xff\xff",
    ],
)
def test_other_formats_are_named_by_their_first_bytes(tmp_path: Path, head: bytes) -> None:
    """The same of those that Pillow cannot write."""
    (tmp_path / "picture.png").write_bytes(head + bytes(64))
    assert " is not read; allowed are JPEG, PNG" in refusal(tmp_path / "picture.png")


def test_lab_colours_are_read(tmp_path: Path) -> None:
    """Print shops keep TIFF files in LAB; they are pictures and no damage."""
    lab = Image.new("LAB", (8, 8), (120, 183, 177))
    lab.save(tmp_path / "print.tif")
    assert np.abs(read_image(tmp_path / "print.tif", "rgb").astype(int) - (200, 60, 30)).max() <= 2
    assert np.abs(read_image(tmp_path / "print.tif").astype(int) - 98).max() <= 2


def test_a_truncated_jpeg_is_refused(tmp_path: Path) -> None:
    """Half an image, grey below, is a wrong example that nobody would notice."""
    path = tmp_path / "half.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:1500])
    assert "damaged" in refusal(path)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a picture at all\nin two lines\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n/Helvetica findfont\nshowpage\n",
        b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"></svg>',
    ],
    ids=["empty", "text", "postscript", "svg"],
)
def test_a_file_that_is_no_picture_is_refused_whatever_its_name(
    tmp_path: Path, content: bytes
) -> None:
    """A name proves nothing, and a format that is a program (EPS) must not be tried."""
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    assert "not an image; allowed are JPEG, PNG" in refusal(path)


def header_only_png(width: int, height: int) -> bytes:
    """A PNG file that promises width × height pixels and holds none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", size)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(("width", "height"), [(8001, 8000), (10_000, 10_000), (100_000, 100_000)])
def test_an_image_too_large_is_refused_by_its_header(
    tmp_path: Path, width: int, height: int
) -> None:
    """A small file can unpack to many gigabytes; what is refused must not be unpacked first."""
    path = tmp_path / "bomb.png"
    path.write_bytes(header_only_png(width, height))
    message = refusal(path)
    assert "pixels" in message
    assert "truncated" not in message


def test_the_limit_itself_is_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how many pixels an image may have, so that many must pass."""
    path = tmp_path / "picture.png"
    Image.new("L", (10, 8)).save(path)
    monkeypatch.setattr(module, "MAX_PIXELS", 80)
    assert read_image(path).shape == (8, 10)
    monkeypatch.setattr(module, "MAX_PIXELS", 79)
    assert "may have 79 pixels, but this has 10 x 8" in refusal(path)


@pytest.mark.parametrize(
    "make", [os.mkdir, os.mkfifo, lambda path: None], ids=["folder", "pipe", "missing"]
)
def test_what_is_not_a_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """Opening a pipe waits for whoever writes into it, which may be for ever."""
    make(tmp_path / "picture.jpg")
    assert "no such image file" in refusal(tmp_path / "picture.jpg")


@pytest.mark.parametrize(
    ("size", "most", "expected"),
    [
        ((40, 20), 10, (5, 10)),
        ((20, 40), 10, (10, 5)),
        ((10, 4), 10, (4, 10)),
        ((300, 1), 10, (1, 10)),
    ],
)
def test_a_longer_side_is_shrunk_in_proportion(
    tmp_path: Path, size: tuple[int, int], most: int, expected: tuple[int, int]
) -> None:
    """Photographs straight from a camera would otherwise fill the memory; small images stay as they
    are.
    """
    path = tmp_path / "picture.png"
    Image.new("L", size, 77).save(path)
    shrunk = read_image(path, max_side=most)
    assert shrunk.shape == expected
    assert (shrunk == 77).all()


def test_a_camera_orientation_is_not_applied(tmp_path: Path) -> None:
    """Pixels stay as stored, as in the report: one of its scenes has a tag that is wrong."""
    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("L", (32, 16)).save(path, exif=exif)
    with Image.open(path) as image:
        assert image.getexif()[0x0112] == 6
    assert read_image(path).shape == (16, 32)


def test_the_first_picture_of_several_is_read(tmp_path: Path) -> None:
    """An animation is labelled once, and its first picture is the one that viewers show."""
    path = tmp_path / "film.gif"
    Image.new("L", (8, 8), 10).save(
        path, save_all=True, append_images=[Image.new("L", (8, 8), 200)]
    )
    np.testing.assert_array_equal(read_image(path), np.full((8, 8), 10))


def test_many_files_are_read_in_order_and_errors_stay_in_place(tmp_path: Path) -> None:
    """Labels are matched to images by position, so a refused file must keep its own."""
    for value in range(40):
        Image.new("L", (4, 4), value).save(tmp_path / f"{value:02d}.png")
    (tmp_path / "07.png").write_bytes(b"no picture")
    outcomes = read_images([tmp_path / f"{value:02d}.png" for value in range(40)])
    assert isinstance(outcomes[7], DatasetError)
    assert [int(image[0, 0]) for image in outcomes if not isinstance(image, DatasetError)] == [
        v for v in range(40) if v != 7
    ]


def test_odd_metadata_is_no_damage_and_leaves_the_warnings_alone(tmp_path: Path) -> None:
    """Warning filters belong to the process: threads that each change them call good files damaged
    now and then.
    """
    data = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    Image.fromarray(noise).convert("P").save(data, "png", transparency=bytes(range(200)))
    paths = [tmp_path / f"{number:03d}.png" for number in range(120)]
    for path in paths:
        path.write_bytes(data.getvalue())
    before = list(warnings.filters)
    for _ in range(5):
        assert not [outcome for outcome in read_images(paths) if isinstance(outcome, DatasetError)]
        assert list(warnings.filters) == before
