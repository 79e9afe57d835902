"""How a training goes through its images: which of them each epoch sees, in how many batches, and
how far the schedule has come with each of these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from spaces.ours.cnn import CnnConfig
from trainables.cnn.steps.optimizer import drawn_order
from trainables.cnn.steps.tuning import stretch


@dataclass(frozen=True)
class Course:
    """The epochs of one training.

    Attributes:
        labels: (n,) of the training images.
        epochs: in all.
        parts: shares of the images that epochs see one after the other, rising to 1: each until the
            same share of the epochs is over. All see all images if empty.
        order: (n,) share from which on each image is seen
            (``trainables.data.validation.comes_in``); None where all are.
    """

    config: CnnConfig
    labels: Tensor
    classes: int
    epochs: int
    parts: Sequence[float] = ()
    order: Tensor | None = field(default=None, repr=False)

    def share(self, epoch: int) -> float:
        """Of the images that ``epoch``, from 0, sees."""
        return next((part for part in self.parts if epoch + 1 <= part * self.epochs + 1e-9), 1.0)

    def rows(self, epoch: int) -> Tensor | None:
        """(m,) int64: the images that it sees; None for all."""
        share = self.share(epoch)
        if self.order is None or share == 1:
            return None
        return (self.order < share).nonzero().flatten()

    @cached_property
    def steps(self) -> tuple[int, ...]:
        """Batches of each epoch."""
        counts = {
            share: len(self.labels)
            if self.order is None or share == 1
            else int((self.order < share).sum())
            for share in {self.share(epoch) for epoch in range(self.epochs)}
        }
        size = self.config.batch_size
        return tuple(
            max(1, round(counts[self.share(epoch)] / size)) for epoch in range(self.epochs)
        )

    def drawn(self, epoch: int, generator: torch.Generator) -> Tensor:
        """(m,) int64: the rows of an epoch's images, in the order in which they are seen."""
        rows = self.rows(epoch)
        labels = self.labels if rows is None else self.labels[rows]
        drawn = drawn_order(self.config, labels, self.classes, generator)
        return drawn if rows is None else rows[drawn]

    def passed(self, epoch: int, number: int) -> float:
        """How much of the schedule is over with batch ``number``, from 0, of ``epoch``."""
        begun, length = stretch(self.config, epoch, self.epochs)
        past = sum(self.steps[begun:epoch]) + number + 1
        return past / (sum(self.steps[begun : begun + length]) + 1)
