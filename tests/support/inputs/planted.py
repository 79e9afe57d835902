"""Folders of pictures that look like photographs, for tests that plant faults in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def photograph(seed: int, width: int = 120, height: int = 90) -> Image.Image:
    """A picture with structure of every size, as scenes have, and like no other seed's."""
    generator = np.random.default_rng(seed)
    total = np.zeros((height, width, 3))
    for side in (2, 4, 8, 16, 32, 64):
        patches = generator.integers(0, 256, (side, side, 3), dtype=np.uint8)
        layer = Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC)
        total += np.asarray(layer, np.float64) / side**0.5
    total -= total.min()
    return Image.fromarray((total / total.max() * 255).astype(np.uint8))


def clean_folder(root: Path, each: int = 12, classes: tuple[str, ...] = ("ant", "bee")) -> Path:
    """``root`` with train and test, in which there is nothing to find."""
    for part, split in enumerate(("train", "test")):
        for number, name in enumerate(classes):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(each):
                photograph(part * 1000 + number * 100 + i).save(folder / f"{i:03d}.jpg", quality=92)
    return root
