"""The exceptions a user is meant to read, and what others said or gave, made fit for a line on a
terminal.
"""

from __future__ import annotations

import re
import reprlib

MOST = 480
"""Characters of a message: a line on a terminal, with the program's name before it, stays under
500.
"""
_ECHO = reprlib.Repr()
_ECHO.maxlevel, _ECHO.maxlist, _ECHO.maxtuple, _ECHO.maxdict, _ECHO.maxset = 3, 6, 6, 6, 6
_ECHO.maxstring, _ECHO.maxother, _ECHO.maxlong = 80, 80, 40


class UserError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: what, where, what was allowed, what was got, what to do; the middle of
    one that is longer than ``MOST`` characters is left out. The command line prints it as it is and
    exits with ``status``: 2 for what was asked wrongly, 1 for what failed while running.
    """

    status = 2

    def __init__(self, message: object = "") -> None:
        super().__init__(shortened(str(message)))


class DatasetError(UserError):
    """A dataset that cannot be read as it is; the message names the place and the rule."""


class FailedError(UserError):
    """Something that was asked rightly and failed while it ran."""

    status = 1


UNFIT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""What a terminal would obey instead of show, but for line ends and tabs: control characters, those
that turn the direction of writing, and halves of characters, which stand for bytes of a file's name
that are no UTF-8.
"""


def printable(text: str) -> str:
    r"""``text`` with what a terminal would obey written out, as ``\u001b``: in JSON that means the
    same character.
    """
    return UNFIT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def shown(name: object) -> str:
    """A name or a path as it stands in a line: line ends and tabs are written out too."""
    return printable(str(name)).replace("\n", "\\u000a").replace("\t", "\\u0009")


def on_one_line(error: object) -> str:
    """What another library's exception says, without line breaks and cut at 300 characters: to
    quote it in a message of ours.

    Of pydantic's, which fill several lines and end in a web address, each complaint: where, and
    what.
    """
    listed = getattr(error, "errors", None)
    if isinstance(error, ValueError) and callable(listed):
        found = listed(include_url=False, include_input=False)[:3]
        text = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}".removeprefix(": ") for item in found
        )
    else:
        text = str(error)[:3000]
    return printable(" ".join(text.split()))[:300]


def shortened(text: str, most: int = MOST) -> str:
    """``text`` without its middle where it has more than ``most`` characters: how it begins and
    ends says what and what to do.
    """
    if len(text) <= most:
        return text
    end = most // 3
    return f"{text[: most - end - 3]} … {text[-end:]}"


def echo(value: object) -> str:
    """``repr(value)``, cut to a length that fits into a message: of a value that somebody gave,
    however large or deep it is.
    """
    try:
        return _ECHO.repr(value)
    except ValueError:  # Python writes out no whole number of over 4,300 digits
        return "a number of thousands of digits"
