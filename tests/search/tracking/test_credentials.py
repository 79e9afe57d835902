"""An MLflow server's secrets reach it and nothing that is kept."""

from __future__ import annotations

import base64
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from program import PATIENCE, refused
from tracked_run import run_directory

from analysis.plan.addresses import Tracking
from search.tracking.connection import connect
from search.tracking.sender import Sender
from search.tracking.tracker import Tracker

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # MLflow's own, of its own dependencies


class Asking(http.server.BaseHTTPRequestHandler):
    """A server that answers a search for experiments, and only to who shows what ``server.wanted``
    says.
    """

    def do_POST(self) -> None:
        allowed = self.headers.get("Authorization") == self.server.wanted  # type: ignore[attr-defined]
        self.rfile.read(int(self.headers["Content-Length"]))
        body = b"{}" if allowed else b"who are you?"
        self.send_response(200 if allowed else 401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def asking() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Asking)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        (
            {"MLFLOW_TRACKING_USERNAME": "me", "MLFLOW_TRACKING_PASSWORD": "s3cret"},
            f"Basic {base64.b64encode(b'me:s3cret').decode()}",
        ),
        ({"MLFLOW_TRACKING_TOKEN": "s3cret"}, "Bearer s3cret"),
    ],
    ids=["basic", "token"],
)
def test_credentials_reach_the_server_and_nothing_that_is_kept(
    tmp_path: Path, asking: Any, given: dict[str, str], shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users' servers ask who comes; what they are answered is nobody else's business, also when it
    was wrong.
    """

    uri = f"http://127.0.0.1:{asking.server_port}"
    asking.wanted = shown
    with pytest.raises(Exception, match="401"):
        connect(uri, tmp_path)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    connect(uri, tmp_path)
    asking.wanted = "something else"
    folder = run_directory(tmp_path)
    tracker = Tracker(Sender(folder, Tracking(uri=uri)))
    tracker.start()
    assert "401" in tracker.close(PATIENCE)
    assert "s3cret" not in tracker.error
    assert not [
        path for path in tmp_path.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()
    ]


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:s3cret@host",
        "https://s3cret@host",
        "postgresql://me:s3cret@h/d",
        "mysql://h/d?password=s3cret",
    ],
)
def test_a_tracking_uri_with_a_secret_is_refused_without_repeating_it(
    tmp_path: Path, uri: str
) -> None:
    """A plan is kept, shown and passed on."""
    said = refused("run", "--space", "toy", "--tracking-uri", uri, "--runs-dir", tmp_path)
    assert "MLFLOW_TRACKING_PASSWORD" in said
    assert "s3cret" not in said
    assert list(tmp_path.iterdir()) == []
