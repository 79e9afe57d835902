"""What training asks of its device, held where there is no GPU: no wait in a step, kernels that are
deterministic, memory by bytes, and number formats by what a card can do.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from cnn_run import EVERYTHING, few, small_run
from torch import nn
from torch.optim.swa_utils import AveragedModel
from torch.utils._python_dispatch import TorchDispatchMode

from analysis.bundle.cnn import CnnModel
from analysis.bundle.facts import TOLERANCE
from spaces.ours.cnn import NETWORKS
from trainables.cnn import memory, precision
from trainables.cnn.images import channel_statistics
from trainables.cnn.memory import ShortageError
from trainables.cnn.models import build
from trainables.cnn.models.blocks import GlobalMaxPool
from trainables.cnn.models.fastnet import FastNet
from trainables.cnn.run import CnnTrial, make_run
from trainables.cnn.steps import augment
from trainables.cnn.steps.optimizer import Average
from trainables.cnn.steps.randomness import RandomState, numbers
from trainables.cnn.training import CHECK_EVERY, CnnRun
from trainables.cnn.use import NetworkUse
from trainables.contract.assignment import TrainingSettings
from trainables.stages.device import has_kernels

NOT_DETERMINISTIC = {
    "adaptive_max_pool2d_backward", "_adaptive_avg_pool2d_backward", "avg_pool3d_backward",
    "max_pool3d_with_indices_backward", "fractional_max_pool2d_backward", "max_unpool2d",
    "reflection_pad2d_backward", "replication_pad2d_backward", "upsample_bilinear2d_backward",
    "_upsample_bilinear2d_aa_backward", "upsample_bicubic2d_backward", "grid_sampler_2d_backward",
    "upsample_nearest2d_backward", "nll_loss2d_forward", "nll_loss2d_backward", "cumsum", "put_",
    "bincount", "histc", "kthvalue", "median", "index_add", "scatter_add", "scatter_reduce",
    "_ctc_loss_backward", "embedding_bag",
}  # fmt: skip
"""Operations that have no deterministic CUDA kernel (torch.use_deterministic_algorithms, and the
alerts in torch's own source).
"""


class Operations(TorchDispatchMode):
    """Counts what torch is asked to do inside of it, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "how",
    [
        {"dtype": "float32"},
        {"dtype": "float16"},  # whose scaler asks whether a step overflowed
        {"dtype": "float16", "optimizer": "adamw"},
    ],
)
def test_a_step_waits_for_its_device_only_to_look_at_the_loss(how: dict[str, Any]) -> None:
    """Each wait leaves a GPU idle for as long as Python needs to ask for more."""
    mixing = {"mixup": 0.3, "cutmix": 0.5, "ema": 0.99, "label_smoothing": 0.1}
    run = small_run(1, batch_size=8, **mixing, **how)
    with Operations() as seen, run.random.use():
        run._train()
    looks = sum(
        number % CHECK_EVERY == 0 or number == run.course.steps[0] - 1
        for number in range(run.course.steps[0])
    )
    assert run.course.steps[0] > CHECK_EVERY
    waits = {"_local_scalar_dense", "is_nonzero", "nonzero", "masked_select", "equal", "item"}
    found = {name: count for name, count in seen.counts.items() if name in waits}
    assert found == {"_local_scalar_dense": looks + 2}  # and accuracy and loss of the epoch


def test_a_step_copies_nothing_to_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each copy waits for all that was asked of a GPU; what the host drew itself lies there."""
    calls: Counter[str] = Counter()
    drawing = [False]

    def counted(name: str) -> Any:
        call = getattr(torch.Tensor, name)

        def counting(self: torch.Tensor, *words: Any, **named: Any) -> Any:
            calls[name] += not drawing[0]
            return call(self, *words, **named)

        return counting

    def drawn(*words: Any) -> list[float]:
        drawing[0] = True
        try:
            return numbers(*words)
        finally:
            drawing[0] = False

    run = small_run(1, batch_size=32, mixup=0.3, cutmix=0.5, ema=0.99, dtype="float16")
    for name in ("cpu", "tolist", "numpy", "nonzero", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(torch.Tensor, name, counted(name))
    monkeypatch.setattr(augment, "numbers", drawn)
    with run.random.use():
        run._train()
    assert not +calls


def test_what_python_decides_by_is_drawn_on_the_host() -> None:
    """On a CPU it is the one generator, so that results stay what they were; elsewhere another."""
    here = RandomState(3, torch.device("cpu"))
    assert here.host is here.generator
    assert set(here.state()) == {"generator", "cpu"}
    there, again = RandomState(3, torch.device("cpu")), RandomState(3, torch.device("cpu"))
    for random, seed in ((there, 9), (again, 1)):  # as on a GPU, whose generator is another
        random.host = torch.Generator().manual_seed(seed)
    assert set(there.state()) == {"generator", "cpu", "host"}
    again.restore(there.state(), 0)
    assert torch.rand(4, generator=again.host).equal(torch.rand(4, generator=there.host))


def test_what_is_drawn_for_python_on_a_device_is_drawn_on_the_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How a batch is mixed would else be waited for, twice a step."""
    made: list[str] = []
    generator = torch.Generator

    def noted(device: Any = "cpu") -> torch.Generator:
        made.append(str(device))
        return generator()

    monkeypatch.setattr(torch, "Generator", noted)
    random = RandomState(3, torch.device("cuda"))
    assert "cuda" in made
    assert random.host is not random.generator
    assert torch.rand(1, generator=random.host).equal(
        torch.rand(1, generator=generator().manual_seed(3))
    )


