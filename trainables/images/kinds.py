"""What a file that is not read is, by its first bytes: to be named, never to be opened."""

from __future__ import annotations

from pathlib import Path

SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (4, b"ftypavif", "AVIF"),
    (4, b"ftypavis", "AVIF"),
    (4, b"ftypheic", "HEIC"),
    (4, b"ftypheix", "HEIC"),
    (4, b"ftypmif1", "HEIF"),
    (4, b"ftypcrx ", "a camera's raw file"),
    (4, b"ftyp", "a film"),
    (0, b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"%PDF-", "PDF"),
    (0, b"\0\0\1\0", "a Windows icon"),
    (0, b"\x76\x2f\x31\x01", "OpenEXR"),
    (0, b"#?RADIANCE", "Radiance HDR"),
    (128, b"DICM", "DICOM"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"\x89HDF\r\n\x1a\n", "HDF5"),
    (0, b"\x93NUMPY", "a numpy array"),
    (0, b"qoif", "QOI"),
    (0, b"DDS ", "DDS"),
    (0, b"II*\0", "a TIFF file of this kind"),
    (0, b"MM\0*", "a TIFF file of this kind"),
    (0, b"II+\0", "a TIFF file of this kind"),
    (0, b"MM\0+", "a TIFF file of this kind"),
)
"""Offset, bytes there, and what such a file is; the first that fits counts."""


def kind_of(path: Path) -> str:
    """What the file is; empty if that is not known. AVIF and HEIC also tell by the kinds they are
    compatible with.
    """
    with open(path, "rb") as file:
        head = file.read(132)
    if head[4:8] == b"ftyp" and b"avif" in head[:40]:
        return "AVIF"
    return next(
        (name for offset, mark, name in SIGNATURES if head[offset : offset + len(mark)] == mark), ""
    )
