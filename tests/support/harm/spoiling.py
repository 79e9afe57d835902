"""Good values, bytes and files, spoilt by a seeded generator."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, -(10**30), 10**400, 0.0, -0.0, 1e308,
    1e-308, math.inf, -math.inf, math.nan,
    "",
    " ", "x", "no", "null", "~", "1e3", "0x10", "..", "1..", "..1", "1..2..3", "a\nb", "\x1b[31m",
    "\x00", "é" * 300, "%s{}$(x)`", "[bold]",
    "../..", "/", "x" * 10_000, [], [[]], [None] * 3, [1, "a", True], {}, {"a": {}}, {"": ""}, [{}],
    {"min": 1, "max": 0}, "val_accuracy",
)  # fmt: skip


def strange(generator: random.Random) -> Any:
    return generator.choice(STRANGE)


def changed(generator: random.Random, value: Any) -> Any:
    """``value`` with one or a few places of it changed, dropped, repeated or added."""
    if isinstance(value, dict) and value and generator.random() < 0.9:
        key = generator.choice(list(value))
        action = generator.random()
        if action < 0.15:
            return {name: item for name, item in value.items() if name != key}
        if action < 0.3:
            return {
                **value,
                generator.choice(
                    ["x", "run", "é", "__class__", key + "s" if isinstance(key, str) else "k"]
                ): strange(generator),
            }
        return {**value, key: changed(generator, value[key])}
    if isinstance(value, list) and value and generator.random() < 0.7:
        place = generator.randrange(len(value))
        return [
            *value[:place],
            changed(generator, value[place]),
            *value[place + generator.randrange(2) :],
        ]
    return strange(generator)


def turned(generator: random.Random, content: bytes) -> bytes:
    """``content`` with bytes turned, cut out, repeated or put in."""
    found = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 5))):
        place, action = generator.randrange(len(found) + 1), generator.random()
        if action < 0.4 and found:
            found[place % len(found)] ^= 1 << generator.randrange(8)
        elif action < 0.6:
            del found[place : place + generator.choice((1, 3, 50, 10_000))]
        elif action < 0.8:
            found[place:place] = found[place : place + 40] * generator.choice((1, 3, 100))
        else:
            found[place:place] = generator.choice(
                (
                    b"\x00",
                    b"\xff\xfe",
                    b"[" * 500,
                    b"{",
                    b"9" * 5000,
                    b"!!python/name:os.system ",
                    b"&a *a ",
                )
            )
    return bytes(found)


def spoil(generator: random.Random, path: Path) -> None:
    """One file of JSON: its bytes, or what it says."""
    content = path.read_bytes()
    try:
        value = json.loads(content)
    except ValueError:  # lines, or no JSON
        path.write_bytes(turned(generator, content))
        return
    if generator.random() < 0.4:
        path.write_bytes(turned(generator, content))
        return
    for _ in range(generator.choice((1, 1, 2))):
        value = changed(generator, value)
    try:
        path.write_text(json.dumps(value, ensure_ascii=False), errors="surrogatepass")
    except ValueError:
        path.write_text("9" * 5000)
