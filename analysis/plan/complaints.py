"""What is wrong with the settings of a plan, in words."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ValidationError

from analysis.plan.addresses import MOST_ADDRESS, Tracking
from analysis.plan.limits import Limits
from analysis.plan.population import Population
from analysis.plan.replicate import Replicate
from analysis.plan.training import Training
from spaces.errors import UserError, echo
from trainables.data.names import on_disk

MOST_TOLD = 20
"""Wrong settings that one error names."""


class PlanError(UserError):
    """A plan that cannot be run; the message lists everything that is wrong with it."""


def complaints(error: ValidationError, plan: type[BaseModel]) -> str:
    """Say in one line which settings are wrong, what is allowed for each, and what was given.

    Args:
        error: what pydantic found wrong.
        plan: the model that the settings were checked against.
    """
    wrong = error.errors(include_url=False)
    more = f"; and {len(wrong) - MOST_TOLD} more" if len(wrong) > MOST_TOLD else ""
    return "; ".join(_complaint(item, plan) for item in wrong[:MOST_TOLD]) + more


def _complaint(item: Any, plan: type[BaseModel]) -> str:
    place = ".".join(str(part) for part in item["loc"])
    message = item["msg"].removeprefix("Value error, ")
    if item["type"] == "extra_forbidden":
        models: dict[Any, type[BaseModel]] = {
            "tracking": Tracking,
            "limits": Limits,
            "training": Training,
            "replicate": Replicate,
            "population": Population,
        }
        there = models.get(item["loc"][0], plan).model_fields
        message = f"no such setting; there are {', '.join(there)}"
    if item["type"] == "string_unicode":
        return f"{place}: {on_disk(item['input'])} is not UTF-8; rename it"
    if item["type"] == "value_error" and not place:
        return message
    got = echo(_without_secrets(item["input"]))
    return (
        f"{place}: {message[0].lower()}{message[1:]}, but got {got}"
        if item["type"] != "missing"
        else f"{place}: is missing"
    )


def _without_secrets(given: Any) -> Any:
    """What somebody gave, without passwords: what is said may end in a log."""
    if isinstance(given, str):
        return re.sub(r"(//[^/@\s]*@|password=[^&'\s]*)", "…", given[:MOST_ADDRESS])
    if isinstance(given, dict):
        return {_without_secrets(key): _without_secrets(value) for key, value in given.items()}
    return (
        [_without_secrets(value) for value in given] if isinstance(given, list | tuple) else given
    )
