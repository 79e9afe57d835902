"""Test-time views: what a network is shown, and what each view counts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainables.cnn.memory import EVALUATED
from trainables.cnn.models import build
from trainables.cnn.weights import class_scores, mean_over_views


class Recorder(nn.Module):
    """Scores an image by its pixel in the middle of the first row, and keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.shown.append(images)
        return images[:, :1, 0, 3]


@pytest.mark.parametrize(
    ("flip", "shift", "times"), [(False, 0, 1), (True, 0, 2), (False, 1, 3), (True, 1, 6)]
)
def test_an_image_is_shown_as_often_as_asked_and_its_own_view_counts_half(
    flip: bool, shift: int, times: int
) -> None:
    """A wrong weight or direction would cost accuracy and never be noticed."""
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    net = Recorder()
    found = mean_over_views(net, images, flip, shift)
    assert len(net.shown) == times

    def pixel(down: int, across: int) -> Tensor:
        """Of the view moved so far; what lies outside mirrors what stands at the edge."""
        row, columns = abs(-down), [3 - across, 4 - across] if flip else [3 - across]
        return images[:, :1, row, columns].mean(dim=2)

    expected = pixel(0, 0) / 2 + (pixel(1, 1) + pixel(-1, -1)) / 4 if shift else pixel(0, 0)
    assert torch.allclose(found, expected)


def test_many_images_are_judged_as_a_few_are_and_by_the_statistics_that_were_learned() -> None:
    """Neither where a batch ends nor who is in it may matter, whatever state the network was left
    in.
    """
    torch.manual_seed(0)
    net = build("fastnet", 3, 32, {"width": 0.125}).train()
    with torch.no_grad():
        net(torch.rand(50, 3, 32, 32))  # statistics of other images
    images = torch.randint(0, 256, (EVALUATED + 9, 3, 32, 32), dtype=torch.uint8)
    mean, std = (
        torch.tensor([100.0, 120.0, 90.0]).view(3, 1, 1),
        torch.tensor([50.0, 60.0, 70.0]).view(3, 1, 1),
    )
    found = class_scores(net, images, mean, std, torch.float32, False, 0)
    assert found.shape == (EVALUATED + 9, 3)
    with torch.no_grad():
        for row in (0, EVALUATED - 1, EVALUATED, EVALUATED + 8):
            alone = net.eval()((images[row : row + 1] - mean) / std)
            torch.testing.assert_close(found[row : row + 1], alone, rtol=1e-4, atol=1e-5)
