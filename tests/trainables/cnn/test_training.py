"""Training: it learns, keeps to itself, stops when it must, and says why in one line."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from cnn_run import EVERYTHING, VGG16, digits, few, small_run
from PIL import Image

from spaces.errors import UserError
from trainables.cnn import size
from trainables.cnn import training as T  # noqa: N812
from trainables.cnn.data import CnnData
from trainables.cnn.images import stack
from trainables.cnn.memory import TrainingError
from trainables.cnn.models import build
from trainables.cnn.size import ModelTooLarge, model_size_mb
from trainables.cnn.steps.randomness import RandomState
from trainables.cnn.training import CnnRun
from trainables.data import Images, ReadOptions, read_dataset

CALM = {
    "mixup": 0.0,
    "cutmix": 0.0,
    "jitter": 0.0,
    "cutout": 0,
    "dropout_place": "none",
    "dropout": 0.0,
    "flip": 0.0,
}


def trained(run: CnnRun) -> CnnRun:
    while not run.done:
        run.step()
    return run


def weights(run: CnnRun) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in run.net.state_dict().items()}


def same(one: CnnRun, other: CnnRun) -> bool:
    strip = [
        [{k: v for k, v in m.items() if k != "seconds"} for m in run.history]
        for run in (one, other)
    ]
    a, b = weights(one), weights(other)
    return strip[0] == strip[1] and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "changes",
    [{"optimizer": "sgd"}, {"optimizer": "adamw"}, {"schedule": "triangular", "ema": 0.0}],
    ids=str,
)
def test_it_learns_digits(changes: dict[str, Any]) -> None:
    """Whatever the optimiser and schedule, digits are easy: what does not learn them is broken."""
    run = trained(small_run(6, data=digits(), **CALM, test_flip=False, **changes))
    assert run.history[-1]["val_accuracy"] > 0.9
    assert run.history[-1]["val_loss"] < run.history[0]["val_loss"]


def test_metrics_are_what_they_are_called() -> None:
    """They are compared across families, so each must be the thing scikit-learn means by its
    name.
    """
    from sklearn.metrics import balanced_accuracy_score, f1_score

    run = small_run(2)
    run.step()
    metrics = run.step()
    labels, predictions = few().val_labels, run.predictions()
    assert labels is not None
    assert predictions.dtype == np.int64
    assert metrics["val_accuracy"] == pytest.approx(float((labels == predictions).mean()))
    assert metrics["balanced_accuracy"] == pytest.approx(
        balanced_accuracy_score(labels, predictions)
    )
    assert metrics["macro_f1"] == pytest.approx(
        f1_score(labels, predictions, average="macro", zero_division=0.0)
    )
    assert metrics["epoch"] == 2
    assert run.done
    names = (
        "epoch seconds train_accuracy train_loss val_accuracy val_loss balanced_accuracy macro_f1"
    )
    assert set(metrics) == set(names.split())
    with pytest.raises(ValueError, match="all 2 epochs are done"):
        run.step()


def test_the_same_seed_gives_the_same_bits_and_another_seed_others() -> None:
    """Whatever else the process did with random numbers in between."""
    torch.manual_seed(7)
    one = trained(small_run(2))
    torch.manual_seed(8)
    torch.rand(3)
    assert same(one, trained(small_run(2)))
    assert not same(one, trained(small_run(2, seed=2)))


def test_a_run_changes_no_random_numbers_but_its_own_and_none_of_another_run() -> None:
    """Reused actors run one trial after the other, and two runs may take turns in one process."""
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    one, other = small_run(2), small_run(2, width=0.25, optimizer="adamw")
    for _ in range(2):
        one.step()
        other.step()
    assert torch.equal(torch.rand(4), expected)
    assert same(one, trained(small_run(2)))


def test_a_run_s_random_numbers_go_on_where_they_stopped() -> None:
    """Begun anew each epoch, dropout would leave out the same units for ever, and half of the
    network would never learn.
    """
    own, expected = RandomState(3, torch.device("cpu")), torch.Generator().manual_seed(3)
    for _ in range(3):
        with own.use():
            found = torch.rand(4)
        torch.rand(2)  # somebody else's
        assert torch.equal(found, torch.rand(4, generator=expected))


@pytest.mark.parametrize(
    ("optimizer", "rate"), [("sgd", "learning_rate"), ("adamw", "adamw_learning_rate")]
)
def test_a_loss_that_is_not_finite_stops_at_once_and_names_the_epoch(
    optimizer: str, rate: str
) -> None:
    """Hours on NaN are hours lost; the search goes on with another trial."""
    run = small_run(2, optimizer=optimizer, **{rate: 1e-3}, ema=0.0, dtype="float32")
    run.step()
    with torch.no_grad():
        next(p for p in run.net.parameters() if p.requires_grad).fill_(math.inf)
    with pytest.raises(
        TrainingError,
        match=r"loss became (nan|inf) in epoch 2, step 1 of \d+; lower the learning rate",
    ):
        run.step()


def test_a_learning_rate_far_too_high_is_an_error_not_a_result() -> None:
    """The same, as it happens in a search."""
    with pytest.raises(TrainingError, match=r"in epoch \d"):
        trained(small_run(6, learning_rate=1e9, dtype="float32", weight_decay=1.0))


def test_a_network_over_the_limit_is_refused_before_it_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """128 MiB must not be allocated to find that they are too many."""
    made: list[torch.device] = []
    real = size.build

    def watch(*arguments: Any) -> Any:
        net = real(*arguments)
        made.append(next(net.parameters()).device)
        return net

    monkeypatch.setattr(size, "build", watch)
    monkeypatch.setattr(T, "build", watch)
    with pytest.raises(
        ModelTooLarge,
        match=rf"vgg16 has {VGG16 * 4 / 2**20:.2f} MiB, but max_model_mb is 80; lower its width",
    ):
        small_run(1, model="vgg16", width=1.0, max_model_mb=80, dropout_place="head")
    assert [device.type for device in made] == ["meta"]
    assert model_size_mb(replace(EVERYTHING, model="mynet", width=1.0), 10, 32) == pytest.approx(
        23.49, abs=0.01
    )
    assert small_run(1, max_model_mb=80).epoch == 0


def test_every_image_is_seen_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass over the data: none left out, none twice, in another order each epoch."""
    seen: list[np.ndarray[Any, Any]] = []
    run, real = small_run(2), T.augment
    fingerprint = {image.tobytes(): row for row, image in enumerate(few().train_images)}

    def watch(images: torch.Tensor, *others: Any) -> torch.Tensor:
        seen.append(np.array([fingerprint[image.numpy().tobytes()] for image in images]))
        return real(images, *others)

    monkeypatch.setattr(T, "augment", watch)
    run.step()
    first = np.concatenate(seen)
    seen.clear()
    run.step()
    second = np.concatenate(seen)
    assert sorted(first) == sorted(second) == sorted(fingerprint.values())
    assert not np.array_equal(first, second)


