"""A search in a real terminal: it outlives the terminal, and Ctrl-C ends it without a word too
many.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from program import ROOT, command, free_port, output, visiontune

from analysis.run.directory import RunDirectory

SEARCH = (
    "--space",
    "toy",
    "--set",
    "steps=1",
    "--set",
    "fault=none",
    "--concurrency",
    2,
    "--name",
    "one",
)
TRIALS = 6


class Terminal:
    """A program in a terminal of its own, as its session's leader."""

    def __init__(self, *arguments: object) -> None:
        self.master, slave = pty.openpty()
        self.shown = b""
        self.process = subprocess.Popen(
            command(*arguments), stdin=slave, stdout=slave, stderr=slave, cwd=ROOT,
            start_new_session=True,
            preexec_fn=lambda: _control(0),
        )  # fmt: skip
        os.close(slave)
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while not self._closing.is_set():
                if select.select([self.master], [], [], 0.05)[0]:
                    self.shown += os.read(self.master, 65536)

    def read_on(self) -> None:
        """Until nobody is left who could write."""
        self._reader.join(10)

    def press(self, key: bytes) -> None:
        os.write(self.master, key)

    def close(self) -> None:
        """Close the terminal, as a dropped connection or a closed window does."""
        self._closing.set()
        self._reader.join()
        with contextlib.suppress(OSError):
            os.close(self.master)

    def end(self, patience: float = 200) -> int:
        return self.process.wait(patience)


def _control(number: int) -> None:
    fcntl.ioctl(number, termios.TIOCSCTTY, 0)


@contextmanager
def terminal(*arguments: object) -> Iterator[Terminal]:
    opened = Terminal(*arguments)
    try:
        yield opened
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in (
                *psutil.Process(opened.process.pid).children(recursive=True),
                opened.process,
            ):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        opened.process.wait(30)
        opened.read_on()
        opened.close()


def wait_for(what: Callable[[], bool], patience: float = 200) -> None:
    end = time.monotonic() + patience
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def results(runs: Path) -> int:
    return len(list(runs.glob("one/trials/*/*/result.json")))


def test_a_search_whose_terminal_is_closed_goes_on_to_its_end(tmp_path: Path) -> None:
    """A dropped connection at night must not cost the search: neither its signal nor output that
    goes nowhere may end it or Ray.
    """
    with terminal(
        "run", *SEARCH, "--set", "pause=0.5", "--trials", 12, "--runs-dir", tmp_path
    ) as opened:
        wait_for(lambda: results(tmp_path) >= 2)
        opened.close()
        assert opened.end() == 0
    status = output("status", "one", "--runs-dir", tmp_path)
    assert (status["state"], status["trials"]["COMPLETE"]) == ("finished", 12)
    assert (tmp_path / "one" / "report" / "report.html").is_file()


MOMENTS = {
    "ray starts": lambda runs, shown: b"starting Ray" in shown,
    "made": lambda runs, shown: (runs / "one" / "plan.yaml").exists(),
    "trials run": lambda runs, shown: results(runs) >= 2,
    "last trial": lambda runs, shown: results(runs) >= TRIALS,
    "report": lambda runs, shown: (runs / "one" / "report").exists(),
}
"""When Ctrl-C is pressed; besides, so many seconds after the command was typed."""
DELAYS = (0.0, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0)


