"""Who could get in: ports, keys and authentication in a cluster file."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from search.cluster_file import ClusterFile, strings

WORLD = ("0.0.0.0/0", "::/0")
EVERYWHERE = re.compile(r"--[\w-]*host(?:name)?[= ]+['\"]?(0\.0\.0\.0|::|\*)")
PUBLISHED = re.compile(r"(?:^|\s)(?:-p|--publish)[= ]+(?!127\.0\.0\.1:|\[::1\]:)(\S*\d+:\d+\S*)")
KEY = re.compile(
    r"AWS_(?:ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN)|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|aws_secret_access_key", re.IGNORECASE
)
KEY_FILES = re.compile(r"(?:^|/)\.aws(?:/|$)")


def open_ports(file: ClusterFile) -> Iterator[str]:
    """Whoever reaches Ray's ports runs what they like on every machine."""
    for rule in file.provider.get("security_group", {}).get("IpPermissions") or []:
        if any(text in WORLD for text in strings(rule)):
            yield f"provider.security_group opens port {_port(rule)} to the world; name the addresses that may come, or use port forwarding"
    if file.kind == "aws":
        for node in file.types:
            if not node.node_config.get("SecurityGroupIds") and not node.node_config.get("NetworkInterfaces"):
                yield f"{node.name} has no SecurityGroupIds, so Ray makes a group that opens port 22 to the world; name a group of yours"
    for node in file.types:
        for text in (*node.run_options, *node.commands):
            if found := EVERYWHERE.search(text):
                yield f"{node.name} listens on every interface ({found[0]}); use 127.0.0.1 and port forwarding"
            if found := PUBLISHED.search(text):
                yield f"{node.name} publishes {found[1]} on every interface; leave it out and use port forwarding"


def _port(rule: Any) -> str:
    if not isinstance(rule, dict):
        return "all"
    first, last = rule.get("FromPort", "all"), rule.get("ToPort", "all")
    return str(first) if first == last else f"{first} to {last}"


def keys(file: ClusterFile) -> Iterator[str]:
    """A key in a file is copied to every machine and never expires; a profile is neither."""
    if "aws_credentials" in file.provider:
        yield "provider.aws_credentials holds keys; leave it out: the head uses its instance profile"
    for text in strings({key: value for key, value in file.config.items() if key != "provider"}):
        if found := KEY.search(text):
            name = found[0] if found[0].lower().startswith("aws") else "an AWS access key"
            yield f"{name} stands in the file; remove it, and give the nodes an IamInstanceProfile"
    for target, source in file.config.get("file_mounts", {}).items():
        if KEY_FILES.search(str(source)):
            yield f"file_mounts.{target} copies the keys in {source} to every node; give the nodes an IamInstanceProfile instead"
    if file.kind == "aws":
        for node in file.types:
            if not node.node_config.get("IamInstanceProfile"):
                yield f"{node.name} has no IamInstanceProfile, so it could not use the runs directory without keys; name one"


def authentication(file: ClusterFile) -> Iterator[str]:
    """Without it, everybody in the same network may submit work."""
    mounted = any(str(target).endswith(".ray/auth_token") for target in file.config.get("file_mounts", {}))
    for node in file.types:
        mode = node.environment.get("RAY_AUTH_MODE", "")
        if mode != "token":
            yield f"RAY_AUTH_MODE is {mode or 'not set'} on {node.name}; set it to token in docker.run_options or in the start command"
        if "RAY_AUTH_TOKEN" in node.environment:
            yield f"RAY_AUTH_TOKEN stands in the file for {node.name}; keep the token in a file and mount that"
        elif not mounted and "RAY_AUTH_TOKEN_PATH" not in node.environment:
            yield "no token reaches the nodes; add file_mounts: {/home/ray/.ray/auth_token: ~/.ray/auth_token}"


EXPOSURE: tuple[tuple[str, Callable[[ClusterFile], Iterator[str]]], ...] = (
    ("open-port", open_ports),
    ("keys", keys),
    ("auth", authentication),
)
