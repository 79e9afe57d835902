"""The token that Ray of one machine asks for: kept from other users of it."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def token_file() -> Path:
    """Where Ray looks for its token."""
    return Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or os.path.expanduser("~/.ray/auth_token"))


def private_token() -> None:
    """Keep the token that Ray asks for from other users: Ray writes it for all to read, and whoever
    has it runs what they like.
    """
    if os.environ.get("RAY_AUTH_TOKEN"):
        return
    given, path = os.environ.get("RAY_AUTH_TOKEN_PATH"), token_file()
    # somebody else's file, or no home: Ray says what it cannot do
    with contextlib.suppress(OSError):
        if path.exists():
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
        elif not given:
            path.parent.mkdir(mode=0o700, exist_ok=True)
            handle, whole = tempfile.mkstemp(dir=path.parent)  # which makes it for its owner alone
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_hex(32))
            try:
                os.link(whole, path)  # fails if another search was faster
            finally:
                os.unlink(whole)


@contextmanager
def own_token() -> Iterator[None]:
    """Ray's token, for the time of the block: where there is no home that can be written, one of
    this search's own in the environment.
    """
    private_token()
    if (
        os.environ.get("RAY_AUTH_TOKEN")
        or os.environ.get("RAY_AUTH_TOKEN_PATH")
        or os.access(token_file(), os.R_OK)
    ):
        yield
        return
    from search.cluster.ray_internals import read_token_again

    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    read_token_again()
    try:
        yield
    finally:
        del os.environ["RAY_AUTH_TOKEN"]
        read_token_again()