@pytest.mark.parametrize(
    "moment",
    [
        "ray starts",
        "trials run",
        *(
            pytest.param(moment, marks=pytest.mark.slow)
            for moment in (*MOMENTS, *DELAYS)
            if moment not in ("ray starts", "trials run")
        ),
    ],
)
def test_ctrl_c_four_times_is_answered_in_words_whenever_it_comes(
    moment: str | float, tmp_path: Path
) -> None:
    """Who wants out presses until it is over; what runs then must still be left in order, and
    resumed to the same end.
    """
    with terminal(
        "run", *SEARCH, "--set", "pause=0.2", "--trials", TRIALS, "--runs-dir", tmp_path
    ) as opened:
        if isinstance(moment, str):
            wait_for(lambda: MOMENTS[moment](tmp_path, opened.shown))
        else:
            # Python itself starts: that has no say yet
            wait_for(lambda: psutil.Process(opened.process.pid).cpu_times().user > 0.04)
            time.sleep(moment)
        for _ in range(4):
            opened.press(b"\x03")
            time.sleep(0.1)
        status = opened.end()
        left = of_ray(opened)
    shown = opened.shown.decode()
    assert "Traceback" not in shown, shown
    assert "Exception" not in shown, shown
    # the last on a machine so busy that its own end would take too long
    assert status in (0, 1, -signal.SIGKILL), shown
    assert not left, "no process of Ray's is left"
    if not (tmp_path / "one" / "plan.yaml").exists():
        assert not list(tmp_path.glob("one*")), "nothing is left behind"
        return
    state = RunDirectory(tmp_path / "one").state().state
    assert state in ("stopped", "finished"), state
    done = visiontune("resume", "one", "--runs-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert output("status", "one", "--runs-dir", tmp_path)["trials"]["COMPLETE"] == TRIALS


def of_ray(opened: Terminal) -> list[str]:
    """Command lines of processes that serve the Ray of a program."""
    words = [
        " ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])
    ]
    return [line for line in words if f"_{opened.process.pid}/" in line]


@pytest.mark.parametrize(
    ("name", "after"),
    [
        ("gcs_server", 0.0),
        *(
            pytest.param(*moment, marks=pytest.mark.slow)
            for moment in (("gcs_server", 0.4), ("raylet", 0.0), ("raylet", 0.3), ("raylet", 1.0))
        ),
    ],
)
def test_ctrl_c_ends_a_search_whose_ray_does_not_start(
    name: str, after: float, tmp_path: Path
) -> None:
    """On a busy machine Ray's processes come to a stop for minutes, within calls in which Python
    hears no signal: whoever pressed Ctrl-C waited as long.
    """
    with terminal("run", *SEARCH, "--runs-dir", tmp_path) as opened:
        driver = psutil.Process(opened.process.pid)

        def there() -> list[psutil.Process]:
            with contextlib.suppress(psutil.NoSuchProcess):  # one has ended meanwhile
                return [one for one in driver.children(recursive=True) if one.name() == name]
            return []

        wait_for(lambda: bool(there()))
        time.sleep(after)
        there()[0].suspend()
        time.sleep(1)
        for _ in range(4):
            opened.press(b"\x03")
            time.sleep(0.1)
        assert opened.end(100) in (1, -signal.SIGKILL)
        left = of_ray(opened)
    assert "visiontune: interrupted" in opened.shown.decode()
    assert not left, "no process of Ray's is left"
    assert not list(tmp_path.glob("one*"))


@pytest.mark.parametrize(
    ("stream", "place"), [("stderr", "/dev/full"), ("stdout", "pipe"), ("stderr", "pipe")]
)
def test_output_that_nobody_can_take_ends_no_search(
    stream: str, place: str, tmp_path: Path
) -> None:
    """``run … | head`` closes the pipe, and a log file may fill its disk: neither is worth a
    search.
    """
    code = (
        "import sys; from search.screen.terminal import outlive_terminal; outlive_terminal(); "
        f"print('x', file=sys.{stream}, flush=True)"
    )
    if place == "pipe":
        read, write = os.pipe()
        os.close(read)
    else:
        write = os.open(place, os.O_WRONLY)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, **{stream: write})  # type: ignore[call-overload]
    os.close(write)
    assert done.returncode == 0


def test_a_result_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    """Whoever asked for JSON in a file must not go on with half of it."""
    code = (
        "import sys; from search.screen.terminal import outlive_terminal; outlive_terminal(); "
        "print('{}', flush=True)"
    )
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode != 0
    assert "No space left" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 3.0, 30.0])
def test_ctrl_c_ends_the_ui_with_all_that_it_started(seconds: float, tmp_path: Path) -> None:
    """It says that Ctrl-C ends it; MLflow interrupted while it loads would print a traceback, and
    its own server stay.
    """
    make = (
        "import sys, pathlib; from search.tracking.connection import connect; "
        "connect(sys.argv[1], "
        "pathlib.Path(sys.argv[2]))"
    )
    subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            make,
            f"sqlite:///{tmp_path / 'mlflow.db'}",
            tmp_path,
        ],
        cwd=ROOT,
        check=True,
    )
    with terminal("ui", "--runs-dir", tmp_path, "--port", free_port()) as opened:
        wait_for(lambda: b"Ctrl-C ends it" in opened.shown)
        time.sleep(seconds)
        started = psutil.Process(opened.process.pid).children(recursive=True)
        for _ in range(4):
            opened.press(b"\x03")
            time.sleep(0.1)
        assert opened.end() == 0
        assert started
        assert psutil.wait_procs(started, timeout=10)[1] == []
    assert b"Traceback" not in opened.shown, opened.shown.decode()
