"""Who could get in: ports, keys and authentication in a cluster file."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from search.doctor.cluster_file import ClusterFile, strings

WIDEST = {4: 8, 6: 16}
"""IP version to the shortest prefix that is still somebody's network, as 10.0.0.0/8 is: what is
wider is the world, or half of it.
"""
EVERYWHERE = re.compile(
    r"(?:--(?:[\w-]*host(?:name)?|bind(?:-address)?|listen|[\w-]*ip(?:-address)?)|(?:^|\s)-h)[= "
    r"]+['\"]?"
    r"(0\.0\.0\.0|0(?![\w.])|\[?[0:]*::0*\]?(?![\w:])|\*)"
)
PUBLISHED = re.compile(
    r"(?:^|\s)(?:-p|--publish)[= ]*['\"]?(?!127\.0\.0\.1:|\[::1\]:)([^\s'\"]*\d+:\d+[^\s'\"]*)"
)
PUBLISHED_ALONE = re.compile(
    r"^\s*(?:(?:-p|--publish)[= ]*\d+(?:-\d+)?(?:/\w+)?|-P|--publish-all(?:=true)?)\s*$"
)
PRIVILEGES = re.compile(
    r"--privileged(?!=false)|--cap-add[= "
    r"]+(?:ALL|CAP_SYS_ADMIN|SYS_ADMIN|SYS_MODULE|SYS_PTRACE|SYS_RAWIO)\b|--(?:pid|userns)[= "
    r"]+host\b"
    r"|(?:-v|--volume)[= ]*['\"]?/:\S*|(?:src|source)=/(?=,|\s|$)|\S*docker\.sock\b",
    re.IGNORECASE,
)
"""Of a container that has the machine: options of Docker's that take its walls away."""
KEY = re.compile(
    r"AWS_(?:ACCESS_KEY_ID|SECRET_ACCESS_KEY|SESSION_TOKEN)|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|aws_secret_access_key",
    re.IGNORECASE,
)
KEY_FILES = re.compile(r"(?:^|/)\.aws(?:/|$)")


def open_ports(file: ClusterFile) -> Iterator[str]:
    """Whoever reaches Ray's ports runs what they like on every machine."""
    for rule in file.provider.get("security_group", {}).get("IpPermissions") or []:
        if any(_world(text) for text in strings(rule)):
            yield (
                f"provider.security_group opens port {_port(rule)} to the world; name the "
                "addresses that may come, or use port forwarding"
            )
    if file.kind == "aws":
        for node in file.types:
            if not node.node_config.get("SecurityGroupIds") and not node.node_config.get(
                "NetworkInterfaces"
            ):
                yield (
                    f"{node.name} has no SecurityGroupIds, so Ray makes a group that opens "
                    "port 22 to the world; name a group of yours"
                )
    for node in file.types:
        for text in (*node.run_options, *node.commands):
            if found := EVERYWHERE.search(text):
                yield (
                    f"{node.name} listens on every interface ({found[0]}); use 127.0.0.1 and "
                    "port forwarding"
                )
            if found := PUBLISHED.search(text):
                yield (
                    f"{node.name} publishes {found[1]} on every interface; leave it out and "
                    "use port forwarding"
                )
        for text in node.run_options:
            if PUBLISHED_ALONE.search(text):
                yield (
                    f"{node.name} publishes ports on every interface ({text.strip()}); leave "
                    "it out and use port forwarding"
                )


def _world(text: str) -> bool:
    """Whether an address range, however it is spelled, is all addresses or a large part of them."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return re.fullmatch(r"\s*[\da-fA-F.:]+/0+\s*", text) is not None
    return network.prefixlen < WIDEST[network.version]


def _port(rule: Any) -> str:
    if not isinstance(rule, dict):
        return "all"
    first, last = rule.get("FromPort", "all"), rule.get("ToPort", "all")
    return str(first) if first == last else f"{first} to {last}"


def keys(file: ClusterFile) -> Iterator[str]:
    """A key in a file is copied to every machine and never expires; a profile is neither."""
    if "aws_credentials" in file.provider:
        yield (
            "provider.aws_credentials holds keys; leave it out: the head uses its instance profile"
        )
    for text in strings({key: value for key, value in file.config.items() if key != "provider"}):
        if found := KEY.search(text):
            name = found[0] if found[0].lower().startswith("aws") else "an AWS access key"
            yield f"{name} stands in the file; remove it, and give the nodes an IamInstanceProfile"
    for target, source in file.config.get("file_mounts", {}).items():
        if KEY_FILES.search(str(source)):
            yield (
                f"file_mounts.{target} copies the keys in {source} to every node; give the "
                "nodes an IamInstanceProfile instead"
            )
    if file.kind == "aws":
        for node in file.types:
            if not node.node_config.get("IamInstanceProfile"):
                yield (
                    f"{node.name} has no IamInstanceProfile, so it could not use the runs "
                    "directory without keys; name one"
                )


def others_keys(file: ClusterFile) -> Iterator[str]:
    """Whoever has the key or the token has the cluster; SSH refuses such a key, and nothing refuses
    such a token.
    """
    named = {
        f"auth.{key}": file.config["auth"][key]
        for key in ("ssh_private_key",)
        if key in file.config["auth"]
    }
    mounts = file.config.get("file_mounts", {}).items()
    named |= {
        f"file_mounts.{target}": source
        for target, source in mounts
        if str(target).endswith(".ray/auth_token")
    }
    for where, source in named.items():
        path = Path(str(source)).expanduser()
        if path.is_file() and path.stat().st_mode & 0o077:
            yield f"{where}: others on this machine can read or change {source}; chmod 600 {source}"


def privileges(file: ClusterFile) -> Iterator[str]:
    """Trials need none of them. Ray itself has containers share the machine's network, which is no
    finding.
    """
    for node in file.types:
        for text in node.run_options:
            if found := PRIVILEGES.search(text):
                yield (
                    f"{node.name} gives its container the machine ({found[0].strip()}); leave "
                    "it out"
                )


def authentication(file: ClusterFile) -> Iterator[str]:
    """Without it, everybody in the same network may submit work."""
    mounted = any(
        str(target).endswith(".ray/auth_token") for target in file.config.get("file_mounts", {})
    )
    for node in file.types:
        mode = node.environment.get("RAY_AUTH_MODE", "")
        if mode != "token":
            yield (
                f"RAY_AUTH_MODE is {mode or 'not set'} on {node.name}; set it to token in "
                "docker.run_options or in the start command"
            )
        if "RAY_AUTH_TOKEN" in node.environment:
            yield (
                f"RAY_AUTH_TOKEN stands in the file for {node.name}; keep the token in a file "
                "and mount that"
            )
        elif not mounted and "RAY_AUTH_TOKEN_PATH" not in node.environment:
            yield (
                "no token reaches the nodes; add file_mounts: {/home/ray/.ray/auth_token: "
                "~/.ray/auth_token}"
            )


EXPOSURE: tuple[tuple[str, Callable[[ClusterFile], Iterator[str]]], ...] = (
    ("open-port", open_ports),
    ("keys", keys),
    ("readable-key", others_keys),
    ("privileges", privileges),
    ("auth", authentication),
)
