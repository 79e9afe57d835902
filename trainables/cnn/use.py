"""What a network's weights alone do not say, and within which bounds it makes sense."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

LEAST_STD = 0.5
"""Statistics of 8-bit channels never give less (``trainables.cnn.data`` takes 1 for a constant
one); dividing by 0 gives no class.
"""
Mean = Annotated[float, Field(ge=0, le=255)]
Deviation = Annotated[float, Field(ge=LEAST_STD, le=255)]


class NetworkUse(BaseModel):
    """How the network of a weights file is used.

    Attributes:
        size: side of an image, pixels.
        classes: how many there are.
        mean, std: by which each channel, 0..255, is normalised.
        dtype: in which it was judged.
        device: on which kind it was judged.
        card: the GPU's name, if it was judged on one.
        threads: of the CPU.
        epoch: after which, counted from 1.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Annotated[int, Field(ge=1, le=10_000)]
    classes: Annotated[int, Field(ge=1, le=1_000_000)]
    mean: tuple[Mean, Mean, Mean]
    std: tuple[Deviation, Deviation, Deviation]
    dtype: str
    device: Literal["cpu", "cuda"]
    threads: Annotated[int, Field(ge=1, le=1024)]
    epoch: Annotated[int, Field(ge=0, le=10_000_000)]
    card: Annotated[str, Field(max_length=200)] = ""
