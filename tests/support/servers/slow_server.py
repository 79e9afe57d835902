"""A server for tests that accepts whoever comes and never has an answer ready."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def slow_server(pause: float | None = 0.05) -> Iterator[str]:
    """URI of a server that sends a byte of its answer every ``pause`` seconds, and would for hours;
    if None, nothing at all.
    """
    done = threading.Event()
    threads: list[threading.Thread] = []

    def answer(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(65536)
            connection.sendall(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
                b"1000000\r\n\r\n"
            )
            while not done.wait(pause or 0.05):
                if pause is not None:
                    connection.sendall(b" ")

    def serve() -> None:
        while not done.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _ = listening.accept()
                threads.append(threading.Thread(target=answer, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.1)
        server = threading.Thread(target=serve)
        server.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            done.set()
            server.join()
            for thread in threads:
                thread.join()
