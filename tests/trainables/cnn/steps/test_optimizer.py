"""Steps of the optimiser: what decays, how its rate goes, and the average of the weights."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from cnn_run import EVERYTHING, small_run
from torch import nn
from torch.optim.swa_utils import AveragedModel

from trainables.cnn.steps.optimizer import Average, fraction, make_optimizer


def test_biases_and_norms_do_not_decay() -> None:
    """Decay on a norm's scale works against what the norm does."""
    run = small_run(1)
    groups = make_optimizer(run.net, run.config).param_groups
    assert [group["weight_decay"] for group in groups] == [EVERYTHING.weight_decay, 0.0]
    assert all(p.ndim == 1 for p in groups[1]["params"])
    learned = sum(p.requires_grad for p in run.net.parameters())
    # the whitened stem
    assert (
        sum(len(group["params"]) for group in groups)
        == learned
        == sum(1 for _ in run.net.parameters()) - 1
    )


def test_ema_is_the_average_of_the_weights_on_their_way() -> None:
    """With decay d, an average moves (1 - d) of the way at each step; in the first steps faster."""
    run = small_run(1, ema=0.9)
    assert run.ema is not None
    run.step()
    judged, net = dict(run.judged.named_parameters()), dict(run.net.named_parameters())
    assert any(not torch.equal(judged[name], net[name]) for name in net)
    with torch.no_grad():
        for p in run.net.parameters():
            p.fill_(3.0)
        before = {name: p.clone() for name, p in judged.items()}
        run.ema.go_on(run.ema.state_dict() | {"n_averaged": torch.tensor(1000)})
        run.ema.update_parameters(run.net)
    assert all(torch.allclose(p, 0.9 * before[name] + 0.3, atol=1e-5) for name, p in judged.items())
    assert small_run(1, ema=0.0).ema is None


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine", "triangular"])
def test_a_schedule_ends_at_nothing_and_never_leaves_its_range(schedule: str) -> None:
    """A last step at a high rate would undo what was learned."""
    values = [fraction(schedule, step / 1000) for step in range(1001)]
    assert max(values) == pytest.approx(1)
    assert min(values) >= 0
    assert values[-1] == pytest.approx(0, abs=1e-9)
    assert values[0] == (1 if schedule == "cosine" else 0)
    assert max(abs(a - b) for a, b in pairwise(values)) < 0.01
    with pytest.raises(
        ValueError, match="schedule must be one-cycle, cosine or triangular, but got 'x'"
    ):
        fraction("x", 0.5)


def test_the_average_is_torch_s_own_to_the_bit_also_after_it_was_saved() -> None:
    """It differs in where the steps are counted, and in nothing else."""

    @torch.no_grad()
    def moved(averages: Any, values: Any, count: Any) -> None:
        seen = int(count)
        if averages[0].is_floating_point():
            torch._foreach_lerp_(averages, values, 1 - min(0.9, (1 + seen) / (10 + seen)))
        else:
            torch._foreach_copy_(averages, values)

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Flatten(), nn.Linear(288, 5))
    theirs, ours = AveragedModel(net, multi_avg_fn=moved, use_buffers=True), Average(net, 0.9)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for step in range(8):
        net(torch.randn(16, 3, 8, 8)).square().mean().backward()
        optimizer.step()
        theirs.update_parameters(net)
        ours.update_parameters(net)
        if step == 4:
            assert ours.steps() == 5
            saved = ours.state_dict()
            ours = Average(net, 0.9)
            ours.go_on(saved)
    ours.steps()
    expected, found = theirs.state_dict(), ours.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
