"""Random resized crops and TrivialAugment, drawn anew for every image of a batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as V  # noqa: N812

from trainables.cnn.steps import trivial
from trainables.cnn.steps.crops import resized_crop
from trainables.cnn.steps.trivial import CHANGES, trivial_augment

N, SIDE = 400, 48


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def places() -> Tensor:
    """Images whose first channel says where across a pixel is, and whose second how far down."""
    line = torch.arange(SIDE, dtype=torch.float32)
    one = torch.stack(
        [line.expand(SIDE, SIDE), line[:, None].expand(SIDE, SIDE), torch.zeros(SIDE, SIDE)]
    )
    return one.expand(N, 3, SIDE, SIDE).contiguous()


def test_a_crop_is_a_part_of_the_image_in_its_order_and_at_its_whole_size() -> None:
    """Parts outside the image, turned or of another area would teach what is never judged."""
    out = resized_crop(places(), generator(), crop_area=0.25)
    assert out.shape == (N, 3, SIDE, SIDE)
    across, down = out[:, 0], out[:, 1]
    assert torch.allclose(across, across[:, :1], atol=1e-2)
    assert torch.allclose(down, down[:, :, :1], atol=1e-2)
    width = (across[:, 0, -2] - across[:, 0, 1]) / (SIDE - 3)
    height = (down[:, -2, 0] - down[:, 1, 0]) / (SIDE - 3)
    area, ratio = width * height, width / height
    assert width.max() < 1.001
    assert height.max() < 1.001
    assert area.min() > 0.2
    assert area.quantile(0.1) >= 0.25
    assert 0.5 < area.median() < 0.75
    assert area.quantile(0.95) > 0.85
    assert 0.74 < ratio.min() < 0.8
    assert 1.25 < ratio.max() < 1.35
    left = across[:, 0, 0] / (SIDE * (1 - width))
    assert left[width < 0.9].std() > 0.2  # anywhere in it
    assert across.min() > -0.01
    assert across.max() < SIDE - 0.99


def test_every_image_is_cut_another_way_and_a_seed_the_same() -> None:
    """One crop a batch, as torchvision draws, is hardly any augmentation."""
    first = resized_crop(places(), generator(1), crop_area=0.3)
    assert len({tuple(image[:2, 0, 0].tolist()) for image in first}) > 0.95 * N
    assert torch.equal(first, resized_crop(places(), generator(1), crop_area=0.3))


def pictures(count: int) -> Tensor:
    smooth = torch.rand(count, 3, 6, 6, generator=generator(5))
    return (
        torch.nn.functional.interpolate(smooth, (SIDE, SIDE), mode="bicubic").clamp(0, 1) * 200 + 20
    ).round()


@pytest.mark.parametrize(
    ("number", "theirs"),
    [
        (6, lambda image, s: V.adjust_brightness(image, 1 + 0.99 * s)),
        (7, lambda image, s: V.adjust_saturation(image, 1 + 0.99 * s)),
        (8, lambda image, s: V.adjust_contrast(image, 1 + 0.99 * s)),
        (9, lambda image, s: V.adjust_sharpness(image, 1 + 0.99 * s)),
        (10, lambda image, s: V.posterize(image, 8 - round(6 * abs(s)))),
        (11, lambda image, s: V.solarize(image, 255 * (1 - abs(s)))),
        (12, lambda image, s: V.autocontrast(image)),
        (13, lambda image, s: V.equalize(image)),
    ],
)
def test_changes_of_colour_are_torchvisions_each_image_at_its_own_strength(
    number: int, theirs: object
) -> None:
    """Of a batch each image has a strength of its own, which torchvision has not; what is done to
    it must be the same.
    """
    images = pictures(5)
    strengths, signs = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0]), torch.tensor([1.0, -1, 1, -1, 1])
    ours = CHANGES[number](images, strengths, signs).clamp(0, 255)
    for row in range(5):
        wanted = theirs(images[row : row + 1].to(torch.uint8), float(strengths[row] * signs[row]))  # type: ignore[operator]
        assert (ours[row : row + 1] - wanted.float()).abs().max() <= 2, row


@pytest.mark.parametrize(
    ("number", "theirs"),
    [
        (1, {"shear": [45.0, 0.0]}),
        (2, {"shear": [0.0, 45.0]}),
        (3, {"translate": [SIDE / 8, 0.0]}),
        (4, {"translate": [0.0, SIDE / 8]}),
        (5, {"angle": 90.0}),
    ],
)
def test_changes_of_place_move_what_they_name(number: int, theirs: dict[str, object]) -> None:
    """A shift that turned, or half of one, would be another augmentation under that name."""
    image = pictures(1)
    share = {5: 90 / 135}.get(number, (1 / 0.99 if number < 3 else (1 / 8) / trivial.SHIFT))
    found = []
    for sign in (1.0, -1.0):
        ours = CHANGES[number](image, torch.tensor([share]), torch.tensor([sign]))
        plain = {"angle": 0.0, "translate": [0.0, 0.0], "scale": 1.0, "shear": [0.0, 0.0]}
        wanted = V.affine(
            image, **{**plain, **theirs}, fill=trivial.FILL,
            interpolation=V.InterpolationMode.BILINEAR,
        )  # fmt: skip
        found.append(float((ours - wanted).abs().mean()))
    assert min(found) < 1.5 < max(found)  # one of both ways


def test_each_image_draws_one_of_fourteen_changes() -> None:
    """All alike in a batch would be one change an epoch."""
    images = pictures(1).expand(N, -1, -1, -1).contiguous()
    out = trivial_augment(images, generator(2))
    assert out.shape == images.shape
    assert out.dtype == torch.float32
    assert (out.amin(), out.amax()) >= (0.0, 0.0)
    assert out.amax() <= 255
    same = (out == images).flatten(1).all(1).float().mean()
    assert 0.02 < same < 0.2  # one in fourteen, and what changes nothing
    assert torch.equal(out, trivial_augment(images, generator(2)))
    assert not torch.equal(out, trivial_augment(images, generator(3)))
    assert len(CHANGES) == 14
