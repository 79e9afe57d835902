"""Checkpoints: killed and resumed is the same as never killed, and what is damaged is refused."""

from __future__ import annotations

import hashlib
import json
import os
import random
import select
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from cnn_run import digits, program_run, small_run
from program import PATIENCE, WITH_SUPPORT
from safetensors.torch import load_file, save_file

from trainables.cnn import weights
from trainables.cnn.checkpoint import CheckpointError, contents
from trainables.cnn.run import CnnTrial
from trainables.cnn.steps.randomness import RandomState
from trainables.cnn.training import CnnRun
from trainables.contract.assignment import TrainingSettings


def plain(run: CnnRun) -> list[dict[str, float]]:
    return [
        {name: value for name, value in metrics.items() if name != "seconds"}
        for metrics in run.history
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"optimizer": "adamw", "ema": 0.0},
        {"model": "densenet", "densenet_depth": 53, "densenet_growth": 4},
    ],
)
def test_saved_and_loaded_after_each_epoch_gives_the_same_bits(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """Optimiser, schedule, averages, order, augmentation and dropout: one forgotten, and the bits
    differ.
    """
    changes = {"batch_size": 128, **changes}
    whole = small_run(3, **changes)
    while not whole.done:
        whole.step()
    whole.save(tmp_path / "whole")
    for epoch in range(3):
        part = small_run(3, **changes)
        if epoch:
            part.load(tmp_path / "part")
        part.step()
        part.save(tmp_path / "part")
    assert plain(part) == plain(whole)
    one, other = (
        next((tmp_path / name).glob("*.safetensors")).read_bytes() for name in ("whole", "part")
    )
    assert one == other
    loaded = small_run(3, **changes)
    loaded.load(tmp_path / "part")
    assert (loaded.predictions() == whole.predictions()).all()


def test_a_checkpoint_holds_tensors_and_json_and_only_the_last(tmp_path: Path) -> None:
    """A pickle runs whatever its maker wanted; and old checkpoints would fill the disk."""
    run = small_run(2)
    run.step()
    run.save(tmp_path)
    run.step()
    run.save(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "state.json",
        "tensors-000002.safetensors",
    ]
    assert {
        key.partition("/")[0] for key in load_file(tmp_path / "tensors-000002.safetensors")
    } == {"model", "ema", "optimizer", "rng"}
    facts = json.loads((tmp_path / "state.json").read_text())
    assert facts["epoch"] == len(facts["history"]) == 2


def test_a_kill_between_the_two_files_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    """state.json names its tensors, so the pair cannot be mixed."""
    run = small_run(3)
    run.step()
    run.save(tmp_path)
    shutil.copytree(tmp_path, tmp_path / "kept")
    run.step()
    run.save(tmp_path / "next")
    shutil.copy(tmp_path / "next" / "tensors-000002.safetensors", tmp_path / "kept")
    (tmp_path / "kept" / ".state.json.1f3a5c7e").write_text('{"epo')
    resumed = small_run(3)
    resumed.load(tmp_path / "kept")
    assert resumed.epoch == 1
    resumed.step()
    assert plain(resumed) == plain(run)
    resumed.save(tmp_path / "kept")
    assert len(list((tmp_path / "kept").iterdir())) == 2


def damage(folder: Path, how: str) -> None:
    state, tensors = folder / "state.json", next(folder.glob("*.safetensors"))
    if how == "no state":
        state.unlink()
    elif how == "no tensors":
        tensors.unlink()
    elif how == "half a state":
        state.write_text(state.read_text()[:100])
    elif how == "half the tensors":
        tensors.write_bytes(tensors.read_bytes()[:1000])
    elif how == "a byte turned":
        content = bytearray(tensors.read_bytes())
        content[-5] ^= 1
        tensors.write_bytes(content)
    elif how in ("tensors elsewhere", "tensors at a path"):
        tensors.rename(folder.parent / "elsewhere.safetensors")
        place = (
            "../elsewhere.safetensors"
            if how == "tensors elsewhere"
            else str(folder.parent / "elsewhere.safetensors")
        )
        state.write_text(json.dumps({**json.loads(state.read_text()), "tensors": place}))
    elif how == "another format":
        state.write_text(json.dumps({**json.loads(state.read_text()), "format": 99}))
    elif how == "no optimiser":
        save_file({k: v for k, v in load_file(tensors).items() if k.startswith("rng")}, tensors)
        state.write_text(
            json.dumps(
                {
                    **json.loads(state.read_text()),
                    "sha256": hashlib.sha256(tensors.read_bytes()).hexdigest(),
                }
            )
        )


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("no state", "no checkpoint here (state.json is missing)"),
        ("no tensors", "no checkpoint here (tensors-000001.safetensors is missing)"),
        ("half a state", "damaged checkpoint"),
        ("half the tensors", "damaged checkpoint"),
        (
            "a byte turned",
            "damaged checkpoint: the SHA-256 of tensors-000001.safetensors is not the one that "
            "was written",
        ),
        ("tensors elsewhere", "no checkpoint here (elsewhere.safetensors is missing)"),
        ("tensors at a path", "no checkpoint here (elsewhere.safetensors is missing)"),
        ("another format", "not a checkpoint of format 1"),
        ("no optimiser", "damaged checkpoint"),
    ],
)
def test_a_damaged_checkpoint_is_refused_in_one_line(tmp_path: Path, how: str, said: str) -> None:
    """Going on from half a state would give a result nobody could repeat."""
    run, folder = small_run(2), tmp_path / "saved"
    run.step()
    run.save(folder)
    damage(folder, how)
    with pytest.raises(CheckpointError) as caught:
        small_run(2).load(folder)
    assert said in str(caught.value)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_checkpoint_of_a_training_on_other_images_is_refused(tmp_path: Path) -> None:
    """An epoch of it was another epoch."""
    small_run(2).save(tmp_path)
    with pytest.raises(CheckpointError, match="train_images is 288, but must be 1149"):
        small_run(2, data=digits()).load(tmp_path)


