"""Trainings whose first epochs see a part of the images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from cnn_run import few, small_run

from trainables.cnn.checkpoint import CheckpointError
from trainables.cnn.data import CnnData
from trainables.cnn.training import CnnRun
from trainables.data.validation import comes_in

PARTS = (0.25, 0.5, 1.0)


def in_parts() -> CnnData:
    return replace(few(), order=comes_in(few().train_labels, seed=3))


def begun(epochs: int = 4, **changes: object) -> CnnRun:
    return small_run(epochs, data=in_parts(), shares=PARTS, dtype="float32", **changes)


def test_each_epoch_sees_its_part_and_the_schedule_goes_by_what_was_seen() -> None:
    """Otherwise the steps that a pruner judges would cost what whole epochs do, or the rate would
    jump where the part grows.
    """
    run = begun(4, batch_size=16)
    order, course = in_parts().order, run.course
    assert order is not None
    assert [course.share(epoch) for epoch in range(4)] == [0.25, 0.5, 1.0, 1.0]
    generator = torch.Generator().manual_seed(0)
    for epoch in range(4):
        rows = course.drawn(epoch, generator).numpy()
        assert sorted(rows) == list(np.flatnonzero(order < course.share(epoch)))
    assert course.steps == (5, 9, 18, 18)
    far = [course.passed(epoch, n) for epoch in range(4) for n in range(course.steps[epoch])]
    assert np.allclose(np.diff(far), 1 / (5 + 9 + 18 + 18 + 1))
    assert far[-1] == 50 / 51


def test_a_training_without_parts_is_what_it_was() -> None:
    """The default: the same order, the same rates, to the bit."""
    run = small_run(3, dtype="float32")
    generator, again = torch.Generator().manual_seed(0), torch.Generator().manual_seed(0)
    for epoch in range(3):
        drawn = torch.randperm(len(few().train_labels), generator=again)
        assert torch.equal(run.course.drawn(epoch, generator), drawn)
        for number in (0, 3):
            steps = run.course.steps[epoch]
            wanted = (epoch * steps + number + 1) / (3 * steps + 1)
            assert run.course.passed(epoch, number) == wanted
    assert "parts_seen" not in run.snapshot().facts


def test_a_training_in_parts_goes_on_with_the_same_bits_and_only_in_the_same_parts(
    tmp_path: Path,
) -> None:
    """A killed trial that saw other images afterwards would be another trial."""
    whole = begun()
    for _ in range(2):
        whole.step()
    whole.save(tmp_path)
    expected = [whole.step()["val_loss"], whole.step()["val_loss"]]
    again = begun()
    again.load(tmp_path)
    assert [again.step()["val_loss"], again.step()["val_loss"]] == expected
    with pytest.raises(CheckpointError):
        small_run(4, data=in_parts(), shares=(0.5, 1.0), dtype="float32").load(tmp_path)
