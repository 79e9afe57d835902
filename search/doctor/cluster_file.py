"""A cluster file as Ray's cluster launcher reads it: checked by Ray's own rules, then seen by node
type for ours.
"""

from __future__ import annotations

import contextlib
import copy
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from analysis.plan.yaml_text import YamlError, read_yaml
from spaces.errors import UserError

ENVIRONMENT = re.compile(r"(?:^|\s)(?:--env|-e|export)[\s=]+([A-Za-z_]\w*)=(\S+)")


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: which check found it, and what, where and what to do in a line."""

    check: str
    message: str


@dataclass(frozen=True)
class NodeType:
    """One kind of machine, with what all of its kind run."""

    name: str
    head: bool
    settings: dict[str, Any]
    image: str
    run_options: tuple[str, ...]
    commands: tuple[str, ...]

    @property
    def resources(self) -> dict[str, float]:
        return dict(self.settings.get("resources") or {})

    @property
    def node_config(self) -> dict[str, Any]:
        return dict(self.settings.get("node_config") or {})

    @property
    def environment(self) -> dict[str, str]:
        """Variables that its container or its commands set."""
        texts = (*self.run_options, *self.commands)
        return {
            name: value.strip("'\"") for text in texts for name, value in ENVIRONMENT.findall(text)
        }


@dataclass(frozen=True)
class ClusterFile:
    """A cluster file with Ray's defaults filled in."""

    config: dict[str, Any]

    @property
    def provider(self) -> dict[str, Any]:
        return dict(self.config["provider"])

    @property
    def kind(self) -> str:
        return str(self.provider["type"])

    @property
    def types(self) -> list[NodeType]:
        """Every node type; where head and workers share one (machines of one's own) it is there as
        both.
        """
        head = self.config["head_node_type"]
        found = [self._type(name, name == head) for name in self.config["available_node_types"]]
        if self.kind == "local":
            found.append(self._type(head, False))
        return found

    @property
    def workers(self) -> list[NodeType]:
        return [node for node in self.types if not node.head]

    @property
    def head(self) -> NodeType:
        return next(node for node in self.types if node.head)

    def _type(self, name: str, head: bool) -> NodeType:
        config, settings = self.config, self.config["available_node_types"][name]
        role = "head" if head else "worker"
        docker = {**config.get("docker", {}), **settings.get("docker", {})}
        keys = ["initialization_commands", f"{role}_setup_commands", f"{role}_start_ray_commands"]
        commands = [
            *_texts(config, keys),
            *_texts(settings, ["initialization_commands", "worker_setup_commands"]),
        ]
        options = [*(docker.get("run_options") or []), *(docker.get(f"{role}_run_options") or [])]
        image = docker.get(f"{role}_image") or docker.get("image") or ""
        return NodeType(name, head, settings, image, tuple(options), tuple(commands))


def _texts(settings: dict[str, Any], keys: list[str]) -> list[str]:
    return [str(text) for key in keys for text in settings.get(key) or []]


def read(path: Path) -> dict[str, Any]:
    """The file's content.

    Raises:
        UserError: if it is missing or no YAML mapping.
    """
    try:
        config = read_yaml(path.read_bytes(), "it")
    except OSError as error:
        raise UserError(f"no cluster file {path}: {error.strerror}") from error
    except YamlError as error:
        raise UserError(f"{path} is no YAML file: {error}") from error
    if not isinstance(config, dict):
        raise UserError(f"{path} must hold settings by name, but holds {type(config).__name__}")
    return config


def prepared(config: dict[str, Any]) -> tuple[ClusterFile | None, list[Finding]]:
    """The file with Ray's defaults, and what Ray itself finds wrong; without the file if Ray cannot
    read it.
    """
    from search.cluster.ray_internals import checked_cluster_file

    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            filled = checked_cluster_file(copy.deepcopy(config))
    # Ray's own aborts are SystemExit, with the reason printed
    except (Exception, SystemExit) as error:
        reason = (
            getattr(error, "message", "")
            or (said.getvalue() if isinstance(error, SystemExit) else str(error))
            or repr(error)
        )
        where = ".".join(str(part) for part in getattr(error, "absolute_path", ()))
        text = " ".join(f"{where + ': ' if where else ''}{reason}".split())
        return None, [
            Finding(
                "ray-schema",
                f"Ray refuses the file ({text[:300]}); mend that first, the rest was not checked",
            )
        ]
    return ClusterFile(filled), []


def strings(value: Any) -> Iterator[str]:
    """Every text in a nested value, keys included."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield str(key)
            yield from strings(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value
