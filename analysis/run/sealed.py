"""JSON files that tell by themselves whether they are as they were written: the SHA-256 of what
they say stands in them.

The digest is of the values, not of the bytes: a file may be laid out anew. Files of visiontune
0.1.0 carry none and are believed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel

from spaces.errors import UserError, on_one_line

FORMAT = 1
"""Of every sealed file; a reader refuses a higher one instead of taking it for damaged."""
SEAL = "sha256"
Model = TypeVar("Model", bound=BaseModel)


class RunError(UserError):
    """A run, or a trial of it, that does not exist or does not hold what was asked for."""


class DamagedError(UserError):
    """A file that is not what was written."""


class NewerError(UserError):
    """A file of a version that this one does not know."""


def sealed(facts: dict[str, Any]) -> str:
    """``facts``, which JSON must be able to hold, as the text of a file."""
    whole = {"format": FORMAT, **facts}
    return json.dumps({**whole, SEAL: _digest(whole)}, indent=1, ensure_ascii=False)


def unsealed(content: bytes, where: Path) -> dict[str, Any]:
    """What a sealed file says; one without a seal says what it says.

    Raises:
        DamagedError: if it is no JSON object, or not as it was written.
        NewerError: if a newer version wrote it.
    """
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError) as error:
        what = "it is empty" if not content.strip(b"\0 \r\n") else on_one_line(error)
        raise DamagedError(f"{where}: no JSON ({what})") from None
    if not isinstance(facts, dict):
        raise DamagedError(
            f"{where}: a JSON object was written, but it holds "
            f"{'null' if facts is None else type(facts).__name__}"
        )
    version = facts.get("format", FORMAT)
    if isinstance(version, int) and not isinstance(version, bool) and version > FORMAT:
        raise NewerError(
            f"{where}: written by a newer visiontune (format {version}, this one knows "
            f"{FORMAT}); use that one"
        )
    seal = facts.pop(SEAL, None)
    if seal is not None and seal != _digest(facts):
        raise DamagedError(f"{where}: not what was recorded (its SHA-256 is another)")
    facts.pop("format", None)
    return facts


def read_as(kind: type[Model], content: bytes, where: Path) -> Model:
    """What a sealed file says, as a model.

    Raises:
        DamagedError: if it is not what was written.
        NewerError: if a newer version wrote it.
    """
    facts = unsealed(content, where)
    try:
        return kind.model_validate(facts)
    except ValueError as error:
        raise DamagedError(f"{where}: not what was recorded ({on_one_line(error)})") from None


def _digest(facts: dict[str, Any]) -> str:
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
