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
            metavar="MODEL", help="A network, such as mynet; see visiontune describe --help."
        ),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change its architecture, as in --set width=0.5."
        ),
    ] = None,
    classes: Annotated[int, typer.Option(min=2, help="Classes it tells apart.")] = 10,
    size: Annotated[int, typer.Option(help="Side of its images, pixels.")] = 32,
    json_: Json = False,
) -> None:
    """A network's architecture, layers (name, output shape, parameters) and size."""
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


COMMANDS = (describe,)
