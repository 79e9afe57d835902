"""What a plan says of a population: networks that are trained at once, of which the worst take over
from the best after every few epochs and go on with other values.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

GENERATIONS = 10
"""About so many, unless the plan says how long each is."""
ONLY_FIRST = (
    "in a population a trial goes on from another, and one that failed is replaced by one of the "
    "best; only members of the first generation can be asked for, before they have begun"
)


class Population(BaseModel):
    """A population of one space.

    Attributes:
        method: who changes values: ``pbt`` (Jaderberg et al., 2017) multiplies them or draws them
            anew; ``pb2`` (Parker-Holder et al., 2020) asks a Gaussian process.
        members: trials of each generation.
        interval: epochs of a generation; if None, as many as make about ten generations.
        quantile: share of the members, of the worst and of the best, that take over and are taken
            over.
        change: parameters that may change; all that a training reads anew if empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    method: Literal["pbt", "pb2"] = "pbt"
    members: Annotated[int, Field(ge=2, le=1000)] = 8
    interval: Annotated[int, Field(ge=1, le=100_000)] | None = None
    quantile: Annotated[float, Field(gt=0, le=0.5)] = 0.25
    change: tuple[str, ...] = ()

    @field_validator("change", mode="before")
    @classmethod
    def _one_or_more(cls, names: object) -> object:
        return (names,) if isinstance(names, str) else names

    def every(self, steps: int) -> int:
        """Steps of a generation, of a training of ``steps`` in all."""
        if self.interval:
            return self.interval
        divisors = (n for n in range(1, steps + 1) if steps % n == 0)
        return min(divisors, key=lambda n: abs(math.log(n * GENERATIONS / steps)))

    def trials(self, steps: int, said: int | None) -> int:
        """How many trials it is.

        Args:
            said: how many the plan says, if it does.

        Raises:
            ValueError: if that is another number.
        """
        generations = self.generations(steps)
        trials = self.members * generations
        if said not in (None, trials):
            raise ValueError(
                f"{self.members} members and {generations} generations are {trials} trials, but "
                f"trials is {said}: leave it out; training.epochs and population say how long a "
                "population goes on"
            )
        return trials

    def said(self, steps: int) -> str:
        """What comes of it, in words."""
        return (
            f"{self.method}: {self.members} members, {self.generations(steps)} generations of "
            f"{self.every(steps)} epochs"
        )

    def generations(self, steps: int) -> int:
        """How many there are."""
        return max(1, steps // self.every(steps))
