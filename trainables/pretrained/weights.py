"""Weights by name: of a package, of timm's and the hub that it names, or in a file of one's own.

Who searches finds them once, on the machine of the driver; all others are handed the tensors.
"""

from __future__ import annotations

import difflib
import json
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from spaces.errors import on_one_line, shown
from trainables.io.files import sha256
from trainables.pretrained.facts import ARCHITECTURE, BackboneError, Weights, quiet
from trainables.pretrained.packaged import BACKBONES

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
HUB_FILE = "model.safetensors"
Tell = Callable[[str], None]


def _silent(line: str) -> None:
    """Nobody waits for it."""


def find(name: str, tell: Tell = _silent) -> tuple[Weights, Path]:
    """The weights called ``name``, and the file that they lie in on this machine; fetched where it
    must be, with a line to ``tell`` and a bar on the terminal.

    Args:
        name: of a package (``BACKBONES``), of timm's (``resnet18.a1_in1k``), or ``NETWORK@FILE``:
            timm's name of the network, and a file with its weights. A FILE alone will do where a
            ``config.json`` beside it says the network, as in a folder of the hub's.

    Raises:
        BackboneError: if there are none, or they cannot be had; it says what to type.
    """
    if "@" in name or name.endswith(SUFFIXES):
        return _in_file(name)
    if name in BACKBONES:
        known = BACKBONES[name]
        place = known.place()
        if _digest(place) != known.weights.sha256:
            raise BackboneError(
                f"{place}: not the weights of {name} (another SHA-256); install {known.install} "
                "again"
            )
        return known.weights, place
    return _of_timm(name, tell)


def find_again(before: Weights, whose: str, tell: Tell = _silent) -> Path:
    """The file of weights that are known already.

    Args:
        whose: what began with them, for the message.

    Raises:
        BackboneError: if they cannot be had, or are others by now.
    """
    now, place = find(before.name, tell)
    if now.sha256 != before.sha256:
        raise BackboneError(
            f"the weights of {shown(before.name)} have changed since {whose}: {place} has SHA-256 "
            f"{now.sha256[:16]}…, and it was {before.sha256[:16]}…; put them back, or begin anew"
        )
    return place


def absolute(name: str) -> str:
    """``name`` with its file, if it is one, as an absolute path, and with the network's name.

    Raises:
        BackboneError: if it is a file, and nothing says whose weights are in it.
    """
    network, at, file = name.rpartition("@")
    if not (at or name.endswith(SUFFIXES)):
        return name
    place = os.path.abspath(os.path.expanduser(file))
    return f"{network or _in_file(place)[0].architecture}@{place}"


def architecture_of(name: str) -> str:
    """timm's name of the network of the weights called ``name``; of a FILE it must say it.

    Raises:
        BackboneError: if there is none.
    """
    if name in BACKBONES:
        return BACKBONES[name].weights.architecture
    return str(_config(name.partition("@")[0])["architecture"])


def _digest(place: Path) -> str:
    try:
        return sha256(place)
    except OSError as error:
        raise BackboneError(
            f"{place}: no file of weights that can be read ({error.strerror})"
        ) from error


def _in_file(name: str) -> tuple[Weights, Path]:
    architecture, _, file = name.rpartition("@")
    place = Path(file)
    if not place.name.endswith(SUFFIXES):
        raise BackboneError(
            f"{shown(place)}: weights are read from {', '.join(SUFFIXES)}, but got "
            f"{place.suffix or 'no ending'!r}"
        )
    if not place.is_file():
        raise BackboneError(f"{shown(place)}: there is no such file of weights")
    beside: dict[str, Any] = {}
    with suppress(OSError, ValueError, RecursionError):
        said = json.loads((place.parent / "config.json").read_bytes())
        if isinstance(said, dict) and architecture in ("", said.get("architecture")):
            beside = said
    architecture = architecture or str(beside.get("architecture", ""))
    if not architecture:
        raise BackboneError(
            f"{shown(place)}: whose weights are these? say it as NETWORK@FILE, with timm's name of "
            f"the network: resnet18@{shown(place.name)}"
        )
    config = _config(architecture)
    said = beside.get("pretrained_cfg")
    own = {**config, **(said if isinstance(said, dict) else {})}
    try:
        weights = Weights(
            name=name,
            architecture=str(config["architecture"]),
            sha256=_digest(place),
            mean=own["mean"],
            std=own["std"],
            licence=str(own.get("license") or "") if said else "",
            source=str(place),
        )
    except (ValueError, TypeError) as error:
        if isinstance(error, BackboneError):
            raise
        raise BackboneError(
            f"{shown(place.parent / 'config.json')}: {on_one_line(error)}"
        ) from error
    return weights, place


