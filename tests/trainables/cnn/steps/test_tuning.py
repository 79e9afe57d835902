"""A network that begins with pretrained weights: what is trained when, at which rate, and from what
it begins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from cnn_run import few
from safetensors.torch import save_file
from torch import Tensor

from spaces import CNN, CnnConfig
from trainables.cnn import weights
from trainables.cnn.data import CnnData
from trainables.cnn.run import make_run
from trainables.cnn.start import known_here
from trainables.cnn.training import CnnRun
from trainables.contract.assignment import TrainingSettings

CONFIG = {
    **asdict(CnnConfig(batch_size=24, crop=0, ema=0.0, optimizer="adamw")),
    "model": "pretrained",
    "backbone": "efficientnet-lite0",
    "random_weights": False,
    "adamw_learning_rate": 3e-3,
    "head_epochs": 1,
    "body_rate": 0.1,
    "layer_decay": 0.5,
}


@cache
def images() -> CnnData:
    """72 training and 24 validation images."""
    whole = few()
    assert whole.val_images is not None
    assert whole.val_labels is not None
    rows, judged = slice(None, None, 4), slice(None, None, 4)
    return CnnData(
        whole.train_images[rows], whole.train_labels[rows],
        whole.val_images[judged], whole.val_labels[judged],
    )  # fmt: skip


def begun(
    epochs: int = 2, threads: int = 1, start: str = "", data: CnnData | None = None, **changes: Any
) -> CnnRun:
    config = CnnConfig.of(CNN.check({**CONFIG, **changes}))
    settings = TrainingSettings(
        epochs, 32, threads, False, False, 0.0, "val_accuracy", True, precision="float32",
        start=start, start_classes=tuple("abcdefghij"),
    )  # fmt: skip
    names = tuple("0123456789")
    known = None if start else known_here(config, {})
    return make_run(
        config, data or images(), settings, names, seed=3, device="cpu", threads=threads,
        known=known,
    )  # fmt: skip


def state(run: CnnRun) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in run.net.state_dict().items()}


def other(one: Mapping[str, Tensor], two: Mapping[str, Tensor]) -> set[str]:
    return {name for name in one if not torch.equal(one[name], two[name])}


HEAD = {"classifier.weight", "classifier.bias"}


def test_the_head_is_trained_first_and_everything_else_stands_still() -> None:
    """Gradients through a head of random numbers would spoil what the weights know, and batch norm
    that follows the first images would change what the head is fitted on.
    """
    run = begun(layer_decay=1.0)
    known = known_here(run.config, {})
    assert known is not None
    own = {name: torch.tensor(array) for name, array in known[1].items() if name not in HEAD}
    first = state(run)
    assert {name for name in own if not torch.equal(own[name], first[name])} == set()
    assert set(first) - set(own) == HEAD
    run.step()
    second = state(run)
    assert other(first, second) == HEAD
    run.step()
    changed = other(second, state(run))
    assert {name for name in second if name not in changed} == set()


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_the_head_begins_as_a_regression_on_what_the_network_sees(ema: float) -> None:
    """From a head of random numbers the first steps spoil what the weights know, and a few hundred
    images do not bring it back.
    """
    slow = {"head_epochs": 0, "adamw_learning_rate": 1e-5, "ema": ema}
    random, fitted = (begun(1, linear_probe=probe, **slow) for probe in (False, True))
    assert other(state(random), state(fitted)) == set()
    assert fitted.step()["val_accuracy"] > random.step()["val_accuracy"] + 0.2
    assert fitted.judged.get_submodule("classifier").weight.isfinite().all()


def test_a_class_without_an_image_can_still_be_learned() -> None:
    """A hold-out may leave a class none, and the loss would be infinite where it is smoothed."""
    whole = images()
    some = whole.train_labels < 7
    cut = replace(
        whole, train_images=whole.train_images[some], train_labels=whole.train_labels[some]
    )
    run = begun(1, data=cut, linear_probe=True, label_smoothing=0.1)
    assert run.step()["train_loss"] < 20


def test_batch_norm_keeps_what_the_weights_came_with() -> None:
    """Statistics of small batches of a few hundred images are others, with which the network no
    longer sees what it learned; scales and shifts are trained as all else.
    """
    kept, changed = (begun(1, frozen_norms=frozen, head_epochs=0) for frozen in (True, False))
    first = state(kept)
    kept.step()
    changed.step()
    statistics = {name for name in first if "running_" in name}
    assert other(first, state(kept)) & statistics == set()
    assert other(first, state(changed)) >= statistics
    assert any("bn" in name for name in other(first, state(kept)))


def test_a_network_with_random_weights_is_trained_whole() -> None:
    """What begins from nothing has nothing to be kept."""
    run = begun(random_weights=True)
    assert len(run.optimizer.param_groups) == 2
    first = state(run)
    run.step()
    assert other(first, state(run)) == set(first)


def test_each_layer_has_a_rate_of_its_own() -> None:
    """The nearer to the image, the more general is what a layer knows, and the less it may move."""
    run = begun(head_epochs=0, schedule="cosine")
    rates, decays = {}, {}
    names = {id(parameter): name for name, parameter in run.net.named_parameters()}
    for group in run.optimizer.param_groups:
        for parameter in group["params"]:
            rates[names[id(parameter)]] = group["lr_scale"]
            decays[names[id(parameter)]] = group["weight_decay"]
    assert set(rates) == set(names.values())
    assert {rates[name] for name in HEAD} == {1.0}
    assert rates["conv_head.weight"] == pytest.approx(0.1 * 0.5)
    order = ["conv_stem.weight", "blocks.0.0.conv_dw.weight", "blocks.1.0.conv_pw.weight"]
    order += ["blocks.6.0.conv_pw.weight", "conv_head.weight", "classifier.weight"]
    assert [rates[name] for name in order] == sorted(rates[name] for name in order)
    assert rates[order[1]] == pytest.approx(2 * rates[order[0]])
    one_dimensional = {name for name, p in run.net.named_parameters() if p.ndim == 1}
    assert {name for name, decay in decays.items() if decay == 0} == one_dimensional
    run.step()
    largest = max(group["lr"] for group in run.optimizer.param_groups)
    assert all(
        group["lr"] == pytest.approx(largest * group["lr_scale"])
        for group in run.optimizer.param_groups
    )


def test_the_schedule_is_laid_over_each_stretch() -> None:
    """A schedule that had sunk halfway when all layers begin would hardly move them."""
    run = begun(epochs=3, schedule="triangular", head_epochs=1)
    ends = []
    for _ in range(3):
        run.step()
        ends.append(max(group["lr"] for group in run.optimizer.param_groups))
    assert ends[0] < 0.5 * CONFIG["adamw_learning_rate"]
    assert ends[1] > ends[0]
    assert ends[2] < ends[1]


def test_images_are_normalised_as_the_weights_know_them() -> None:
    """Weights that learned images of -1 to 1 see others by the statistics of these images."""
    use = begun().use
    assert use.mean == pytest.approx((127.5,) * 3)
    assert use.std == pytest.approx((127.5,) * 3)


def test_resumed_it_ends_with_the_same_bits(tmp_path: Path) -> None:
    """Before and after the other layers join, whose optimiser has no memory of them until then."""
    changes = {"resized_crop": True, "crop_area": 0.4, "trivial_augment": True, "ema": 0.9}
    changes |= {"linear_probe": True, "frozen_norms": True}
    whole = begun(3, **changes)
    for epoch in (1, 2):
        whole.step()
        whole.save(tmp_path / f"{epoch}")
    whole.step()
    for epoch in (1, 2):
        again = begun(3, **changes)
        again.load(tmp_path / f"{epoch}")
        while not again.done:
            again.step()
        assert other(state(whole), state(again)) == set()
        assert other(whole.judged.state_dict(), again.judged.state_dict()) == set()
        losses = [[row["train_loss"], row["val_loss"]] for row in whole.history]
        assert losses == [[row["train_loss"], row["val_loss"]] for row in again.history]


def test_a_transformer_is_trained_at_another_side_than_its_weights_were(tmp_path: Path) -> None:
    """Its table of positions is of one side, and images of another, or smaller ones in the first
    epochs, would end the trial.
    """
    torch.manual_seed(0)
    file = tmp_path / "vit.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), file)  # of 160 pixels
    run = begun(backbone=f"test_vit@{file}", first_side=0.75, layer_decay=1.0, linear_probe=True)
    first = state(run)
    run.step()
    assert other(first, state(run)) == {"head.weight", "head.bias"}
    run.step()
    assert "pos_embed" in other(first, state(run))


def test_a_search_from_a_bundle_goes_on_from_what_that_learned(tmp_path: Path) -> None:
    """Other classes want another head; everything before it, and how images are normalised, is the
    bundle's, and the weights that it began with itself are not asked for.
    """
    first = begun(layer_decay=1.0, head_epochs=0)
    first.step()
    weights.write(tmp_path / "last.safetensors", first.judged.state_dict(), first.use)
    second = begun(start=str(tmp_path / "last.safetensors"))
    assert other(state(first), state(second)) == HEAD
    assert second.use.mean == first.use.mean
    assert second.use.std == first.use.std
