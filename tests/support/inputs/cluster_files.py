"""Our cluster files with a change, for tests of what is found in them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from program import ROOT

from search.doctor.cluster_file import Finding
from search.doctor.cluster_lint import Needs, lint
from search.doctor.versions import Pins

Change = Callable[[dict[str, Any]], object]
OURS = ROOT / "cluster.yaml"
ON_PREMISE = ROOT / "deploy" / "onpremise.yaml"
IMAGE = yaml.safe_load(OURS.read_text())["docker"]["image"]


def rule(address: str) -> dict[str, Any]:
    """A security group's rule that lets ``address`` in."""
    ranges = (
        {"Ipv6Ranges": [{"CidrIpv6": address}]}
        if ":" in address
        else {"IpRanges": [{"CidrIp": address}]}
    )
    return {"FromPort": 8265, "ToPort": 8265, "IpProtocol": "tcp", **ranges}


WORLD = rule("0.0.0.0/0")


def at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Someone who has made a token and has an SSH key; their home folder."""
    for name in (".ray/auth_token", ".ssh/id_ed25519", ".aws/credentials"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("0")
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def findings(
    change: Change, folder: Path, source: Path = OURS, needs: Needs | None = None
) -> list[Finding]:
    """What is found in a file of ours after a change."""
    config = copy.deepcopy(yaml.safe_load(source.read_text()))
    change(config)
    file = folder / "changed.yaml"
    file.write_text(yaml.safe_dump(config))
    return lint(file, Pins.read(), needs or Needs())


def worker(config: dict[str, Any]) -> dict[str, Any]:
    return config["available_node_types"]["gpu-spot"]


def head(config: dict[str, Any]) -> dict[str, Any]:
    return config["available_node_types"]["head"]


def with_option(config: dict[str, Any], old: str, new: str) -> None:
    options = config["docker"]["run_options"]
    options[:] = [option.replace(old, new) for option in options]
    assert new in " ".join(options)


def with_start(config: dict[str, Any], text: str) -> None:
    config["head_start_ray_commands"][1] += f" {text}"
