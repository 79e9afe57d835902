"""How many planted near copies ``visiontune check`` finds, and how many of those that it finds are
none: ``python -m benchmarks.near_copies [FOLDER] [--each N]``.

Of N images of a folder (the 15 scenes by default), drawn evenly, a copy of each kind is made. They
are compared with all images of the folder. A pair of a copy and its own original, or an image that
the originals themselves are near copies of, is right; a pair of a copy with any other image is
wrong.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from trainables.audit.near import near_copies, small
from trainables.data.folder import files_of_folder
from trainables.data.options import ReadOptions
from trainables.images.image_file import read_images

SCENES = Path("/work/shared/data/scenes15")
Make = Callable[[Image.Image, random.Random], Image.Image]


def saved(image: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def cut(image: Image.Image, kept: float, draw: random.Random) -> Image.Image:
    """A part of each side, anywhere in the picture."""
    width, height = round(image.width * kept), round(image.height * kept)
    left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


KINDS: dict[str, Make] = {
    "saved again, quality 40": lambda image, draw: saved(image, 40),
    "half as large": lambda image, draw: image.resize((image.width // 2, image.height // 2)),
    "brighter, 1.4": lambda image, draw: ImageEnhance.Brightness(image).enhance(1.4),
    "darker, 0.6": lambda image, draw: ImageEnhance.Brightness(image).enhance(0.6),
    "less contrast, 0.6": lambda image, draw: ImageEnhance.Contrast(image).enhance(0.6),
    "mirrored": lambda image, draw: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned by 90": lambda image, draw: image.transpose(Image.Transpose.ROTATE_90),
    "turned by 180": lambda image, draw: image.transpose(Image.Transpose.ROTATE_180),
    "turned by 3": lambda image, draw: image.rotate(3, Image.Resampling.BICUBIC),
    "cut to 95 %": lambda image, draw: cut(image, 0.95, draw),
    "cut to 90 %": lambda image, draw: cut(image, 0.9, draw),
    "cut to 85 %": lambda image, draw: cut(image, 0.85, draw),
    "cut to 80 %": lambda image, draw: cut(image, 0.8, draw),
    "cut to 90 %, mirrored, brighter, saved": lambda image, draw: saved(
        ImageEnhance.Brightness(
            cut(image, 0.9, draw).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        ).enhance(1.2),
        50,
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=SCENES)
    parser.add_argument("--each", type=int, default=100, help="copies of each kind")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    listed = files_of_folder(f"folder:{asked.folder}", str(asked.folder), ReadOptions())
    read = read_images([file.path for file in listed.files], "rgb", 512)
    images = [image for image in read if isinstance(image, np.ndarray) and small(image) is not None]
    pictures = [picture for image in images if (picture := small(image)) is not None]
    draw = random.Random(0)
    originals = np.linspace(0, len(images) - 1, min(asked.each, len(images))).astype(int)
    planted: list[tuple[str, int]] = []
    for kind, make in KINDS.items():
        for row in originals:
            copy = small(np.asarray(make(Image.fromarray(images[row]), draw)))
            if copy is not None:
                pictures.append(copy)
                planted.append((kind, int(row)))
    started = time.monotonic()
    pairs = [(pair.one, pair.other - len(images)) for pair in near_copies(np.stack(pictures))]
    seconds = time.monotonic() - started
    alike: dict[int, set[int]] = {row: {row} for row in range(len(images))}
    for one, other in pairs:
        if other < 0:
            alike[one].add(other + len(images))
            alike[other + len(images)].add(one)
    rows = []
    for kind in KINDS:
        mine = [
            (one, planted[other][1])
            for one, other in pairs
            if one < len(images) and other >= 0 and planted[other][0] == kind
        ]
        found = len({row for one, row in mine if one == row})
        wrong = sum(one not in alike[row] for one, row in mine)
        row_ = {"kind": kind, "planted": len(originals), "recall": found / len(originals)}
        rows.append(row_ | {"precision": 1 - wrong / max(1, len(mine)), "wrong": wrong})
        if not asked.json:
            print("{kind:40} recall {recall:.3f}  precision {precision:.3f}".format(**rows[-1]))
    facts = {"images": len(pictures), "seconds": round(seconds, 1), "kinds": rows}
    print(
        json.dumps(facts) if asked.json else f"{len(pictures):,} images compared in {seconds:.1f} s"
    )


if __name__ == "__main__":
    main()
