"""What of a plan was changed since its search began, and when."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from spaces.errors import echo


class Changed(BaseModel):
    """One change, as a plan keeps it.

    Attributes:
        time: in Unix seconds.
        was: setting, as in ``limits.seconds``, to its value before; as it is in YAML.
        now: the same settings afterwards.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    time: float
    was: dict[str, Any]
    now: dict[str, Any]

    @property
    def when(self) -> str:
        """Its time, as clocks show it here."""
        return time.strftime("%F %T", time.localtime(self.time))

    def __str__(self) -> str:
        return ", ".join(
            f"{name} {_shown(value)} (was {_shown(self.was.get(name))})"
            for name, value in self.now.items()
        )


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> Changed | None:
    """What differs now between the settings of two plans; None if nothing does."""
    was, now = _flat(before), _flat(after)
    names = [name for name in {**was, **now} if was.get(name) != now.get(name)]
    if not names:
        return None
    return Changed(
        time=time.time(),
        was={name: was.get(name) for name in names},
        now={name: now.get(name) for name in names},
    )


def _flat(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Limits and domains one by one, so that a change of one is seen."""
    parts = ("limits", "narrowed")
    flat = {name: value for name, value in settings.items() if name not in (*parts, "changes")}
    return flat | {f"{part}.{name}": v for part in parts for name, v in settings[part].items()}


def _shown(value: Any) -> str:
    """A value of a setting, in words."""
    if value is None:
        return "none"
    if isinstance(value, dict):
        return " ".join(f"{echo(name)}={_shown(item)}" for name, item in value.items()) or "none"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:,}" if isinstance(value, int) else f"{value:g}"
    return echo(value)
