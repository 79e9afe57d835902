"""The trainer beside one written anew in plain PyTorch: same network, seed, batches and schedule,
equal step for step.
"""

from __future__ import annotations

import math
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from spaces.ours.cnn import CnnConfig
from trainables.cnn.data import CnnData
from trainables.cnn.steps.augment import mixed
from trainables.cnn.steps.optimizer import fraction
from trainables.cnn.training import CnnRun

EPOCHS, SEED, CLASSES, COUNT, BATCHES = 2, 4, 3, 90, 4
"""90 images in batches of 25 are 4 batches (3.6, rounded): of 23, 23, 22 and 22."""
PLAIN: dict[str, Any] = {
    "width": 0.125,
    "flip": 0.0,
    "crop": 0,
    "batch_size": 25,
    "test_flip": False,
    "label_smoothing": 0.2,
}
Weights = dict[str, Tensor]


def in_double(run: CnnRun) -> CnnRun:
    """The run with twice the digits: in float32 a rounding decides now and then which of two equal
    pixels a pooling takes.
    """
    run.data = replace(run.data, mean=run.data.mean.double(), std=run.data.std.double())
    run.net.double()
    if run.ema is not None:
        run.ema.double()
    return run


def some_images() -> CnnData:
    """Noise of another brightness and contrast in each channel and in each split; small enough to
    be shown whole in a step.
    """
    draw = np.random.default_rng(0)
    train = (
        draw.integers(0, 200, (COUNT, 3, 32, 32)) // np.array([1, 2, 4])[:, None, None]
    ).astype(np.uint8)
    val = draw.integers(100, 256, (40, 3, 32, 32), dtype=np.uint8)
    return CnnData(train, draw.integers(0, CLASSES, COUNT), val, draw.integers(0, CLASSES, 40))


def rate(schedule: str, share: float) -> float:
    """Of the largest learning rate, when ``share`` of the whole training is over."""
    if schedule == "cosine":
        return 0.5 + 0.5 * math.cos(share * math.pi)
    if share < 0.2:
        return share * 5
    return (
        0.5 + 0.5 * math.cos((share - 0.2) / 0.8 * math.pi)
        if schedule == "one-cycle"
        else (1 - share) / 0.8
    )


