"""A PostgreSQL server for tests: Debian's, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from program import PATIENCE, free_port


class PostgresServer:
    """A server of one's own, which can be stopped and started at the same place.

    Attributes:
        url: of it, without a database name.
    """

    def __init__(self, folder: Path, programs: Path) -> None:
        self._user: dict[str, Any] = {}
        if os.getuid() == 0:  # PostgreSQL refuses to run as root
            shutil.chown(folder, "postgres")
            self._user = {"user": "postgres", "group": "postgres", "extra_groups": []}
        data, port = folder / "data", free_port()
        make = [programs / "initdb", "-D", data, "-U", "tester", "-A", "trust", "--no-sync"]
        subprocess.run(make, check=True, capture_output=True, cwd=folder, **self._user)
        self._serve = [
            programs / "postgres",
            "-D",
            data,
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-k",
            folder,
            "-F",
        ]
        self._folder = folder
        self.url = f"postgresql://tester@127.0.0.1:{port}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        quiet = subprocess.DEVNULL
        self._server = subprocess.Popen(
            self._serve, cwd=self._folder, stdout=quiet, stderr=quiet, **self._user
        )
        end = time.monotonic() + PATIENCE
        while True:
            try:
                psycopg.connect(f"{self.url}/postgres").close()
                return
            except psycopg.OperationalError:
                assert self._server.poll() is None, "the server ended"
                assert time.monotonic() < end, "the server does not answer"
                time.sleep(0.2)

    def stop(self) -> None:
        """End it at once, whoever is connected."""
        self._server.send_signal(signal.SIGINT)
        self._server.wait(PATIENCE)


@contextlib.contextmanager
def postgres_that_restarts() -> Iterator[PostgresServer]:
    """A PostgreSQL server of one's own, started."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    folder = Path(tempfile.mkdtemp(prefix="visiontune-postgres-"))
    server = PostgresServer(folder, found[-1].parent)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@contextlib.contextmanager
def postgres_server() -> Iterator[str]:
    """URL of a PostgreSQL server of one's own, without a database name."""
    with postgres_that_restarts() as server:
        yield server.url


def fresh_database(postgres: str) -> str:
    """URL of a new, empty database."""
    name = f"db{time.monotonic_ns()}"
    with psycopg.connect(f"{postgres}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{postgres}/{name}"
