"""A headless Chromium driven over a pipe by the DevTools protocol: what a page logs, asks for and
shows.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from program import PATIENCE

NAMES = (
    "chromium",
    "chromium-browser",
    "chromium-headless-shell",
    "google-chrome",
    "google-chrome-stable",
)
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
MISSING = "Chromium is not installed (Debian: apt-get install chromium-headless-shell)"


class Browser:
    """One tab. ``problems`` has console errors and exceptions, ``requests`` every address it asked
    for.
    """

    def __init__(self, read: int, write: int) -> None:
        self._read, self._write, self._rest = read, write, b""
        self._numbers = itertools.count(1)
        self._session: str | None = None
        self._loaded = False
        self.problems: list[str] = []
        self.requests: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.ask("Target.attachToTarget", targetId=target, flatten=True)[
            "sessionId"
        ]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to one command; what happens meanwhile is noted."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params} | (
            {"sessionId": self._session} if self._session else {}
        )
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            found = self._next()
            if found.get("id") == number:
                assert "error" not in found, found
                return dict(found["result"])

    def open(self, page: Path, width: int) -> None:
        """Show ``page`` in a window of this width, pixels, and wait until it is loaded."""
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=900,
            deviceScaleFactor=1,
            mobile=False,
        )
        self._loaded = False
        self.ask("Page.navigate", url=page.as_uri())
        while not self._loaded:
            self._next()

    def value(self, script: str) -> Any:
        """What a JavaScript expression is."""
        return self.ask("Runtime.evaluate", expression=script, returnByValue=True)["result"].get(
            "value"
        )

    def until(self, script: str, patience: float = PATIENCE) -> Any:
        """Its value once it is true."""
        end = time.monotonic() + patience
        while not (found := self.value(script)):
            assert time.monotonic() < end, script
            time.sleep(0.05)
        return found

    def point_at(self, x: float, y: float) -> None:
        """Move the mouse there."""
        for step in (0, 1):
            self.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x + step, y=y)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._read], [], [], PATIENCE)[0], "the browser says nothing"
            self._rest += os.read(self._read, 1 << 20)
        text, self._rest = self._rest.split(b"\0", 1)
        found: dict[str, Any] = json.loads(text)
        self._note(found.get("method", ""), found.get("params", {}))
        return found

    def _note(self, method: str, params: dict[str, Any]) -> None:
        if method == "Page.loadEventFired":
            self._loaded = True
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(params["exceptionDetails"]))
        if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.problems.append(json.dumps(params["args"]))
        if method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(params["entry"]["text"])


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """A browser for the time of the block; ``profile`` is a folder for what it keeps."""
    to_read, to_write = os.pipe(), os.pipe()
    # Chromium reads commands from descriptor 3 and writes answers to 4.
    script = f'exec 3<&{to_read[0]} 4>&{to_write[1]}; exec "$0" "$@"'
    # Without a GPU plotly's parallel coordinates are drawn by the processor, which Chromium wants
    # to be told.
    arguments = [
        "--headless",
        "--enable-unsafe-swiftshader",
        "--no-sandbox",
        "--disable-gpu",
        "--remote-debugging-pipe",
        f"--user-data-dir={profile}",
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(
        ["bash", "-c", script, str(CHROMIUM), *arguments],
        pass_fds=(to_read[0], to_write[1]),
        **quiet,
    )  # type: ignore[call-overload]
    os.close(to_read[0])
    os.close(to_write[1])
    try:
        yield Browser(to_write[0], to_read[1])
    finally:
        os.close(to_read[1])
        process.terminate()
        process.wait(PATIENCE)
        os.close(to_write[0])
