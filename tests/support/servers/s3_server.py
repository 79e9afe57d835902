"""An S3 server for tests: moto's, in a process of its own."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from program import PATIENCE, free_port

BUCKET = "bucket"


@contextlib.contextmanager
def s3_server(host: str = "127.0.0.1", port: int = 0) -> Iterator[dict[str, str]]:
    """An S3 server with an empty bucket ``BUCKET``; gives the environment in which S3 is found
    there.
    """
    port = port or free_port(host)
    command = [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "moto.server",
        "--host",
        host,
        "--port",
        str(port),
    ]
    url = f"http://{host}:{port}"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            end = time.monotonic() + PATIENCE
            while not _made(f"{url}/{BUCKET}"):
                assert server.poll() is None, "moto's server ended; is moto[server] installed?"
                assert time.monotonic() < end, "moto's server does not answer"
                time.sleep(0.1)
            yield {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
            }
        finally:
            server.kill()


@contextlib.contextmanager
def s3_here() -> Iterator[str]:
    """The URI of the bucket of an S3 server that this process and its children find; gone for later
    tests.
    """
    with s3_server() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield f"s3://{BUCKET}"


def _made(bucket: str) -> bool:
    with contextlib.suppress(urllib.error.URLError, OSError):
        urllib.request.urlopen(urllib.request.Request(bucket, method="PUT"), timeout=60).close()
        return True
    return False
