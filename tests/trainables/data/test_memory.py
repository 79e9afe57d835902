"""How much memory it takes to read images: that of the images, once, and of a network's no more
than it can see.
"""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.plan.plan import make_plan, read_plan
from trainables.data import ReadOptions, read_dataset
from trainables.data.dataset import Gathered


def test_images_are_never_there_twice(tmp_path: Path) -> None:
    """A folder of photographs was held once image by image and once in one piece, and the larger
    half of the memory was the first.
    """
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400), dtype=np.uint8))
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        for number in range(30):
            picture.save(tmp_path / "train" / name / f"{number}.bmp")
    read_dataset(f"folder:{tmp_path}")  # what it imports is not counted
    tracemalloc.start()
    try:
        dataset = read_dataset(f"folder:{tmp_path}")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1.5 * dataset.train.images.pixels.nbytes


def test_what_was_gathered_is_what_came() -> None:
    """Images of any size, in any order, share one buffer, and none may begin where another ends but
    one byte.
    """
    generator = np.random.default_rng(0)
    given = [
        generator.integers(0, 256, shape, dtype=np.uint8)
        for shape in ((3, 4), (1, 1), (2, 5, 3), (7, 1))
    ]
    gathered = Gathered()
    numbers = [
        gathered.add(array)
        for array in (given[0], given[1][:, ::-1], np.asfortranarray(given[2]), given[3])
    ]
    for found, wanted in zip(gathered.images(numbers[::-1]), given[::-1], strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert len(Gathered().images()) == 0


@pytest.mark.parametrize(
    ("spaces", "more", "side"),
    [
        (["cnn"], {}, 512),
        (["cnn"], {"training": {"image_size": 32}}, 128),
        (["cnn"], {"training": {"image_size": 32}, "set": {"side": [0, 96]}}, 384),
        (["cnn"], {"training": {"image_size": 64}}, 256),
        (["cnn"], {"training": {"image_size": 224}}, 512),
        (["cnn"], {"max_side": 512}, 512),
        (["cnn"], {"max_side": 40}, 40),
        (["cnn", "tiny-image"], {}, 512),
        (["bag-of-sift"], {}, 512),
    ],
)
def test_photographs_keep_what_the_search_can_see(
    spaces: list[str], more: dict[str, object], side: int, tmp_path: Path
) -> None:
    """Of a photograph of 512 pixels a network of 32 sees nothing that it does not see of 128, and
    800 of them take 450 MB.
    """
    plan = make_plan({"spaces": spaces, **more})
    assert plan.read_options().max_side == side
    (tmp_path / "plan.yaml").write_text(plan.with_side().to_yaml())
    assert read_plan(tmp_path / "plan.yaml").max_side == side


def test_small_images_are_the_same_whatever_is_searched(tmp_path: Path) -> None:
    """Nothing of a picture that needs no shrinking may depend on how far others are shrunk."""
    for name in ("a", "b"):
        (tmp_path / "train" / name).mkdir(parents=True)
        Image.fromarray(
            np.random.default_rng(ord(name)).integers(0, 256, (128, 90, 3), dtype=np.uint8)
        ).save(tmp_path / "train" / name / "1.png")
    sides = [
        read_dataset(f"folder:{tmp_path}", ReadOptions(color="rgb", max_side=side)).fingerprint
        for side in (128, 512)
    ]
    assert sides[0] == sides[1]
