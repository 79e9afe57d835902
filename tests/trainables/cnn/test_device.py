"""What training asks of its device, held where there is no GPU: no wait in a step, kernels that are
deterministic, and kernels that are there for a card.
"""

from __future__ import annotations

import os
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from cnn_run import EVERYTHING, few, small_run
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from analysis.bundle.cnn import CnnModel
from analysis.bundle.facts import TOLERANCE
from spaces.ours.cnn import NETWORKS
from trainables.cnn.models import build
from trainables.cnn.models.blocks import GlobalMaxPool
from trainables.cnn.run import make_run
from trainables.cnn.steps import augment
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
