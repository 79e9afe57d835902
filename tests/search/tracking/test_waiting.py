"""Whoever waits for MLflow is told what for, can skip it, and does not wait for ever."""

from __future__ import annotations

import http.server
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from program import typed
from samples import record, run_with
from slow_server import slow_server

from analysis.plan.addresses import Tracking
from search.ledger.outbox import Outbox, trial_fact
from search.screen.signals import AGAIN_AFTER, StopSignals, interruptible
from search.tracking.sender import Sender
from search.tracking.tracker import Tracker
from spaces.errors import UNFIT

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # MLflow's own, of its own dependencies


def waiting(tmp_path: Path, uri: str) -> Sender:
    """A run ``made`` with a fact to send to ``uri``."""
    run = run_with(tmp_path, {}, plan=f"tracking: {{uri: '{uri}'}}\n")
    Outbox(run.outbox).append(trial_fact(record(1), []))
    return Sender(run, Tracking(uri=uri))


@pytest.mark.parametrize("pause", [0.05, None], ids=["byte by byte", "nothing"])
def test_sync_gives_up_a_server_that_ends_no_answer(tmp_path: Path, pause: float | None) -> None:
    """A byte now and then keeps every time limit of a socket from running out."""
    with slow_server(pause) as uri:
        waiting(tmp_path, uri)
        done = typed("sync", "made", "--silence", 3, "--runs-dir", tmp_path)
    assert done.returncode == 1
    told, line = done.stderr.splitlines()
    assert told.startswith(f"waiting for MLflow at {uri}, to tell it 1 facts")
    assert f"MLflow at {uri} has not answered for 3 s, and lacks 1 facts" in line
    assert Outbox(tmp_path / "made" / "outbox").waiting() == 1


def test_a_server_that_refuses_is_one_line(tmp_path: Path) -> None:
    """sync is typed when the server is thought to be back: it says at once that it is not."""
    waiting(tmp_path, "http://127.0.0.1:9")
    done = typed("sync", "made", "--runs-dir", tmp_path)
    assert done.returncode == 1
    line = done.stderr.splitlines()[-1]
    assert "MLflow at http://127.0.0.1:9 cannot be told" in line
    assert "sync goes on where this stopped" in line
    assert len(line) < 500


@pytest.mark.parametrize("signals", [[signal.SIGINT], [signal.SIGTERM]])
def test_the_end_of_a_search_says_what_it_waits_for_and_a_signal_skips_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signals: list[signal.Signals]
) -> None:
    """A minute without a word looks like a program that hangs, and the search is over by then."""
    # an interruption just now, as by the test before, would be the last
    monkeypatch.setattr(StopSignals, "interrupted", -AGAIN_AFTER)
    said: list[str] = []
    with slow_server() as uri:
        tracker = Tracker(waiting(tmp_path, uri))
        tracker.start()
        timer = threading.Timer(4.0, lambda: [os.kill(os.getpid(), number) for number in signals])
        timer.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt), interruptible():
            tracker.close(600.0, said.append)
        assert time.monotonic() - began < 60
        timer.join()
    assert said == [uri]
    tracker.join(60)


def test_a_search_is_told_once_that_mlflow_cannot_be_told(tmp_path: Path) -> None:
    """Found out at the start, it can be helped while the search runs."""
    said: list[str] = []
    tracker = Tracker(waiting(tmp_path, "http://127.0.0.1:9"), said.append)
    tracker.start()
    end = time.monotonic() + 60
    while not said and time.monotonic() < end:
        time.sleep(0.05)
    assert tracker.close(0.0)
    tracker.join(60)
    (line,) = said
    assert line.startswith("MLflow at http://127.0.0.1:9 cannot be told for now (")
    assert line.endswith("; the search goes on")


class Binary(http.server.BaseHTTPRequestHandler):
    """Answers every question with what a terminal would obey."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"\x1b[2J\x1b]0;owned\x07\x00\xff\xfe\x9b31m" * 200
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def binary() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Binary)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_what_a_server_answers_is_text(tmp_path: Path, binary: str) -> None:
    """Whoever runs the server, or stands in between, could write commands to the terminal."""
    waiting(tmp_path, binary)
    done = typed("sync", "made", "--runs-dir", tmp_path)
    assert done.returncode == 1
    assert not UNFIT.search(done.stdout + done.stderr)
    assert "\\u001b[2J" in done.stderr
    assert all(len(line) < 500 for line in done.stderr.splitlines())
