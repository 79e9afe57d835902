"""A run's state in a folder: tensors as safetensors, the rest as JSON, nothing that could be
executed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from spaces.errors import UserError
from trainables.io.files import read_json, write_whole

FORMAT = 1
STATE = "state.json"


class CheckpointError(UserError):
    """A checkpoint that is missing, damaged or of something else."""


@dataclass(frozen=True)
class Checkpoint:
    """Everything a run needs to go on.

    Attributes:
        tensors: by part (``model``, ``ema``, ``optimizer``, ``rng``) and name, on the CPU.
        facts: JSON data: config, epoch, history and the like.
    """

    tensors: dict[str, dict[str, Tensor]]
    facts: dict[str, Any]


def contents(checkpoint: Checkpoint) -> dict[str, bytes]:
    """The files of ``checkpoint`` by name, in the order in which they are to be written."""
    flat = {
        f"{part}/{name}": tensor.contiguous()
        for part, named in checkpoint.tensors.items()
        for name, tensor in named.items()
    }
    name = f"tensors-{checkpoint.facts['epoch']:06d}.safetensors"
    content = save(flat)
    own = {"format": FORMAT, "tensors": name, "sha256": hashlib.sha256(content).hexdigest()}
    return {name: content, STATE: json.dumps(own | checkpoint.facts, indent=1).encode()}


def write(checkpoint: Checkpoint, folder: Path) -> None:
    """Put ``checkpoint`` into ``folder``, in place of one that is there; whole, whenever the
    process dies.
    """
    files = contents(checkpoint)
    for name, content in files.items():  # from the last on this checkpoint is the one
        write_whole(folder / name, content)
    for old in (*folder.glob("tensors-*"), *folder.glob(".tensors-*"), *folder.glob(f".{STATE}.*")):
        if old.name not in files:
            old.unlink(missing_ok=True)


def read(folder: Path) -> Checkpoint:
    """The checkpoint in ``folder``.

    Raises:
        CheckpointError: if there is none, or it cannot be read.
    """
    try:
        facts = read_json(folder / STATE)
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            raise CheckpointError(
                f"{folder}: not a checkpoint of format {FORMAT}; start the trial anew"
            )
        tensors_file = folder / Path(str(facts["tensors"])).name
        if not tensors_file.is_file():
            raise CheckpointError(f"{folder}: no checkpoint here ({tensors_file.name} is missing)")
        content = tensors_file.read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if facts.get("sha256", digest) != digest:  # an earlier version wrote none
            raise CheckpointError(
                f"{folder}: damaged checkpoint: the SHA-256 of {tensors_file.name} is not the "
                "one that was written"
            )
        flat = load(content)
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder}: no checkpoint here ({STATE} is missing)") from error
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise (
            error
            if isinstance(error, CheckpointError)
            else CheckpointError(f"{folder}: damaged checkpoint: {error}")
        ) from error
    tensors: dict[str, dict[str, Tensor]] = {}
    for key, tensor in flat.items():
        part, _, name = key.partition("/")
        tensors.setdefault(part, {})[name] = tensor
    return Checkpoint(tensors, facts)


def check_same(
    found: Checkpoint, identity: Mapping[str, Any], folder: Path, anew: Sequence[str]
) -> None:
    """Refuse a checkpoint of another run.

    Args:
        identity: of this run.
        folder: of the checkpoint, as it is named in an error.
        anew: parameters that may have had other values.

    Raises:
        CheckpointError: saying what differs.
    """
    for name, value in identity.items():
        said = found.facts.get(name)
        if name == "config" and isinstance(said, dict):
            said = value | said  # an earlier version had fewer parameters
            said |= {parameter: value[parameter] for parameter in anew if parameter in value}
        if said != value:
            raise CheckpointError(
                f"{folder}: checkpoint of another run: {name} is {found.facts.get(name)}, "
                f"but must be {value}"
            )
