"""The HTML pages: Jinja templates beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def rendered(template: str, **facts: Any) -> str:
    """The page that ``template`` makes of ``facts``.

    Names of classes, files and trials come from the user's data: everything is escaped.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template(template).render(**facts)
