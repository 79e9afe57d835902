"""Augmentation: each does what it says, to each image on its own, and draws from nothing but its
generator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from cnn_run import EVERYTHING
from torch import Tensor

from spaces.ours.cnn import CnnConfig
from trainables.cnn.data import CnnData, Resident
from trainables.cnn.steps import augment as A  # noqa: N812
from trainables.cnn.steps.resolution import shrink

SIZE = 32


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def nobody(images: Tensor) -> Tensor:
    return torch.zeros(len(images), dtype=torch.bool)


def everybody(images: Tensor) -> Tensor:
    return torch.ones(len(images), dtype=torch.bool)


@pytest.fixture
def images() -> Tensor:
    return torch.randint(0, 256, (16, 3, SIZE, SIZE), dtype=torch.uint8, generator=generator())


@pytest.fixture
def resident(images: Tensor) -> Resident:
    return Resident.on(
        CnnData(images.numpy(), np.zeros(len(images), np.int64)), torch.device("cpu")
    )


def test_without_any_augmentation_pixels_stay_exactly_as_they_are(images: Tensor) -> None:
    """A resampling that blurs would be an augmentation nobody asked for."""
    assert torch.equal(A.shift_flip(images, 0, nobody(images), generator()), images)


def test_a_flip_is_a_mirror_image_of_those_that_are_to_be_mirrored(images: Tensor) -> None:
    """Each image whole, and no other."""
    mirrored = torch.arange(16) % 3 == 0
    out = A.shift_flip(images, 0, mirrored, generator())
    assert torch.equal(out[mirrored], images.flip(3)[mirrored])
    assert torch.equal(out[~mirrored], images[~mirrored])


@pytest.mark.parametrize("share", [0.0, 0.25, 0.5, 1.0])
def test_every_image_is_mirrored_in_its_share_of_the_epochs(share: float) -> None:
    """Chance alone would show half of the images twice the same way in two epochs, and teach
    less.
    """
    epochs = torch.stack([A.mirrored_in(epoch, 1000, share, seed=1) for epoch in range(8)])
    assert torch.equal(epochs.sum(0), torch.full((1000,), round(8 * share)))
    assert (epochs.double().mean(1) - share).abs().max() < 0.05, (
        "an epoch has its share of mirror images too"
    )


def test_which_images_are_mirrored_first_is_a_matter_of_the_seed() -> None:
    """Two replicas must differ, and one resumed must not."""
    assert torch.equal(A.mirrored_in(3, 100, 0.5, seed=1), A.mirrored_in(3, 100, 0.5, seed=1))
    assert not torch.equal(A.mirrored_in(3, 100, 0.5, seed=1), A.mirrored_in(3, 100, 0.5, seed=2))


def test_a_crop_shifts_each_image_by_whole_pixels_and_mirrors_the_edge(images: Tensor) -> None:
    """The same as padding by reflection and cutting out, which is what the literature does."""
    padded = torch.nn.functional.pad(images.float(), (3, 3, 3, 3), mode="reflect").to(torch.uint8)
    places = set()
    for image, around in zip(
        A.shift_flip(images, 3, nobody(images), generator()), padded, strict=True
    ):
        found = [
            (y, x)
            for y in range(7)
            for x in range(7)
            if torch.equal(image, around[:, y : y + SIZE, x : x + SIZE])
        ]
        assert len(found) == 1
        places.add(found[0])
    assert len(places) > 8


def test_a_rotation_turns_about_the_centre_by_no_more_than_asked() -> None:
    """A point far from the centre must lie within the angle, on its circle, and differ among
    images.
    """
    dots = torch.zeros(64, 3, 33, 33)
    dots[:, :, 16, 24:27] = 255.0
    out = A.rotate_shift_flip(dots, 30.0, 0, nobody(dots), generator())
    steps = torch.arange(33) - 16.0
    mass = out[:, 0].flatten(1).sum(1)
    y = (out[:, 0].sum(2) * steps).sum(1) / mass
    x = (out[:, 0].sum(1) * steps).sum(1) / mass
    angles = torch.rad2deg(torch.atan2(y, x))
    assert angles.abs().max() < 31
    assert angles.max() > 20
    assert angles.min() < -20
    assert torch.allclose((x**2 + y**2).sqrt(), torch.full((64,), 9.0), atol=0.3)


def test_rotation_by_almost_nothing_is_the_exact_shift_and_flip(images: Tensor) -> None:
    """Both paths must mean the same crop and flip, or rotation would change them too."""
    turned = A.rotate_shift_flip(images.float(), 1e-6, 0, everybody(images), generator())
    assert torch.allclose(turned, images.flip(3).float(), atol=0.05)
    shifted = A.rotate_shift_flip(images.float(), 1e-6, 3, nobody(images), generator())
    middles = {
        (y, x)
        for image, before in zip(shifted, images.float(), strict=True)
        for y in range(-3, 4)
        for x in range(-3, 4)
        if torch.allclose(image[:, 8:24, 8:24], before[:, 8 + y : 24 + y, 8 + x : 24 + x], atol=0.1)
    }
    assert len(middles) > 8


def test_cutout_sets_one_square_to_the_mean(images: Tensor) -> None:
    """The square may hang over the edge, and lies elsewhere in every image."""
    out = A.cutout(torch.ones(64, 3, SIZE, SIZE), 8, generator())
    empty = out == 0
    assert torch.equal(empty[:, 0], empty[:, 2])
    sizes = empty[:, 0].flatten(1).sum(1)
    assert sizes.max() == 64
    assert sizes.min() >= 16
    assert len({tuple(row.tolist()) for row in empty[:, 0].any(2)}) > 8


def test_jitter_changes_each_image_within_its_strength(images: Tensor) -> None:
    """An average brightness may change by the fraction asked for, and no pixel leaves 0..255."""
    before = images.float() * 0.4 + 50
    out = A.jitter(before, 0.3, generator())
    ratio = out.mean((1, 2, 3)) / before.mean((1, 2, 3))
    assert 0.69 < ratio.min() < 0.95
    assert 1.05 < ratio.max() < 1.31
    assert out.min() >= 0
    assert out.max() <= 255
    assert torch.equal(A.jitter(before, 0.0, generator()), before)


def test_jitter_is_brightness_then_contrast_then_saturation_of_each_image_alone(
    images: Tensor,
) -> None:
    """Worked out by hand: contrast about the image's own mean, saturation about the pixel's own
    grey, each image by its own draws.
    """
    before = images.double()
    out = A.jitter(images.float(), 0.4, generator(5))
    factors = (torch.rand(3 * 16, generator=generator(5)) * 0.8 + 0.6).double().view(3, 16)
    for image, (brightness, contrast, saturation), found in zip(
        before, factors.T.tolist(), out.double(), strict=True
    ):
        expected = image * brightness
        expected = expected.mean() + contrast * (expected - expected.mean())
        grey = (expected[0] + expected[1] + expected[2]) / 3
        expected = (grey + saturation * (expected - grey)).clamp(0, 255)
        assert torch.allclose(found, expected, atol=1e-3)


def test_colours_change_before_and_squares_are_cut_after_pixels_are_normalised(
    images: Tensor, resident: Resident
) -> None:
    """A factor on normalised pixels would mean something else, and a square that is cut before
    would be black, not of the mean.
    """
    plain = CnnConfig(crop=0, cutout=0)
    out = A.augment(
        images, nobody(images), replace(plain, jitter=0.3), resident, generator(2), SIZE
    )
    draws = generator(2)
    torch.randint(0, 1, (2, 16, 1), generator=draws)  # how far they are shifted: by none
    assert torch.allclose(out, resident.normalise(A.jitter(images.float(), 0.3, draws)), atol=1e-5)
    cut = A.augment(images, nobody(images), replace(plain, cutout=8), resident, generator(2), SIZE)
    empty = (cut == 0).all(1)
    assert torch.equal(
        cut.movedim(1, -1)[~empty], resident.normalise(images).movedim(1, -1)[~empty]
    )
    assert int(empty.flatten(1).sum(1).max()) == 64


def test_augmented_images_are_shrunk_last(images: Tensor, resident: Resident) -> None:
    """What is cut out or shifted is meant in pixels of the whole image, and the mean stays what it
    was.
    """
    config = CnnConfig(crop=2, cutout=8)
    whole = A.augment(images, everybody(images), config, resident, generator(2), SIZE)
    assert torch.equal(
        A.augment(images, everybody(images), config, resident, generator(2), 16), shrink(whole, 16)
    )


def test_mixup_is_the_weighted_mean_of_two_images(images: Tensor) -> None:
    """And says which labels, in which share; the first is never the lesser."""
    before, labels = images.float(), torch.arange(16)
    draws = generator()
    shares = []
    for _ in range(200):
        out, others, share = A.mixup(before, labels, 0.4, draws)
        shares.append(share)
        assert torch.allclose(out, share * before + (1 - share) * before[others], atol=1e-3)
    assert 0.5 <= min(shares) < 0.6
    assert 0.95 < max(shares) <= 1
    exact = np.random.default_rng(0).beta(0.4, 0.4, 100_000)
    assert np.mean(shares) == pytest.approx(np.maximum(exact, 1 - exact).mean(), abs=0.03)


def test_cutmix_takes_a_box_of_another_image_and_says_how_much(images: Tensor) -> None:
    """What is said of the labels must be the share of the pixels, also where the edge cuts the
    box.
    """
    labels, draws = torch.arange(16), generator()
    before = labels[:, None, None, None].float().expand(16, 3, 32, 32).contiguous()
    shares = []
    for _ in range(300):
        out, others, share = A.cutmix(before, labels, draws)
        shares.append(share)
        moved = others != labels
        kept = (out == before).float().mean(dim=(1, 2, 3))
        assert torch.allclose(kept[moved], torch.full_like(kept[moved], share))
        assert torch.equal(out.sort(dim=1).values, out), (
            "all channels of a pixel come from one image"
        )
        assert torch.equal(torch.where(out == before, before, before[others]), out)
    assert min(shares) < 0.4, "the edge cuts most large boxes"
    assert max(shares) > 0.95


@pytest.mark.parametrize("chance", [0.1, 0.5, 0.9])
def test_a_batch_is_mixed_as_often_as_asked(images: Tensor, chance: float) -> None:
    """Half of the batches whole is what a chance of one half means; what gets no box is mixed as a
    whole, where that is asked for too.
    """
    draws, config, labels = generator(), CnnConfig(cutmix=chance), torch.arange(16)
    boxed = [A.mixed(images.float(), labels, config, draws)[2] < 1.0 for _ in range(200)]
    assert abs(sum(boxed) / 200 - chance) < 0.1
    both = [A.mixed(images.float(), labels, replace(config, mixup=1.0), draws) for _ in range(60)]
    whole = [out for out, others, share in both if (out != out.round()).any()]
    assert abs(1 - len(whole) / 60 - chance) < 0.2
    assert sum(share == 1.0 for _, _, share in both) < 4
    out, others, share = A.mixed(images.float(), labels, CnnConfig(), draws)
    assert (torch.equal(out, images.float()), torch.equal(others, labels), share) == (
        True,
        True,
        1.0,
    )


CHANGES: list[Callable[[CnnConfig], CnnConfig]] = [
    lambda c: c,
    lambda c: replace(c, rotation=0.0),
    lambda c: replace(c, rotation=0.0, jitter=0.0, cutout=0, crop=0, flip=0.0),
]


@pytest.mark.parametrize("change", CHANGES)
def test_the_same_generator_gives_the_same_batch_and_the_images_stay(
    images: Tensor, resident: Resident, change: Callable[[CnnConfig], CnnConfig]
) -> None:
    """Resuming relies on it; and the images stay on the device for every epoch, so no one may write
    into them.
    """
    config, before = change(EVERYTHING), images.clone()
    mirrored = A.mirrored_in(0, len(images), config.flip, seed=1)
    torch.manual_seed(1)
    first = A.augment(images, mirrored, config, resident, generator(3), SIZE)
    torch.manual_seed(2)
    second = A.augment(images, mirrored, config, resident, generator(3), SIZE)
    assert torch.equal(first, second)
    assert torch.equal(images, before)
    assert first.dtype is torch.float32
    assert first.is_contiguous(memory_format=torch.channels_last)


def test_normalised_training_images_have_mean_0_and_variance_1(
    images: Tensor, resident: Resident
) -> None:
    """Learning rates are meant for inputs of that size."""
    out = resident.normalise(images)
    assert torch.allclose(out.mean((0, 2, 3)), torch.zeros(3), atol=1e-4)
    assert torch.allclose(out.var((0, 2, 3)), torch.ones(3), atol=1e-3)
