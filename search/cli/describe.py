"""The command that shows a network: its architecture and its table of layers, as the report prints
them.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from search.cli.options import Json
from spaces.cnn import NETWORKS


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

    with torch.device("meta"):  # nothing is computed, so size does not matter
        net = build(model, classes, size, _tweaks(model, set_ or []))
    table = layer_table(net, size)
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
    from spaces.cnn import CNN
    from spaces.domain import SpaceError

    tweaks = {}
    for name, text in key_values(settings, "--set").items():
        values = CNN.narrow({name: text})[name].domain.values()
        if len(values) != 1:
            raise SpaceError(
                f"describe shows one network, so {name} must be one value, but got {text!r}"
            )
        tweaks[name] = values[0]
    return tweaks


describe.__doc__ = f"{describe.__doc__}\n\n    Networks: {', '.join(NETWORKS)}.\n    "
COMMANDS = (describe,)
