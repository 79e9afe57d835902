"""A run's own random numbers: no other run in the process changes them, nor do they change
another's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class RandomState:
    """Generators for order and augmentation, and the global states that dropout draws from.

    ``generator`` draws on the device; ``host`` draws what Python decides by (how a batch is mixed),
    which would have to be waited for there. On a CPU they are one.

    Args:
        seed: of both, and of what a network's initial weights are drawn from inside the first
            ``use``.
        device: whose numbers augmentation needs.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self._device = device
        self._seed(seed)

    def _seed(self, seed: int) -> None:
        self.generator = torch.Generator(self._device).manual_seed(seed)
        self.host = self.generator
        if self._device.type != "cpu":
            self.host = torch.Generator().manual_seed(seed)
        self._states = {"cpu": torch.Generator().manual_seed(seed).get_state()}
        if self._device.type == "cuda":
            self._states["cuda"] = torch.Generator(self._device).manual_seed(seed).get_state()

    @contextmanager
    def use(self) -> Iterator[None]:
        """Global random numbers are this run's inside, and what they were before outside."""
        cuda = self._device.type == "cuda"
        with torch.random.fork_rng(devices=[self._device] if cuda else []):
            torch.set_rng_state(self._states["cpu"])
            if cuda:
                torch.cuda.set_rng_state(self._states["cuda"], self._device)
            yield
            self._states["cpu"] = torch.get_rng_state()
            if cuda:
                self._states["cuda"] = torch.cuda.get_rng_state(self._device)

    def state(self) -> dict[str, Tensor]:
        """uint8 tensors that ``restore`` takes."""
        own = {} if self.host is self.generator else {"host": self.host.get_state()}
        return {"generator": self.generator.get_state(), **own, **self._states}

    def restore(self, state: dict[str, Tensor], seed: int) -> None:
        """Go on from ``state``; from ``seed`` where it comes from another kind of device, whose
        numbers differ.
        """
        if set(state) != set(self.state()):
            self._seed(seed)
            return
        self.generator.set_state(state["generator"])
        if self.host is not self.generator:
            self.host.set_state(state["host"])
        self._states = {name: state[name] for name in self._states}


def numbers(count: int, generator: torch.Generator, power: float = 1.0) -> list[float]:
    """``count`` numbers in 0..1, evenly drawn in float32 on the host, then raised to ``power``."""
    drawn: list[float] = (torch.rand(count, generator=generator).double() ** power).tolist()
    return drawn