def test_a_checkpoint_of_a_version_that_wrote_no_digest_is_still_read(tmp_path: Path) -> None:
    """Whoever upgrades in the middle of a search goes on with it."""
    run = small_run(2)
    run.step()
    run.save(tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    assert len(state.pop("sha256")) == 64
    (tmp_path / "state.json").write_text(json.dumps(state))
    resumed = small_run(2)
    resumed.load(tmp_path)
    assert resumed.epoch == 1


def test_a_run_that_goes_on_has_the_number_format_and_the_judgement_of_the_one_before(
    tmp_path: Path,
) -> None:
    """Whoever measures otherwise on another machine must not change it in the middle; nor may what
    was judged before the load stay.
    """
    run = small_run(2, dtype="bfloat16")
    run.step()
    run.save(tmp_path)
    other = small_run(2, dtype="float32")
    other.step()
    other.load(tmp_path)
    assert other.dtype is torch.bfloat16
    assert other.history == run.history
    assert torch.equal(other._val_scores(), run._val_scores())


def test_random_numbers_of_another_kind_of_device_begin_anew_from_seed_and_epoch(
    tmp_path: Path,
) -> None:
    """What a GPU drew means nothing here; from the seed alone, the epochs before would be drawn
    again.
    """
    run = small_run(2)
    run.step()
    run.save(tmp_path)
    (tensors,) = tmp_path.glob("*.safetensors")
    save_file(load_file(tensors) | {"rng/cuda": torch.zeros(16, dtype=torch.uint8)}, tensors)
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(
        json.dumps(state | {"sha256": hashlib.sha256(tensors.read_bytes()).hexdigest()})
    )
    resumed = small_run(2)
    resumed.load(tmp_path)
    expected = RandomState(1 + 1, torch.device("cpu")).state()
    assert {name: value.tolist() for name, value in resumed.random.state().items()} == {
        name: v.tolist() for name, v in expected.items()
    }


@pytest.mark.parametrize(
    ("epochs", "changes", "said"),
    [
        (3, {}, "epochs is 2, but must be 3"),
        (2, {"seed": 5}, "seed is 1, but must be 5"),
        (2, {"momentum": 0.5}, "config is"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(
    tmp_path: Path, epochs: int, changes: dict[str, Any], said: str
) -> None:
    """A schedule laid over other epochs, or another seed, is another run."""
    small_run(2).save(tmp_path)
    with pytest.raises(CheckpointError, match=said):
        small_run(epochs, **changes).load(tmp_path)


def program(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "cnn_run", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=_env(),
    )


def _env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": WITH_SUPPORT, "OMP_NUM_THREADS": "1"}


def killed(folder: Path, delay: float) -> None:
    """Run the program until it has trained for so many seconds, or for an epoch if that is sooner,
    then kill it.
    """
    with program(folder) as victim:
        assert victim.stdout is not None
        assert victim.stdout.readline() == "ready\n"
        select.select([victim.stdout], [], [], delay)
        victim.send_signal(signal.SIGKILL)
        assert victim.wait(PATIENCE) == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize(("kills", "seed"), [(2, 0), (5, 1), (5, 2), (5, 3)])
def test_killed_at_random_moments_is_the_same_as_never_killed(
    tmp_path: Path, kills: int, seed: int
) -> None:
    """Power goes and spot machines vanish at any moment, also while a checkpoint is being
    written.
    """
    whole = program_run()
    while not whole.done:
        whole.step()
    whole.save(tmp_path / "whole")
    draws, epoch_seconds = random.Random(seed), whole.history[-1]["seconds"]
    for _ in range(kills):
        killed(tmp_path / "killed", draws.uniform(0, 2 * epoch_seconds))
    with program(tmp_path / "killed") as last:
        said, _ = last.communicate(timeout=PATIENCE)
        assert last.returncode == 0
    assert said.split()[-1] == "6"
    runs = []
    for name in ("whole", "killed"):
        run = program_run()
        run.load(tmp_path / name)
        runs.append(run)
    assert plain(runs[0]) == plain(runs[1])
    assert runs[1].epoch == 6
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            runs[0].net.state_dict().values(), runs[1].net.state_dict().values(), strict=True
        )
    )
    one, other = (
        next((tmp_path / name).glob("*.safetensors")).read_bytes() for name in ("whole", "killed")
    )
    assert one == other


@pytest.mark.parametrize("changes", [{}, {"optimizer": "adamw"}, {"dtype": "float16"}])
def test_a_copy_that_is_written_beside_the_next_epoch_has_nothing_of_it(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    """On a CPU a tensor that is not copied is the one that is trained on."""
    run = small_run(3, **changes)
    run.step()
    run.save(tmp_path / "before")
    copy = run.snapshot()
    run.step()
    found = contents(copy)
    expected = {path.name: path.read_bytes() for path in (tmp_path / "before").iterdir()}
    assert list(found) == ["tensors-000001.safetensors", "state.json"], "what is the one, last"
    assert found == expected


def test_the_best_weights_are_written_with_a_checkpoint_that_counts_on_them(
    tmp_path: Path,
) -> None:
    """Not each time they are better; but a trial that goes on must find them, and never older ones
    than it knows of.
    """
    trial = CnnTrial.__new__(CnnTrial)
    trial._run, trial._folder = small_run(3), str(tmp_path / "weights")
    trial._settings = TrainingSettings(3, 32, 1, False, False, 0.0, "train_loss", False)
    trial._best = trial._written = None
    trial._begins, trial._until, trial._changes = 0, 3, False
    trial._writing, trial._model_mb = threading.Lock(), 1.0
    best = tmp_path / "weights" / "best.safetensors"
    trial.step()
    assert not best.exists()
    files = trial.snapshot()
    trial.step()  # better, as every epoch is
    assert trial._run.history[1]["train_loss"] < trial._run.history[0]["train_loss"]
    assert not best.exists()
    later = trial.snapshot()
    assert list(files()) == ["tensors-000001.safetensors", "state.json", "manifest.json"]
    assert weights.read(best)[1].epoch == 2
    assert json.loads(files()["manifest.json"])["step"] == 1
    assert weights.read(best)[1].epoch == 2
    written = best.stat().st_mtime_ns
    later()
    assert best.stat().st_mtime_ns == written, "it is there already"
    assert trial.step()["done"]
    assert weights.read(best)[1].epoch == 3