def test_what_normalises_and_whitens_is_taken_from_training_images_alone() -> None:
    """Validation images are to judge as images do that nobody has seen."""
    draw = np.random.default_rng(0)
    train, val = (
        draw.integers(0, 90, (40, 3, 32, 32), dtype=np.uint8),
        draw.integers(120, 250, (40, 3, 32, 32), dtype=np.uint8),
    )
    labels = np.arange(40) % 10
    run = small_run(1, data=CnnData(train, labels, val, labels))
    assert run.use.mean == pytest.approx(tuple(train.astype(float).mean((0, 2, 3))), rel=1e-6)
    assert run.use.std == pytest.approx(tuple(train.astype(float).std((0, 2, 3))), rel=1e-6)
    net: Any = build("fastnet", 10, 32, run.config.tweaks())
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (run.use.mean, run.use.std))
    net.whiten_stem((torch.tensor(train) - mean) / std)
    assert torch.allclose(run.net.state_dict()["stem.0.weight"], net.stem[0].weight, atol=1e-4)
    assert run.use == run.use.model_copy(
        update={"size": 32, "classes": 10, "threads": 1, "epoch": 0, "device": "cpu"}
    )


def test_a_refit_trains_without_validation_images() -> None:
    """After selection all images are for learning."""
    data = replace(few(), val_images=None, val_labels=None)
    run = small_run(1, data=data)
    assert set(run.step()) == {"train_accuracy", "train_loss", "epoch", "seconds"}
    with pytest.raises(ValueError, match="no validation images"):
        run.predictions()


def test_shared_read_only_images_are_copied_not_changed() -> None:
    """Ray's object store gives every trial the same memory."""
    data, before = few(), few().train_images.copy()
    assert not data.train_images.flags.writeable
    small_run(1, data=data).step()
    assert np.array_equal(data.train_images, before)


def test_images_of_any_size_and_colour_become_square_rgb(tmp_path: Any) -> None:
    """Folders hold what they hold."""
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "x.npz",
        x_train=rng.integers(0, 256, (6, 20, 30), dtype=np.uint8),
        y_train=np.array([0, 1] * 3),
    )
    data = CnnData.from_dataset(
        read_dataset(f"npz:{tmp_path / 'x.npz'}", ReadOptions(color="grey")), size=48
    )
    assert data.train_images.shape == (6, 3, 48, 48)
    assert np.array_equal(data.train_images[:, 0], data.train_images[:, 2])
    assert data.val_images is None
    colours = rng.integers(0, 256, (2, 48, 48, 3), dtype=np.uint8)
    wide = rng.integers(0, 256, (20, 60, 3), dtype=np.uint8)
    found = stack(Images.from_arrays([*colours, wide]), 48)
    assert np.array_equal(found[:2], colours.transpose(0, 3, 1, 2))
    smaller = np.asarray(Image.fromarray(wide).resize((48, 48), Image.Resampling.BICUBIC))
    assert np.array_equal(found[2], smaller.transpose(2, 0, 1)), "rows stay rows, and red stays red"
    with pytest.raises(
        UserError, match=r"images must be \(n, 3, size, size\) uint8, but got \(6, 3, 48, 40\)"
    ):
        CnnData(data.train_images[..., :40], data.train_labels)
