"""Names that a file system allows and people have: made for tests of every command."""

from __future__ import annotations

import os

CONTROL = {
    "newline": b"a\nb",
    "carriage return": b"a\rb",
    "tab": b"a\tb",
    "escape": b"\x1b[31mred\x1b[0m",
    "bell": b"a\x07b",
    "delete": b"a\x7fb",
    "one byte of C1": b"a\xc2\x9b31mb",
}
QUOTES = {
    "single quote": b"it's",
    "double quote": b'say "hi"',
    "backslash": b"back\\slash",
    "backtick": b"`id`",
    "dollar": b"$(id) ${HOME} $x$",
    "percent": b"100%s %d %(x)s",
    "braces": b"{0} {x} {{ y }} {% z %}",
    "markup": b"[bold]b[red :bomb:",
    "html": b"<img src=x onerror=alert(1)> & <b>",
    "comma": b"a,b;c",
    "formula": b"=1+1",
    "star": b"*?[a-z]",
    "hash": b"a#b",
    "question": b"a?b=c",
    "colon": b"a:b: c",
    "equals": b"a=b",
    "at": b"@file",
    "tilde": b"~",
}
SPACES = {
    "leading dash": b"-rf",
    "two dashes": b"--help",
    "spaces": b" a  b ",
    "trailing dot": b"a.",
    "hidden": b".hidden",
}
LETTERS = {
    "accents": "é".encode(),
    "composed apart": "e\u0301".encode(),
    "chinese": "狗".encode(),
    "emoji": "👩‍💻".encode(),
    "right to left": "\u202egnp.exe".encode(),
    "hebrew": "שלום".encode(),
    "no break space": "a\u00a0b".encode(),
    "byte order mark": "\ufeffa".encode(),
    "line separator": "a\u2028b".encode(),
    "longest": b"x" * 255,
    "longest of two bytes": "é".encode() * 127,
}
NO_UTF8 = {"latin-1": b"caf\xe9", "one byte": b"\xff", "cut character": b"a\xe7\x8b"}
YAML = {
    name: name.encode()
    for name in (
        "no", "yes", "on", "off", "y", "n", "null", "Null", "true", "False", "1e3", "0x10", "0o17",
        "017", "1_000", "12:30:00", "1.0",
        "2026-11-28", "2026-11-28 12:30:00", ".nan", ".inf", "-.inf", "*a", "&a", "!!python",
        "!!str", "? a", "- a", "| a", "> a",
        "a: b", "{a: b}", "[a, b]", "%YAML", "---", "...", "<<", "=", "'a", '"a', "#a", "a #b", "0",
        "-1", "+1", "007",
    )
}  # fmt: skip
"""What YAML takes for something else than text."""
NAMES = {**CONTROL, **QUOTES, **SPACES, **LETTERS, **NO_UTF8, **YAML}


def as_path(name: bytes) -> str:
    """A name as Python hands paths around: bytes that are no UTF-8 are halves of characters."""
    return os.fsdecode(name)
