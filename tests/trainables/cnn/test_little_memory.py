"""Too little memory: understood in every library's words, and met by halves and pieces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from cnn_run import small_run

from trainables.cnn import memory
from trainables.cnn import training as T  # noqa: N812
from trainables.cnn.images import channel_statistics
from trainables.cnn.memory import ShortageError, TrainingError
from trainables.cnn.models.fastnet import FastNet
from trainables.cnn.run import CnnTrial
from trainables.cnn.training import CnnRun


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError(
            "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 "
            "bytes"
        ),
    ],
)
def test_too_little_memory_names_batch_size_and_device(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """What to change must be in the line."""

    def fail(*_: object) -> None:
        raise error

    run = small_run(2)
    monkeypatch.setattr(T, "augment", fail)
    with pytest.raises(
        TrainingError,
        match=r"out of memory on cpu with batch size 64 \(fastnet\): lower batch_size or width",
    ):
        run.step()
    monkeypatch.setattr(T, "augment", lambda *_: [][0])
    with pytest.raises(IndexError):
        run.step()


@pytest.mark.parametrize(
    ("error", "short"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling cublas"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("CUDA error: device-side assert triggered"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_too_little_memory_is_understood_in_every_library_s_words(
    error: Exception, short: bool
) -> None:
    """Whoever is told to lower the batch size can do something; whoever is told CUBLAS cannot."""
    assert memory.is_shortage(error) is short


def test_a_trial_that_does_not_fit_is_tried_in_halves_where_the_plan_allows_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Before the first epoch nothing is lost by beginning again."""
    learn = CnnRun._learn

    def little(self: CnnRun, images: Any, *rest: Any, **named: Any) -> Any:
        if len(images) > 20:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return learn(self, images, *rest, **named)

    monkeypatch.setattr(CnnRun, "_learn", little)
    tried: list[int] = []

    def made(parts: int) -> CnnRun:
        tried.append(parts)
        run = small_run(1, batch_size=64)
        run.parts = parts
        return run

    def trial(most: int) -> CnnTrial:
        trial = CnnTrial.__new__(CnnTrial)
        trial._made, trial._settings = made, type("How", (), {"accumulate": most})  # type: ignore[assignment]
        trial._run = trial._fitting(1)
        return trial

    assert trial(8)._first_step()["epoch"] == 1
    assert tried == [1, 2, 4]
    tried.clear()
    with pytest.raises(ShortageError, match=r"batch size 64 in 2 parts .*: lower batch_size"):
        trial(2)._first_step()
    assert tried == [1, 2]


def test_a_batch_in_parts_has_the_gradient_of_the_whole() -> None:
    """Where no statistics of the batch are in the way, it is the same training."""
    settings = {"model": "lenet", "dropout": 0.0, "batch_size": 48, "mixup": 0.3}
    runs = [small_run(1, dtype="float32", **settings) for _ in range(2)]
    runs[1].parts = 3
    metrics = [run.step() for run in runs]
    assert metrics[0]["train_loss"] == pytest.approx(metrics[1]["train_loss"], rel=1e-4)
    for whole, cut in zip(*(run.net.parameters() for run in runs), strict=True):
        assert torch.allclose(whole, cut, atol=1e-4)


@pytest.mark.parametrize(
    ("side", "expected"), [(32, 500), (64, 500), (128, 125), (224, 40), (5000, 1)]
)
def test_images_are_judged_by_bytes_and_not_by_count(side: int, expected: int) -> None:
    """500 photographs at once do not fit where 500 icons do; small images keep their bits."""
    assert memory.evaluated_at_once(torch.empty(9, 3, side, side, device="meta")) == expected


def test_whitening_in_pieces_gives_what_all_images_at_once_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At 224 pixels all patches of 5,000 images would take some 24 GB."""
    images = torch.randn(60, 3, 16, 16)
    whole, cut = FastNet(5, 16), FastNet(5, 16)
    whole.whiten_stem(images)
    monkeypatch.setattr("trainables.cnn.models.fastnet.WHITENED_PIXELS", 7 * 16 * 16)
    cut.whiten_stem(images)
    assert torch.allclose(whole.stem[0].weight, cut.stem[0].weight, atol=1e-4)  # type: ignore[arg-type]


def test_statistics_are_those_of_all_values_however_they_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """They are sums of whole numbers, so pieces change no bit."""
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 8, 8), dtype=np.uint8)
    images[:, 2] = 9
    whole = channel_statistics(images)
    monkeypatch.setattr("trainables.cnn.images.COUNTED_PIXELS", 3 * 64)
    assert np.array_equal(channel_statistics(images), whole)
    flat = images.transpose(1, 0, 2, 3).reshape(3, -1)
    assert whole[0] == pytest.approx(flat.mean(axis=1))
    assert whole[1] == pytest.approx([flat[0].std(), flat[1].std(), 1.0])


def test_a_search_on_a_gpu_is_told_of_the_memory_that_is_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Trials that share a card must not take each other's memory."""
    told: list[float] = []
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", told.append)
    memory.cap(0.25)
    memory.cap(1.0)
    assert told == [0.25, 1.0]
