"""Searches typed in this process, on one Ray that all of them share: what each costs more as a
program of its own is seconds of imports and of Ray's start.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import ray
from program import PATIENCE, environment_kept, only_line, typed
from ray.util import list_named_actors

from search.cluster.capacity import NETWORK_CORES
from search.cluster.start import local_cluster
from search.driver import runner


class OneRay:
    """Types what starts Ray otherwise."""

    def typed(self, *words: object) -> subprocess.CompletedProcess[str]:
        """``visiontune WORDS``, with warnings as a program has them: not as errors."""
        _cleared()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return typed(*words)

    def output(self, *words: object) -> Any:
        """What ``visiontune WORDS --json`` prints, which must succeed."""
        done = self.typed(*words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refusal(self, *words: object) -> str:
        """The one line that ``visiontune WORDS`` refuses with; its status must be 2."""
        return only_line(self.typed(*words))


@contextlib.contextmanager
def shared_ray() -> Iterator[OneRay]:
    """Ray for the time of the block, which every search typed in this process uses."""
    cores, printed = len(os.sched_getaffinity(0)), sys.stdout

    @contextlib.contextmanager
    def joined(*given: object) -> Iterator[Any]:
        with contextlib.redirect_stdout(sys.stderr):  # as a Ray of its own has it
            yield shared

    with (
        environment_kept(),
        local_cluster(cores, resources={NETWORK_CORES: cores}) as shared,
        contextlib.redirect_stdout(printed),
        pytest.MonkeyPatch.context() as patched,
    ):
        patched.setattr(runner, "local_cluster", joined)
        yield OneRay()


def _cleared() -> None:
    """No process of the search before is left, whose name the next one wants: where a search is
    refused late, its Ray would end, but this one goes on.
    """
    end = time.monotonic() + PATIENCE
    while left := list_named_actors(all_namespaces=True):
        assert time.monotonic() < end, left
        for actor in left:
            with contextlib.suppress(ValueError):  # it has ended meanwhile
                ray.kill(ray.get_actor(actor["name"], actor["namespace"]))
        time.sleep(0.1)
