"""Networks on packed images: the same bits, whether memory holds them or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cnn_run import few, small_run
from PIL import Image

from trainables.cnn import images as rule
from trainables.cnn.data import CnnData, Resident, Streamed
from trainables.cnn.training import CnnRun
from trainables.data import Images, ReadOptions, read_dataset
from trainables.images import packing


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CnnData:
    """The digits of ``few``, packed into several shards."""
    monkeypatch.setattr(packing, "MOST", 64)
    whole = few()
    parts = {"train": (whole.train_images, whole.train_labels)}
    parts |= {"test": (whole.val_images, whole.val_labels)}  # type: ignore[dict-item]
    for split, (images, labels) in parts.items():
        for row, (image, label) in enumerate(zip(images, labels, strict=True)):
            folder = tmp_path / "data" / split / str(label)
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image.transpose(1, 2, 0)).save(folder / f"{row:03d}.png")
    options = ReadOptions(color="rgb", packed=True, shards=str(tmp_path / "shards"), square=32)
    found = read_dataset(f"folder:{tmp_path}/data", options)
    assert found.test is not None
    assert isinstance(found.train.images, Images)
    return CnnData(found.train.images, found.train.labels, found.test.images, found.test.labels)


def state(run: CnnRun) -> dict[str, Any]:
    """All that a training comes to, but for seconds."""
    history = [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in run.history]
    tensors = {name: tensor.clone() for name, tensor in run.judged.state_dict().items()}
    return {"history": history, "use": run.use, **tensors}


def same(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(
        torch.equal(value, two[name]) if isinstance(value, torch.Tensor) else value == two[name]
        for name, value in one.items()
    )


def test_streamed_and_resident_trainings_are_the_same_bits(
    pictures: CnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How much memory is free where a trial runs, or goes on after a kill, must not change what it
    finds.
    """
    runs = {}
    for share in (1.0, 0.0):
        monkeypatch.setattr(rule, "RESIDENT_SHARE", share)
        run = small_run(3, data=pictures)
        assert isinstance(run.data.train_images, Streamed) == (share == 0.0)
        assert isinstance(run.data.val_images, Streamed) == (share == 0.0)
        run.step()
        run.save(tmp_path / str(share))
        while not run.done:
            run.step()
        runs[share] = state(run), run.predictions(), run.shares()
    for one, two in zip(runs[1.0], runs[0.0], strict=True):
        assert same(one, two) if isinstance(one, dict) else np.array_equal(one, two)
    resumed = small_run(3, data=pictures)  # streamed, from a checkpoint of the resident one
    resumed.load(tmp_path / "1.0")
    while not resumed.done:
        resumed.step()
    assert same(state(resumed), runs[0.0][0])


def test_a_batch_is_what_a_tensor_of_all_would_give(pictures: CnnData) -> None:
    """By rows in any order and by runs, with whichever shards they lie in."""
    assert isinstance(pictures.train_images, Images)
    streamed = Streamed(pictures.train_images, torch.device("cpu"))
    whole = torch.tensor(rule.stack(pictures.train_images, 32))
    rows = torch.randperm(len(whole), generator=torch.Generator().manual_seed(0))[:200]
    assert streamed.shape == whole.shape
    assert torch.equal(streamed[rows], whole[rows])
    assert torch.equal(streamed[100:230], whole[100:230])
    assert len(streamed[:5000]) == len(whole)


def test_the_rule_is_a_share_of_what_is_free(
    pictures: CnnData, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes of all images against a quarter of the memory, as a dry run says."""
    assert rule.fits(25, 100)
    assert not rule.fits(26, 100)
    assert pictures.nbytes == (len(pictures.train_labels) + len(few().val_labels)) * 3 * 32 * 32
    for there, streamed in ((4 * pictures.nbytes, False), (4 * pictures.nbytes - 1, True)):
        monkeypatch.setattr("trainables.cnn.data.free", lambda device, there=there: there)
        found = Resident.on(pictures, torch.device("cpu"))
        assert isinstance(found.train_images, Streamed) == streamed
