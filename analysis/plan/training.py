"""How networks are trained, as far as a plan says it: settings that every configuration shares."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from trainables.data.options import MIN_SIZE

MAX_SIZE = 512
"""Pixels."""


class Training(BaseModel):
    """How the trials of a space that trains networks do so.

    Attributes:
        epochs: passes over the training images, each a step that a pruner may judge.
        image_size: side that images are resized to, pixels; if None, what fits those there are.
        cpus_per_trial: cores, and so threads, that a trial gets.
        compile: use ``torch.compile``: half a minute of compiling a trial for faster steps on a
            GPU.
        deterministic: let CUDA use slower kernels that give the same bits each time; a network that
            has none such fails.
        precision: number format of convolutions and products: ``bfloat16``, ``float16`` (with
            scaled losses) or ``float32``; ``auto`` lets the search find the fastest, once for all
            of its trials.
        accumulate: most parts that a batch may be cut into, whose gradients are added up, where a
            GPU has too little memory for all of it; batch statistics are then of fewer images. 1
            never cuts.
        patience: a training ends after so many epochs in a row that were no better than the best,
            and its figures and weights are those of the best epoch; 0 for never.
        start_from: an exported bundle whose network every trial starts from, instead of random
            weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: Annotated[int, Field(ge=1, le=100_000)] = 20
    image_size: Annotated[int, Field(ge=MIN_SIZE, le=MAX_SIZE)] | None = None
    cpus_per_trial: Annotated[int, Field(ge=1, le=1024)] = 1
    compile: bool = False
    deterministic: bool = False
    precision: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    accumulate: Annotated[int, Field(ge=1, le=64)] = 1
    patience: Annotated[int, Field(ge=0, le=100_000)] = 0
    start_from: str = ""

    @property
    def side(self) -> int:
        """Side of the images that networks see, pixels; the least where nobody has decided yet."""
        return self.image_size or MIN_SIZE

    @field_validator("start_from")
    @classmethod
    def _absolute(cls, place: str) -> str:
        return str(Path(place).expanduser().absolute()) if place else ""
