"""The one exception a user is meant to read."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: what, where, what was allowed, what was got, what to do.
    The command line prints it as it is and exits with status 2.
    """


def on_one_line(error: object) -> str:
    """What another library's exception says, without line breaks and cut at 300 characters: to quote it in a message of ours."""
    return " ".join(str(error).split())[:300]
