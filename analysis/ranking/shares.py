"""What trials gave each class of each validation image, as far as that was kept."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.run.directory import RunDirectory
from analysis.run.notes import note
from analysis.run.records import TrialRecord
from analysis.run.trial_files import SHARES
from spaces.errors import on_one_line
from trainables.io.files import read_npy, sha256

Float32 = npt.NDArray[np.float32]


def shares_of(run: RunDirectory, record: TrialRecord, images: int, classes: int) -> Float32 | None:
    """(images, classes) float32, which sum to 1 a row; None if they were not kept, or are not as
    they were written, which is noted.
    """
    if not (digest := record.digests.get(SHARES)):
        return None
    path = run.trial(record.space, record.number) / SHARES
    try:
        if sha256(path) != digest:
            raise ValueError(f"{path}: not what was recorded (its SHA-256 is another)")
        found = read_npy(path)
        if found.shape != (images, classes) or found.dtype.kind != "f":
            raise ValueError(f"{path}: must hold ({images:,}, {classes:,}) shares")
        if not (np.isfinite(found).all() and found.min() >= 0 and found.sum(axis=1).min() > 0):
            raise ValueError(f"{path}: shares must be finite numbers that are not below 0")
    except (OSError, ValueError) as error:
        why = f"{path}: {error.strerror}" if isinstance(error, OSError) else on_one_line(error)
        note(f"{why}; trial {record.key} is left out of what needs it")
        return None
    shares = found.astype(np.float32)
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), np.float32)
