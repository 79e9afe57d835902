"""The number format of a training: what a card can do, what is faster, and float16 resumed."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from cnn_run import small_run

from trainables.cnn import precision
from trainables.cnn.precision import DTYPES, measured_dtype


@pytest.mark.parametrize(
    ("capability", "expected"),
    [
        ((6, 1), ()),
        ((7, 0), (torch.float16,)),
        ((7, 5), (torch.float16,)),
        ((8, 0), (torch.bfloat16,)),
        ((9, 0), (torch.bfloat16,)),
        ((12, 0), (torch.bfloat16,)),
    ],
)
def test_formats_are_tried_by_what_a_card_can_do(
    capability: tuple[int, int], expected: tuple[torch.dtype, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A T4 emulates bfloat16, and an A100 needs no scaled losses."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert precision.candidates("cuda") == expected


def test_a_format_is_taken_only_where_it_is_clearly_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a T4 too, where the choice is between float16 and float32."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    times = {torch.float32: 1.0, torch.float16: 0.5}
    monkeypatch.setattr(precision, "_seconds", lambda device, dtype: times[dtype])
    assert precision.measured_dtype.__wrapped__("cuda") is torch.float16
    times[torch.float16] = 0.9
    assert precision.measured_dtype.__wrapped__("cuda") is torch.float32


def test_killed_in_float16_and_resumed_gives_the_same_bits(tmp_path: Path) -> None:
    """The scale of the losses is part of what the next step depends on."""
    whole = small_run(3, dtype="float16", ema=0.9)
    assert whole.scaler is not None
    whole.step()
    whole.scaler.update(1024.0)  # as after steps that overflowed
    whole.save(tmp_path)
    part = small_run(3, dtype="float16", ema=0.9)
    part.load(tmp_path)
    assert part.scaler is not None
    assert part.scaler.get_scale() == whole.scaler.get_scale() == 1024.0
    for run in (whole, part):
        run.step()
        run.step()
    assert all(
        torch.equal(one, other)
        for one, other in zip(
            whole.net.state_dict().values(), part.net.state_dict().values(), strict=True
        )
    )
    keys = set(whole.history[-1]) - {"seconds"}
    assert {key: whole.history[-1][key] for key in keys} == {
        key: part.history[-1][key] for key in keys
    }
    assert math.isfinite(whole.history[-1]["train_loss"])


@pytest.mark.parametrize(
    ("float32", "bfloat16", "chosen"),
    [(3.0, 1.0, "bfloat16"), (1.0, 3.0, "float32"), (1.1, 1.0, "float32")],
)
def test_the_format_that_is_clearly_faster_is_chosen(
    monkeypatch: pytest.MonkeyPatch, float32: float, bfloat16: float, chosen: str
) -> None:
    """Fewer digits are worth it where they save time, and not for a tenth, which chance may
    make.
    """
    took = {torch.float32: float32, torch.bfloat16: bfloat16}
    # a neighbour that wants the processor too: the least of three counts
    busy = iter([9.0, 0.0, 5.0] * 2)
    monkeypatch.setattr(precision, "_seconds", lambda device, dtype: took[dtype] + next(busy))
    assert measured_dtype.__wrapped__("cpu") is DTYPES[chosen]


def test_the_dtype_of_a_network_of_timms_is_measured_on_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A processor that runs a convolution twice as fast in bfloat16 may run a whole network of
    depthwise ones at half the speed.
    """
    took = {"resnet18": (2.0, 1.0), "efficientnet_lite0": (1.0, 3.0)}
    monkeypatch.setattr(precision, "_seconds", lambda device, dtype: float(dtype is torch.float32))
    monkeypatch.setattr(
        precision, "_seconds_of", lambda name, device, dtype: took[name][dtype is torch.bfloat16]
    )
    choose = measured_dtype.__wrapped__
    assert choose("cpu") is torch.bfloat16
    assert choose("cpu", ("resnet18",)) is torch.bfloat16
    assert choose("cpu", ("efficientnet_lite0",)) is torch.float32
    assert choose("cpu", ("resnet18", "efficientnet_lite0")) is torch.float32


def test_one_step_of_a_network_is_timed() -> None:
    """Whatever timm has, transformers for one side alone too, at the start of a search."""
    for name in ("test_vit", "test_efficientnet"):
        assert measured_dtype("cpu", (name,)) in (torch.float32, torch.bfloat16)


def test_the_dtype_is_measured_and_never_slower_than_float32() -> None:
    """bfloat16 is emulated on processors without it; the choice must follow the clock."""
    found = measured_dtype("cpu")
    assert found in (torch.float32, torch.bfloat16)
    assert measured_dtype("cpu") is found
    assert small_run(1).dtype is found
    assert small_run(1, dtype="float32").dtype is torch.float32
