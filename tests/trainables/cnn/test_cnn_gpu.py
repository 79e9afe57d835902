"""The same training on CUDA; skipped, saying so, where there is none."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from cnn_run import digits, small_run
from cnn_search import arguments
from program import output, visiontune

from analysis.run.directory import RunDirectory

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="no CUDA device here: the CUDA path was not tested"
    ),
]


def test_images_stay_on_the_device_and_products_are_in_bfloat16() -> None:
    """Copying each batch would cost more than training on it."""
    run = small_run(2, device="cuda", dtype="bfloat16")
    assert run.data.train_images.device.type == "cuda"
    assert run.data.train_images.dtype is torch.uint8
    with run._autocast():
        assert run.net(run.data.normalise(run.data.train_images[:8])).dtype is torch.bfloat16
    found = run.step()
    expected = small_run(2).data
    assert torch.equal(run.data.train_images.cpu(), expected.train_images)
    assert expected.val_labels is not None
    assert len(run.predictions()) == len(expected.val_labels)
    assert found["val_accuracy"] == pytest.approx(
        (run.predictions() == expected.val_labels.numpy()).mean()
    )


def test_it_learns_as_on_the_cpu() -> None:
    """One code path: the device must not matter to what comes out, beyond rounding."""
    calm = {
        "mixup": 0.0,
        "cutmix": 0.0,
        "jitter": 0.0,
        "cutout": 0,
        "dropout_place": "none",
        "dropout": 0.0,
        "flip": 0.0,
        "test_flip": False,
    }
    found = []
    for device in ("cpu", "cuda"):
        run = small_run(6, device=device, data=digits(), **calm)
        while not run.done:
            metrics = run.step()
        found.append(metrics["val_accuracy"])
    assert min(found) > 0.9


def test_a_resumed_run_ends_as_one_that_was_not(tmp_path: Path) -> None:
    """Kernels on CUDA may add in another order, so within a tolerance unless told to be
    deterministic.
    """
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        whole = small_run(2, device="cuda", rotation=0.0)
        whole.step()
        whole.save(tmp_path)
        whole.step()
        part = small_run(2, device="cuda", rotation=0.0)
        part.load(tmp_path)
        part.step()
    finally:
        torch.use_deterministic_algorithms(False)
    assert part.history[-1]["train_loss"] == pytest.approx(
        whole.history[-1]["train_loss"], rel=1e-3
    )


def test_a_checkpoint_goes_on_on_another_device(tmp_path: Path) -> None:
    """A trial may be resumed where there is no GPU; its random numbers then begin anew from its
    seed.
    """
    run = small_run(2, device="cuda")
    run.step()
    run.save(tmp_path)
    other = small_run(2)
    other.load(tmp_path)
    assert other.step()["epoch"] == 2


def test_a_compiled_network_learns_too() -> None:
    """torch.compile is optional and must not change what is trained."""
    run = small_run(2, device="cuda", data=digits(), compile=True, rotation=0.0)
    first = run.step()
    assert run.step()["train_loss"] < first["train_loss"]


def test_out_of_memory_names_the_device() -> None:
    """The line must say which of several devices was too small."""
    torch.cuda.set_per_process_memory_fraction(0.001)
    try:
        with pytest.raises(RuntimeError, match=r"out of memory on cuda with batch size 1149"):
            small_run(1, device="cuda", data=digits(), width=4.0, batch_size=1149).step()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_two_networks_share_a_gpu(tmp_path: Path) -> None:
    """Small networks leave most of a GPU idle: by halves, two are trained at once, on the GPU."""
    done = visiontune(
        *arguments(tmp_path, "half", 4, 3, "--gpus-per-trial", 0.5, "--concurrency", 2)
    )
    assert done.returncode == 0, done.stderr
    folder = RunDirectory(tmp_path / "half")
    records = sorted(folder.records(), key=lambda record: record.started)
    assert [record.state for record in records] == ["COMPLETE"] * 4
    assert all("on cuda in" in folder.text("cnn", record.number, "log.txt") for record in records)
    assert any(
        after.started < before.started + before.seconds for before, after in pairwise(records)
    )
    assert all(record.gpu_seconds == pytest.approx(record.seconds / 2) for record in records)
    output("export", "half", "--out", tmp_path / "bundle", "--runs-dir", tmp_path)


def test_a_deterministic_run_resumes_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ResNet-18 has no layer without a deterministic kernel; its result must not depend on having
    been interrupted.
    """
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    try:
        whole = small_run(2, device="cuda", model="resnet18")
        whole.step()
        whole.save(tmp_path)
        part = small_run(2, device="cuda", model="resnet18")
        part.load(tmp_path)
        assert whole.step()["train_loss"] == part.step()["train_loss"]
    finally:
        torch.use_deterministic_algorithms(False)
    assert all(
        torch.equal(tensor, part.net.state_dict()[name])
        for name, tensor in whole.net.state_dict().items()
    )
