"""The command that shows a network: its architecture and its table of layers, as the report prints
them.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from search.cli.options import Json

COMPUTED = 256
"""Pixels: the side of images up to which a network is really run to describe it."""


def describe(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A network, such as mynet, or a pretrained one: efficientnet-lite0, "
            "resnet18.a1_in1k.",
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change its architecture, as in --set width=0.5."
        ),
    ] = None,
    classes: Annotated[int, typer.Option(min=2, help="Classes it tells apart.")] = 10,
    size: Annotated[
        int | None,
        typer.Option(help="Side of its images, pixels: 32, or a pretrained network's own."),
    ] = None,
    json_: Json = False,
) -> None:
    """A network's architecture, layers (name, output shape, parameters) and size; of a pretrained
    one its features, what they cost, and whose weights it has.
    """
    from spaces.ours.cnn import NETWORKS

    if model not in NETWORKS and not set_:
        _describe_backbone(model, size, json_)
        return
    size = 32 if size is None else size
    import torch

    from trainables.cnn.layers import architecture, layer_table
    from trainables.cnn.models import build

    tweaks, threads = _tweaks(model, set_ or []), torch.get_num_threads()
    # Shapes alone, on torch's meta device, need its compiler, whose import takes longer than
    # computing a small image; a large one would need much memory.
    try:
        torch.set_num_threads(1)  # further ones would spend longer waiting than computing
        with torch.device("cpu" if size <= COMPUTED else "meta"):
            net = build(model, classes, size, tweaks)
        table = layer_table(net, size)
    finally:
        torch.set_num_threads(threads)
    if json_:
        layers = [
            {
                "name": layer.name,
                "output_shape": list(layer.output_shape),
                "parameters": layer.parameters,
            }
            for layer in table.layers
        ]
        facts = {
            "layers": layers,
            "total_parameters": table.total_parameters,
            "size_mb": round(table.size_mb, 2),
            "architecture": architecture(net),
        }
        print(json.dumps({"model": model, **facts}))
        return
    print(f"{architecture(net)}\n\n{table}")


def _describe_backbone(name: str, side: int | None, as_json: bool) -> None:
    """Of a pretrained network."""
    from spaces.ours.cnn import NETWORKS
    from trainables.embedding.cost import cost
    from trainables.pretrained.facts import BackboneError
    from trainables.pretrained.weights import cached, find

    try:
        found, place = cost(name, side), cached(name)
    except BackboneError as error:
        if "unknown backbone" in str(error):
            NETWORKS[name]  # says what there is
        raise
    known = find(name)[0] if place else None
    facts = {
        "model": name,
        "architecture": found.architecture,
        "total_parameters": found.parameters,
        "size_mb": round(found.mib, 2),
        "side": found.side,
        "features": found.widths,
        "bytes_an_image": found.bytes,
        "seconds_an_image": round(found.seconds, 4),
        "weights": str(place) if place else "not on this machine",
        "sha256": known.sha256 if known else "",
        "licence": known.licence if known else "",
        "source": known.source if known else "",
    }
    if as_json:
        print(json.dumps(facts))
        return
    facts["features"] = ", ".join(f"{part} {width:,}" for part, width in found.widths.items())
    for key, value in facts.items():
        print(f"{key:18} {value}")


def _tweaks(model: str, settings: list[str]) -> dict[str, Any]:
    """The architecture parameters of ``KEY=VALUE`` settings, checked against the space."""
    from search.cli.options import key_values
    from spaces.domain import SpaceError
    from spaces.ours.cnn import CNN

    tweaks = {}
    for name, text in key_values(settings, "--set").items():
        values = CNN.narrow({name: text})[name].domain.values()
        if len(values) != 1:
            raise SpaceError(
                f"describe shows one network, so {name} must be one value, but got {text!r}"
            )
        tweaks[name] = values[0]
    return tweaks


def networks() -> str:
    """What ``describe`` can show, for the end of its help."""
    from spaces.ours.cnn import NETWORKS

    return f"Networks: {', '.join(NETWORKS)}."


def spaces(json_: Json = False) -> None:
    """What can be searched: spaces, their parameters, what is tried and what is allowed."""
    from trainables.learners import LEARNERS

    known = [learner.space for learner in LEARNERS.values()]
    if json_:
        print(json.dumps([_space(space) for space in known], ensure_ascii=False))
        return
    for space in known:
        print(f"{space.name}: {space.doc}")
        for parameter in space.parameters:
            allowed = f"; allowed: {parameter.allowed}" if parameter.allowed else ""
            print(f"  {parameter.name:16} {parameter.domain}{allowed}\n  {'':16} {parameter.doc}")
        print()


def _space(space: Any) -> dict[str, Any]:
    parameters = [
        {
            "name": p.name,
            "domain": str(p.domain),
            "allowed": str(p.limits),
            "doc": p.doc,
            "when": {k: list(v) for k, v in (p.when or {}).items()},
        }
        for p in space.parameters
    ]
    return {"name": space.name, "doc": space.doc, "parameters": parameters}


def samplers(json_: Json = False) -> None:
    """Samplers and pruners, and what they go with."""
    from search.study.combinations import table

    found = table()
    if json_:
        print(json.dumps(found))
        return
    for kind in found.values():
        for row in kind:
            (_, name), (_, doc), *rest = row.items()
            print(
                f"{name:20} {doc}\n{'':20} " + "; ".join(f"{key}: {value}" for key, value in rest)
            )
        print()


def datasets(json_: Json = False) -> None:
    """What can be read: the dataset SPECs."""
    from spaces.datasets import specs

    if json_:
        print(json.dumps([{"spec": spec, "doc": doc} for spec, doc in specs().items()]))
        return
    for spec, doc in specs().items():
        print(f"{spec:22} {doc}")


COMMANDS = (describe, spaces, samplers, datasets)