def decaying(net: nn.Module) -> list[nn.Parameter]:
    """The weights of convolutions and linear layers that learn."""
    found = [module.weight for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return [weight for weight in found if weight.requires_grad]


def plain_optimizer(net: nn.Module, config: CnnConfig) -> torch.optim.Optimizer:
    decay = decaying(net)
    ids = {id(weight) for weight in decay}
    rest = [
        parameter
        for parameter in net.parameters()
        if parameter.requires_grad and id(parameter) not in ids
    ]
    if config.optimizer == "adamw":
        own = {"betas": (0.9, 0.999), "eps": 1e-8}
        return torch.optim.AdamW(
            [{"params": decay, "weight_decay": 0.03}, {"params": rest, "weight_decay": 0.0}],
            1.0,
            **own,
        )  # type: ignore[arg-type]
    own = {"momentum": config.momentum, "nesterov": bool(config.momentum), "foreach": False}
    return torch.optim.SGD(
        [{"params": decay, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}], 1.0, **own
    )  # type: ignore[arg-type]


class Plain:
    """A training as a textbook has it: no augmentation, no device, no resuming."""

    def __init__(self, net: nn.Module, data: CnnData, config: CnnConfig) -> None:
        self.net, self.config, self.draws = net, config, torch.Generator().manual_seed(SEED)
        self.averaged, self.updates, self.done = deepcopy(net), 0, 0
        self.optimizer, self.largest = (
            plain_optimizer(net, config),
            0.05 if config.optimizer == "sgd" else 0.004,
        )
        pixels = data.train_images.astype(np.float64)
        self.mean, self.std = (
            getattr(pixels, name)((0, 2, 3), keepdims=True).astype(np.float32)
            for name in ("mean", "std")
        )
        self.images, self.labels = self.normal(data.train_images), torch.tensor(data.train_labels)
        assert data.val_images is not None
        self.val, self.val_labels = self.normal(data.val_images), torch.tensor(data.val_labels)
        self.after: list[Weights] = []

    def normal(self, images: np.ndarray[Any, Any]) -> Tensor:
        return torch.tensor((images - self.mean.astype(np.float64)) / self.std)

    def epoch(self) -> dict[str, float]:
        self.net.train()
        losses, hits = 0.0, 0
        order = torch.randperm(COUNT, generator=self.draws)
        for rows in torch.tensor_split(order, BATCHES):
            self.done += 1
            for group in self.optimizer.param_groups:
                group["lr"] = self.largest * rate(
                    self.config.schedule, self.done / (EPOCHS * BATCHES + 1)
                )
            # how far images are shifted: by none
            torch.randint(0, 1, (2, len(rows), 1), generator=self.draws)
            images, other, share = mixed(
                self.images[rows], self.labels[rows], self.config, self.draws
            )
            wanted = share * F.one_hot(self.labels[rows], CLASSES) + (1 - share) * F.one_hot(
                other, CLASSES
            )
            scores = self.net(images)
            loss = -((0.8 * wanted + 0.2 / CLASSES) * scores.float().log_softmax(1)).sum(1).mean()
            self.optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.after.append(
                {name: value.clone() for name, value in self.net.state_dict().items()}
            )
            self.average()
            losses += loss.item() * len(rows)
            hits += int((scores.argmax(1) == self.labels[rows]).sum())
        judged = (self.averaged if self.config.ema else self.net).eval()
        with torch.no_grad():
            scores = judged(self.val)
        val_loss = -scores.log_softmax(1)[torch.arange(40), self.val_labels].mean().item()
        val_accuracy = (scores.argmax(1) == self.val_labels).float().mean().item()
        return {
            "train_loss": losses / COUNT,
            "train_accuracy": hits / COUNT,
            "val_loss": val_loss,
            "val_accuracy": val_accuracy,
        }

    def average(self) -> None:
        """All that a network holds moves: weights, and the means and variances of batches."""
        own = (
            min(self.config.ema, (1 + self.updates) / (10 + self.updates)) if self.updates else 0.0
        )
        self.updates += 1
        for before, now in zip(
            self.averaged.state_dict().values(), self.net.state_dict().values(), strict=True
        ):
            before.copy_(own * before + (1 - own) * now if now.is_floating_point() else now)


CASES: dict[str, dict[str, Any]] = {
    "Nesterov momentum, one cycle, averaged": {
        "momentum": 0.9,
        "schedule": "one-cycle",
        "ema": 0.9,
    },
    "no momentum, a cosine, not averaged": {"momentum": 0.0, "schedule": "cosine", "ema": 0.0},
    "AdamW, up and down, averaged": {"optimizer": "adamw", "schedule": "triangular", "ema": 0.5},
    "mixed by boxes": {"cutmix": 0.7, "schedule": "one-cycle", "ema": 0.5},
    "mixed as a whole": {"mixup": 0.8, "schedule": "cosine", "ema": 0.0},
}


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_every_step_is_the_one_that_a_plain_trainer_takes(case: dict[str, Any]) -> None:
    """A trainer can be wrong in many ways and still learn: only another one, written without it,
    tells.
    """
    own = {
        "learning_rate": 0.05,
        "weight_decay": 0.01,
        "adamw_learning_rate": 0.004,
        "adamw_weight_decay": 0.03,
    }
    config, data = CnnConfig(**{**PLAIN, **own, **case}), some_images()
    run = in_double(
        CnnRun(
            config,
            data,
            classes=CLASSES,
            epochs=EPOCHS,
            seed=SEED,
            device="cpu",
            threads=1,
            dtype="float32",
        )
    )
    plain = Plain(deepcopy(run.net), data, config)
    steps: list[Weights] = []
    run.optimizer.register_step_post_hook(
        lambda *_: steps.append(
            {name: value.clone() for name, value in run.net.state_dict().items()}
        )
    )
    for number in range(EPOCHS):
        found, expected = run.step(), plain.epoch()
        assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-4), (
            f"epoch {number + 1}"
        )
        for mine, theirs in (
            (run.judged, plain.averaged if config.ema else plain.net),
            (run.net, plain.net),
        ):
            near(mine.state_dict(), theirs.state_dict())
    assert len(steps) == len(plain.after) == EPOCHS * BATCHES
    for mine_after, theirs_after in zip(steps, plain.after, strict=True):
        near(mine_after, theirs_after)


def near(mine: Weights, theirs: Weights) -> None:
    """Equal but for the order in which sums are made."""
    for name, value in theirs.items():
        torch.testing.assert_close(
            mine[name], value, rtol=1e-3, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_schedules_have_the_shapes_that_torch_gives_them() -> None:
    """Each name is the literature's, and whoever reads one-cycle expects that curve, not one that
    ends in the same place.
    """
    given = nn.Parameter(torch.zeros(1))

    def cosine(steps: int) -> list[float]:
        optimizer = torch.optim.SGD([given], lr=1.0)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        values = []
        for _ in range(steps + 1):
            values.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            falling.step()
        return values

    share = np.linspace(0, 1, 101)
    expected = {
        "cosine": cosine(100),
        "one-cycle": [*np.linspace(0, 1, 21)[:-1], *cosine(80)],
        "triangular": np.interp(share, [0, 0.2, 1], [0, 1, 0]),
    }
    for name, curve in expected.items():
        np.testing.assert_allclose(
            [fraction(name, at) for at in share], curve, atol=1e-6, err_msg=name
        )
