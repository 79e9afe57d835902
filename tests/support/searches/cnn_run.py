"""A small training for tests; as a program it saves every epoch and goes on from what is saved,
until it is killed or done.

PYTHONPATH=. python tests/support/searches/cnn_run.py FOLDER
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from spaces.ours.cnn import CnnConfig
from trainables.cnn.data import CnnData
from trainables.cnn.training import CnnRun
from trainables.data import ReadOptions, read_dataset

EVERYTHING = CnnConfig(
    width=0.125,
    dropout_place="both",
    dropout=0.1,
    rotation=10.0,
    crop=2,
    cutout=8,
    jitter=0.2,
    mixup=0.2,
    cutmix=0.5,
    test_shift=1,
    batch_size=64,
    learning_rate=0.2,
    flip=0.1,
)
"""Every part that draws random numbers or keeps a state."""
VGG16 = 138_365_992 - 4096 * (25_088 - 512) - 4097 * 990
"""Parameters of VGG-16 with batch norm: those published for 224 pixels and 1000 classes, less what
32 pixels and 10 classes save.
"""


@cache
def digits() -> CnnData:
    """1,149 training and 288 validation images, which nobody can write into."""
    data = CnnData.from_dataset(read_dataset("digits", ReadOptions(color="rgb", hold_out=0.2)))
    assert data.val_images is not None
    for images in (data.train_images, data.val_images):
        images.flags.writeable = False
    return data


@cache
def few() -> CnnData:
    """288 and 96 of them: five batches an epoch, for what does not ask how well it learns."""
    whole = digits()
    assert whole.val_images is not None
    assert whole.val_labels is not None
    return CnnData(
        whole.train_images[::4],
        whole.train_labels[::4],
        whole.val_images[::3],
        whole.val_labels[::3],
    )


def small_run(
    epochs: int = 3,
    *,
    data: CnnData | None = None,
    seed: int = 1,
    device: str = "cpu",
    **changes: Any,
) -> CnnRun:
    """A run of ``EVERYTHING`` with ``changes``, on ``few`` images unless there are others."""
    options = {
        name: changes.pop(name)
        for name in ("max_model_mb", "compile", "dtype", "threads", "shares")
        if name in changes
    }
    config = replace(EVERYTHING, **changes)
    return CnnRun(
        config,
        data or few(),
        classes=10,
        epochs=epochs,
        seed=seed,
        device=device,
        **({"threads": 1} | options),
    )


def program_run() -> CnnRun:
    """What the program trains; its number format is fixed, or each process would measure which to
    take.
    """
    return small_run(6, dtype="float32")


def main() -> None:
    folder = Path(sys.argv[1])
    run = program_run()
    if (folder / "state.json").exists():
        run.load(folder)
    print("ready", flush=True)
    while not run.done:
        run.step()
        run.save(folder)
        print(run.epoch, flush=True)


if __name__ == "__main__":
    main()
