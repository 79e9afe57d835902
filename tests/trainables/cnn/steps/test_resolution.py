"""Small images first: which side they have in which epoch, and what shrinking does to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from spaces.ours.cnn import CnnConfig
from trainables.cnn.data import CnnData
from trainables.cnn.models import build
from trainables.cnn.steps.resolution import shrink, side_at
from trainables.cnn.training import CnnRun


def test_the_side_grows_to_the_whole_and_stays_there() -> None:
    """The network that is judged must have ended its training at the size it will be shown."""
    sides = [side_at(0.5, epoch, 10, 32) for epoch in range(10)]
    assert sides == sorted(sides)
    assert sides == [16, 20, 20, 24, 24, 28, 28, 32, 32, 32], "evenly, and whole after seven tenths"
    assert all(side % 4 == 0 for side in sides)


@pytest.mark.parametrize("epochs", [1, 2, 3])
def test_the_last_epoch_has_whole_images_however_few_there_are(epochs: int) -> None:
    """A short run would otherwise be judged on images it never saw."""
    assert side_at(0.5, epochs - 1, epochs, 30) == 30


def test_shrinking_keeps_an_even_surface_and_leaves_whole_images_alone() -> None:
    """Brightness must not change with the side, or the network would have to learn it twice."""
    images = torch.full((2, 3, 32, 32), 0.7)
    assert torch.allclose(shrink(images, 24), torch.full((2, 3, 24, 24), 0.7))
    assert shrink(images, 32) is images


def test_shrinking_takes_in_every_pixel_as_pillow_does() -> None:
    """Without smoothing first, what is finer than the new pixels turns into patterns that are not
    in the image.
    """
    pixels = np.random.default_rng(0).random((32, 32)).astype(np.float32)
    expected = np.asarray(Image.fromarray(pixels).resize((20, 20), Image.Resampling.BILINEAR))
    found = shrink(torch.tensor(pixels).expand(1, 3, 32, 32), 20)
    np.testing.assert_allclose(found[0, 1].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("model", ["fastnet", "resnet18"])
@pytest.mark.parametrize("stem", ["3x3", "7x7"])
def test_networks_that_begin_small_take_every_side(model: str, stem: str) -> None:
    """The space offers it to these two, down to half the smallest images there may be."""
    net = build(model, 10, 32, {"stem": stem} if model == "resnet18" else {}).eval()
    for side in {side_at(0.5, epoch, 20, 32) for epoch in range(20)}:
        assert net(torch.zeros(2, 3, side, side)).shape == (2, 10)


def test_a_run_trains_on_small_images_first() -> None:
    """Otherwise the parameter would be a name without an effect: the network itself is asked what
    it was given.
    """
    draw = np.random.default_rng(0)
    images, labels = draw.integers(0, 256, (32, 3, 32, 32), dtype=np.uint8), draw.integers(0, 2, 32)
    config = CnnConfig(width=0.125, first_side=0.5, batch_size=16)
    run = CnnRun(
        config,
        CnnData(images, labels, images, labels),
        classes=2,
        epochs=4,
        seed=0,
        device="cpu",
        threads=1,
    )
    seen: list[int] = []
    run.net.register_forward_pre_hook(
        lambda _, given: seen.append(given[0].shape[-1]) if run.net.training else None
    )
    while not run.done:
        run.step()
    assert seen == [16, 16, 20, 20, 28, 28, 32, 32]
