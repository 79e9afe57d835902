"""A run's own random numbers: no other run in the process changes them, nor do they change
another's.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class RandomState:
    """A generator for order and augmentation, and the global states that dropout draws from.

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
        return {"generator": self.generator.get_state(), **self._states}

    def restore(self, state: dict[str, Tensor], seed: int) -> None:
        """Go on from ``state``; from ``seed`` where it comes from another kind of device, whose
        numbers differ.
        """
        if set(state) != set(self.state()):
            self._seed(seed)
            return
        self.generator.set_state(state["generator"])
        self._states = {name: value for name, value in state.items() if name != "generator"}
