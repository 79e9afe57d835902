"""Ctrl-C is heard and obeyed, whatever the program is in the midst of."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
from program import PATIENCE, ROOT, gone

from search.screen.signals import AGAIN_AFTER, StopSignals, stop_signals

STUCK = """
import ctypes, signal, subprocess
from search.screen.signals import ended_in_time
signal.signal(signal.SIGINT, lambda *rest: None)  # where it comes before the lock, too
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
with ended_in_time(0.5) as begun:
    child = subprocess.Popen(["sleep", "600"], start_new_session=True, **quiet)
    print(child.pid, flush=True)
    lock, python = ctypes.create_string_buffer(64), ctypes.PyDLL(None)  # which keeps Python's lock
    python.pthread_mutex_lock(lock)
    python.pthread_mutex_lock(lock)  # for ever
"""
DROPPED = """
import time
from search.cli import run_to_end
class Freed:
    def __del__(self):
        print("ready", flush=True)
        end = time.monotonic() + 600
        while time.monotonic() < end:
            time.sleep(0.01)
def work():
    Freed()
    time.sleep(600)
run_to_end(work)
"""
GOES_ON = """
import signal, time
from search.screen.signals import ended_in_time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
with ended_in_time(0.5) as begun:
    try:
        print("ready", flush=True)
        time.sleep(600)
    except KeyboardInterrupt:
        pass
    begun()
time.sleep(2)
"""


def pressed(code: str) -> tuple[subprocess.Popen[str], str, str]:
    """A program that was interrupted once it had said something: itself, that, and the rest."""
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE / 4)
    return process, first, errors


def test_a_program_that_hears_no_signal_is_ended_with_all_that_it_started() -> None:
    """Ray waits for its own processes in calls within which Python hears nothing; who pressed
    Ctrl-C waited for minutes.
    """
    process, child, errors = pressed(STUCK)
    assert process.returncode == -signal.SIGKILL
    assert errors == "visiontune: interrupted\n"
    until = time.monotonic() + PATIENCE / 4  # it was told to end, and a busy machine takes its time
    while not gone(int(child)):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_program_that_goes_on_on_purpose_is_not_ended() -> None:
    """What was interrupted may be over, and the rest of the program not."""
    process, _, errors = pressed(GOES_ON)
    assert (process.returncode, errors) == (0, "")


def test_an_interruption_that_python_drops_comes_again() -> None:
    """Within a callback, such as the one after each import, Python prints what is raised and goes
    on: a search went on for minutes, deaf, and a lock of an import was never opened again.
    """
    process, _, errors = pressed(DROPPED)
    assert (process.returncode, errors) == (1, "visiontune: interrupted\n")


def test_an_interruption_that_somebody_caught_is_not_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Code that is not ours catches everything here and there; a search that begins in spite of
    Ctrl-C is one that nobody wants.
    """
    monkeypatch.setattr(StopSignals, "interrupted", -AGAIN_AFTER)
    with stop_signals(lambda name: None) as signals:
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(PATIENCE)
        assert StopSignals.interrupted > 0
        with pytest.raises(KeyboardInterrupt):
            signals.make()