def test_a_network_of_another_card_may_differ_by_what_is_said() -> None:
    """Other kernels add in another order; on the cores that judged it nothing may differ."""
    use = {"size": 32, "classes": 2, "mean": (0.0,) * 3, "std": (1.0,) * 3, "dtype": "float32",
           "device": "cpu", "threads": 1, "epoch": 1}  # fmt: skip

    def tolerance(**more: Any) -> float:
        own = NetworkUse.model_validate(use | more)
        return float(CnnModel.tolerance.fget(SimpleNamespace(use=own)))  # type: ignore[attr-defined]

    assert tolerance() == 0.0
    assert tolerance(card="NVIDIA L4") == tolerance(device="cuda", card="NVIDIA L4") == TOLERANCE


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


@pytest.mark.parametrize("model", sorted(NETWORKS))
def test_no_network_has_a_step_without_a_deterministic_kernel(model: str) -> None:
    """``deterministic: true`` would end in an error on a GPU, or be broken without a word."""
    net = build(model, 5, 32, {})
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    with Operations() as seen:
        nn.functional.cross_entropy(net(images), labels).backward()
    assert seen.counts["convolution_backward"]  # the backward pass was seen
    assert NOT_DETERMINISTIC & set(seen.counts) == set()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_largest_of_a_channel_is_as_torch_pools_it_gradients_included(
    dtype: torch.dtype,
) -> None:
    """Networks that were trained with torch's own pooling keep their bits, ties included."""
    images = torch.relu(torch.randn(8, 16, 4, 4)).to(dtype).to(memory_format=torch.channels_last)
    found = []
    for pool in (nn.AdaptiveMaxPool2d(1), GlobalMaxPool()):
        own = images.clone().requires_grad_(True)
        out = pool(own)
        (out * torch.arange(16, dtype=dtype)[None, :, None, None]).sum().backward()
        found.append((out, own.grad))
    (out, gradient), (ours, own_gradient) = found
    assert torch.equal(out, ours)
    assert gradient is not None
    assert own_gradient is not None
    assert torch.equal(gradient, own_gradient)


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


@pytest.mark.parametrize(
    ("capability", "kernels", "expected"),
    [
        ((8, 0), ["sm_75", "sm_80", "sm_90"], True),
        ((8, 6), ["sm_80"], True),
        ((8, 0), ["sm_86"], False),
        ((7, 0), ["sm_75", "sm_80"], False),
        ((9, 0), ["sm_80", "sm_86"], False),
        ((12, 1), ["sm_90", "sm_100"], False),
        ((9, 0), ["sm_80", "compute_80"], True),
        ((6, 1), ["sm_70", "compute_70"], False),
        ((12, 0), ["sm_100", "sm_120"], True),
        ((9, 0), ["sm_90a"], True),
        ((8, 0), [], False),
    ],
)
def test_whether_torch_has_kernels_for_a_card_is_told_from_what_it_was_built_for(
    capability: tuple[int, int], kernels: list[str], expected: bool
) -> None:
    """A card that torch has none for fails in the first trial, with a message nobody
    understands.
    """
    assert has_kernels(capability, kernels) is expected


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


def test_batches_are_equal_where_each_size_would_be_compiled_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """After eight sizes torch compiles no more, without a word."""
    monkeypatch.setattr(torch, "compile", lambda net: net)
    sizes: list[int] = []
    learn = CnnRun._learn

    def noted(self: CnnRun, images: Any, *rest: Any, **named: Any) -> Any:
        sizes.append(len(images))
        return learn(self, images, *rest, **named)

    monkeypatch.setattr(CnnRun, "_learn", noted)
    run = small_run(1, compile=True, batch_size=44)
    count = len(run.data.train_labels)
    assert count % run.course.steps[0]
    run.step()
    assert sizes == [count // run.course.steps[0]] * run.course.steps[0]


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


def test_deterministic_is_kept_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A promise that only warns is none; and cuBLAS must hear of it before its first call."""
    asked: list[Any] = []

    def noted(*words: Any, **named: Any) -> None:
        asked.append((words, named))

    monkeypatch.setattr(torch, "use_deterministic_algorithms", noted)
    how = TrainingSettings(1, 32, 1, False, True, 0, "val_accuracy", True)
    make_run(EVERYTHING, few(), how, tuple("0123456789"), seed=0, device="cpu", threads=1)
    assert asked == [((True,), {})]
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
