"""What a plan says of the trials that are run again with other seeds."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Replicate(BaseModel):
    """What is run again when a search has ended.

    Attributes:
        top: how many of the best trials.
        seeds: with how many other seeds each: of the vocabulary, or of the training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    top: Annotated[int, Field(ge=1, le=1000)]
    seeds: Annotated[int, Field(ge=1, le=1000)] = 3
