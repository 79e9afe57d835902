"""The end of a search ends what Ray has started, and nothing else that the calling Python has."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import Any

import pytest
from program import PATIENCE, ROOT, gone

from search.cluster.marked import Marked

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
BEFORE = """
import json, os, subprocess, sys
from search.cluster.start import local_cluster

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
"""
CALLED = (
    BEFORE
    + """
earlier = subprocess.Popen(SLEEP)
with local_cluster(1) as ray:
    from joblib.externals.loky import get_reusable_executor

    worker = get_reusable_executor(1, timeout=900).submit(os.getpid).result()
    mine = subprocess.Popen(SLEEP, start_new_session=True)

    @ray.remote
    def begin():  # as a trial's own helpers, without the environment
        return os.getpid(), subprocess.Popen(SLEEP, env={}, start_new_session=True).pid

    rays = ray.get(begin.remote())
ended = [process.poll() is None for process in (earlier, mine)]
there = get_reusable_executor(1, timeout=900).submit(os.getpid).result() == worker
print(json.dumps([ended, there, rays]))
for process in (earlier, mine):
    process.kill()
get_reusable_executor().shutdown(kill_workers=True)
"""
)
LOST = (
    BEFORE
    + """
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
mine = subprocess.Popen(SLEEP, **quiet)
with local_cluster(1) as ray:
    later = subprocess.Popen(SLEEP, **quiet)
    (raylet,) = [p for p in __import__("psutil").Process().children() if p.name() == "raylet"]
    print(json.dumps([mine.pid, later.pid, raylet.pid]), file=sys.__stdout__, flush=True)
    raylet.kill()
    __import__("time").sleep(600)
"""
)


def said(script: str, status: int) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


def test_what_has_the_mark_and_what_it_started_is_ended_and_nothing_else() -> None:
    """Processes of the same Python are told by nothing else: not by when they began."""
    marked = Marked()
    more = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], env={}); print(p.pid); "
    words = [sys.executable, "-c", more + "sys.stdout.flush(); p.wait()", *SLEEP]
    with (
        subprocess.Popen(SLEEP) as mine,
        subprocess.Popen(
            words, env={**os.environ, **marked.mark}, stdout=subprocess.PIPE, text=True
        ) as of_ray,
    ):
        assert of_ray.stdout is not None
        below = int(of_ray.stdout.readline())
        marked.end()
        assert gone(of_ray.pid)
        assert gone(below)
        assert mine.poll() is None
        mine.kill()


def test_a_search_called_from_python_leaves_that_python_s_own_processes_alone() -> None:
    """A notebook has workers of joblib and servers of its own, begun before and meanwhile."""
    alive, same_worker, rays = said(CALLED, 0)
    assert alive == [True, True]
    assert same_worker
    assert all(map(gone, rays)), "Ray's own are ended, with whatever they began"


@pytest.mark.slow
def test_processes_of_others_outlive_a_head_of_ray_s_that_is_lost() -> None:
    """The program ends then at once, and takes no more with it than an end by itself would."""
    *others, raylet = said(LOST, 1)
    try:
        assert not any(map(gone, others))
        assert gone(raylet)
    finally:
        for pid in others:
            os.kill(pid, signal.SIGKILL)
