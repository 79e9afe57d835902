"""What is told of a network before it is trained: layers, sizes, and what a training takes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from program import ROOT, output, refusal, typed

from spaces.ours.cnn import NETWORKS, CnnConfig
from trainables.cnn.layers import layer_table
from trainables.cnn.models import build
from trainables.cnn.size import training_costs

TABLES: dict[str, list[list[Any]]] = json.loads(
    (ROOT / "plans" / "report" / "layer_tables.json").read_text()
)


@pytest.mark.parametrize(
    ("model", "total", "size"), [("mynet", 6_158_538, 23.49), ("resnet18", 11_173_962, 42.63)]
)
def test_describe_gives_the_reports_own_table(model: str, total: int, size: float) -> None:
    """Who holds the printed report must find every row of it, or the network is another one."""
    found = output("describe", model)
    assert [
        [row["name"], row["output_shape"], row["parameters"]] for row in found["layers"]
    ] == TABLES[model]
    assert (found["total_parameters"], found["size_mb"]) == (total, size)


@pytest.mark.parametrize(
    ("model", "passes", "whole"), [("mynet", "81.42", "104.93"), ("resnet18", "20.55", "63.19")]
)
def test_describe_prints_the_reports_footer(model: str, passes: str, whole: str) -> None:
    """The sizes under the table are the report's too, to the digit."""
    text = typed("describe", model).stdout
    assert f"Forward/backward pass size (MB): {passes}" in text
    assert f"Estimated Total Size (MB): {whole}" in text
    assert re.search(r"Conv2d-1 +\[-1, \d+, 3\d, 3\d\] +[\d,]+\n", text)


@pytest.mark.parametrize("model", NETWORKS)
def test_every_network_is_described_at_its_full_size(model: str) -> None:
    """Sizes decide before training, so they must be known without building the network."""
    for size in (32, 48, 64):
        with torch.device("meta"):
            net = build(model, 10, size)
        table = layer_table(net, size)
        assert table.layers[-1].output_shape == (-1, 10)
        assert [row.output_shape for row in table.layers if row.name.startswith("Linear-")][-1] == (
            -1,
            10,
        )
        assert sum(layer.parameters for layer in table.layers) == table.total_parameters


def test_a_network_is_left_as_it_was_by_being_described() -> None:
    """A table that switched dropout off, or left its hooks behind, would change the training after
    it.
    """
    net = build("mynet", 10, 32, {"width": 0.125}).train()
    before = [id(hook) for module in net.modules() for hook in module._forward_hooks.values()]
    layer_table(net, 32)
    assert net.training
    assert all(module.training for module in net.modules())
    assert (
        [id(hook) for module in net.modules() for hook in module._forward_hooks.values()]
        == before
        == []
    )
    layer_table(net.eval(), 32)
    assert not net.training


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("describe", "mynett"), "unknown model 'mynett'; the models are fastnet"),
        (
            ("describe", "lenet", "--set", "vgg_first=96"),
            "lenet has no parameter vgg_first; it has width",
        ),
        (
            ("describe", "resnet18", "--set", "stem=5x5"),
            "cnn.stem must be one of 3x3, 7x7, but got '5x5'",
        ),
        (("describe", "resnet18", "--set", "width=0.5,1"), "width must be one value"),
        (
            ("describe", "resnet18", "--size", "8"),
            "needs images of at least 32 × 32 pixels, but got 8 × 8",
        ),
    ],
)
def test_describe_refuses_in_one_line(arguments: tuple[str, ...], said: str) -> None:
    """The line names what is allowed."""
    assert said in refusal(*arguments)


def test_describe_shows_what_is_set() -> None:
    """A tweak can be looked at before it is searched."""
    found = output(
        "describe",
        "resnet18",
        "--set",
        "stem=7x7",
        "--set",
        "width=0.5",
        "--classes",
        "3",
        "--size",
        "64",
    )
    assert found["layers"][0] == {
        "name": "Conv2d-1",
        "output_shape": [-1, 32, 32, 32],
        "parameters": 3 * 32 * 49,
    }
    assert found["layers"][-1]["output_shape"] == [-1, 3]


def test_what_a_training_takes_is_known_before_it() -> None:
    """Memory that does not suffice ends a search after an hour, or a machine."""
    config = CnnConfig(model="vgg16", dropout_place="head", dropout=0.5, batch_size=32, ema=0.0)
    costs = training_costs(config, 1000, 224)
    assert costs["gmacs"] == pytest.approx(15.47, rel=0.01)  # Simonyan & Zisserman (2015)
    own = 3 * 4 * 138_365_992 / 2**20  # weights, gradients, momentum
    # batch norm's input, ReLU's output and what pooling chose, of 13 layers
    assert 32 * 90 < costs["training_mb"] - own < 32 * 150
    doubled = training_costs(replace(config, batch_size=64), 1000, 224)["training_mb"]
    assert doubled - own == pytest.approx(2 * (costs["training_mb"] - own), rel=1e-6)
    averaged = training_costs(replace(config, ema=0.9), 1000, 224)["training_mb"]
    assert averaged - costs["training_mb"] == pytest.approx(own / 3, rel=1e-3)