def _config(name: str) -> dict[str, Any]:
    """What timm knows of a network, or of certain weights of it.

    Raises:
        BackboneError: naming what is alike, if it knows none.
    """
    import timm
    from timm.models import get_pretrained_cfg

    config = None
    architecture, _, tag = name.partition(".")
    if ARCHITECTURE.fullmatch(architecture) and timm.is_model(architecture):
        with suppress(RuntimeError, KeyError):  # of a tag that the network has not
            config = get_pretrained_cfg(name)
        if config is None and not tag:
            return {"architecture": architecture, "mean": (0.5,) * 3, "std": (0.5,) * 3}
    if config is None:
        there = [*BACKBONES, *timm.list_models(), *timm.list_pretrained()]
        alike = difflib.get_close_matches(name, there, n=3, cutoff=0.5)
        raise BackboneError(
            f"unknown backbone {shown(name)!r}; it must be {', '.join(BACKBONES)}, a network of "
            "timm's by name, or NETWORK@FILE" + (f"; alike: {', '.join(alike)}" if alike else "")
        )
    return {**asdict(config), "architecture": architecture}


def _of_timm(name: str, tell: Tell) -> tuple[Weights, Path]:
    config = _config(name)
    repository, file = _on_hub(config)
    if not repository or config.get("custom_load"):
        where = config.get("url")
        raise BackboneError(
            f"timm names no weights of {name} that can be fetched as they are"
            + (f" (they are at {where})" if where else "")
            + f"; give a file: {config['architecture']}@FILE"
        )
    place, where = _from_hub(name, repository, file, tell)
    weights = Weights(
        name=name,
        architecture=str(config["architecture"]),
        sha256=_digest(place),
        mean=config["mean"],
        std=config["std"],
        licence=str(config.get("license") or ""),
        source=where,
    )
    return weights, place


def _on_hub(config: Mapping[str, Any]) -> tuple[str, str]:
    """Repository, empty if there is none, and file of weights on the hub."""
    return str(config.get("hf_hub_id") or ""), str(config.get("hf_hub_filename") or HUB_FILE)


def _from_hub(name: str, repository: str, file: str, tell: Tell) -> tuple[Path, str]:
    """The file in the hub's cache on this machine, and where it came from."""
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache

    where = f"{constants.ENDPOINT}/{repository}"
    if isinstance(there := try_to_load_from_cache(repository, file), str):
        return Path(there), where
    try:
        if not getproxies():  # the hub's own client tries for half a minute
            socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, None)
        tell(f"fetching the weights of {name}: {where}")
        with quiet("huggingface_hub"):
            fetched = hf_hub_download(repository, file, endpoint=constants.ENDPOINT)
            return Path(fetched), where
    except Exception as error:  # of networks, servers, disks: its own kinds and those of others
        raise BackboneError(
            f"the weights of {name} are not on this machine and cannot be fetched from {where} "
            f"({on_one_line(error)[:100]}); where there is a network, type hf download "
            f"{repository} {file}, and copy it here: {name.partition('.')[0]}@FILE; "
            "efficientnet-lite0 needs none"
        ) from error


def cached(name: str) -> Path | None:
    """The file of ``name`` on this machine, if it is there: nothing is fetched.

    Raises:
        BackboneError: for an unknown name.
    """
    if name in BACKBONES or "@" in name or name.endswith(SUFFIXES):
        with suppress(BackboneError):
            return find(name)[1]
        return None
    from huggingface_hub import try_to_load_from_cache

    repository, file = _on_hub(_config(name))
    there = try_to_load_from_cache(repository, file) if repository else None
    return Path(there) if isinstance(there, str) else None
