"""The version of this program, those that constraints.txt pins, and how this machine's differ."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spaces.errors import UserError

VERSION = "0.1.0"
"""Of this program; pyproject.toml takes it from here."""
CONSTRAINTS = Path(__file__).resolve().parents[2] / "constraints.txt"


@dataclass(frozen=True)
class Pins:
    """The versions that constraints.txt pins: of each package by its name, and of Python."""

    packages: dict[str, str]
    python: str

    @property
    def ray(self) -> str:
        return self.packages["ray"]

    @classmethod
    def read(cls, path: Path = CONSTRAINTS) -> Pins:
        """Raises: UserError: if the file is missing or does not name Ray and Python."""
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise UserError(
                f"{path} cannot be read ({error.strerror}); visiontune is run from its folder "
                "or its image"
            ) from error
        python = re.search(r"^# python (\d+\.\d+\.\d+)", text, re.MULTILINE)
        packages = dict(re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", text, re.MULTILINE))
        if not python or "ray" not in packages:
            raise UserError(f"{path} must name the image's Python (# python X.Y.Z) and ray==…")
        return cls(packages, python[1])

    def differences(self) -> Iterator[str]:
        """Installed packages that are not as pinned; what is not installed is not said."""
        for name, pinned in sorted(self.packages.items()):
            try:
                found = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
            if found.partition("+")[0] != pinned.partition("+")[0]:
                yield f"{name} is {found}, pinned {pinned}"
