"""The HTML pages: Jinja templates beside this file."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from spaces.errors import UserError
from trainables.io.files import write_whole


def rendered(template: str, **facts: Any) -> str:
    """The page that ``template`` makes of ``facts``.

    Names of classes, files and trials come from the user's data: everything is escaped.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(**facts)


def write_page(out: Path, page: str) -> None:
    """Write a page where the user asked for it.

    Raises:
        UserError: if it cannot be written.
    """
    try:
        write_whole(out, page)
    except OSError as error:
        raise UserError(
            f"{out}: cannot be written ({error.strerror}); give another --out"
        ) from None


def data_uri(content: bytes, kind: str = "jpeg") -> str:
    """A picture as it stands in a page itself."""
    return f"data:image/{kind};base64," + base64.b64encode(content).decode()
