"""The networks: the report's own as it prints them, all at both sizes, and the literature's as they
were published.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from program import ROOT
from torch import nn
from torchvision import models as tv

from spaces.ours.cnn import NETWORKS
from trainables.cnn.layers import architecture, layer_table
from trainables.cnn.models import build, tweak_defaults

REPORT = ROOT.parent / "shared" / "reference" / "report.txt"


def on_meta(model: str, **tweaks: Any) -> nn.Module:
    with torch.device("meta"):
        return build(model, 10, 32, tweaks)


@pytest.mark.skipif(not REPORT.exists(), reason=f"the report is not at {REPORT}")
@pytest.mark.parametrize(
    ("model", "begins", "ends"),
    [("mynet", "MyNet(", "2.2.2 number"), ("resnet18", "ResNet18(", "2.2.4 number")],
)
def test_the_printed_networks_are_the_reports(model: str, begins: str, ends: str) -> None:
    """The tables leave out kernels, strides and dropout; the printed networks do not."""
    text = REPORT.read_text()
    words = re.compile(r"[A-Za-z_]\w*|\d+\.?\d*(?:e-\d+)?|[()=,:]")
    theirs, mine = (
        words.findall(text[text.index(begins) : text.index(ends)]),
        words.findall(architecture(on_meta(model))),
    )
    position, lost = 0, 0
    for word in mine:
        # the scan has line numbers between, and lost or moved a few closing brackets
        while (
            position < len(theirs)
            and theirs[position] != word
            and (theirs[position].isdecimal() or (theirs[position], word) == (")", "("))
        ):
            lost += theirs[position] == ")"
            position += 1
        if position < len(theirs) and theirs[position] == word:
            position += 1
        else:
            assert word == ")", (word, theirs[position - 8 : position + 8])
            lost += 1
    assert lost <= 4
    assert all(word.isdecimal() or word == ")" for word in theirs[position:])


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("model", NETWORKS)
def test_every_network_runs_forward_and_backward(model: str, size: int) -> None:
    """Networks made for 224 pixels fail at 32, and one made for 32 may fail at 64."""
    torch.manual_seed(0)
    slim = {"densenet_growth": 12, "densenet_depth": 53} if model == "densenet" else {"width": 0.25}
    tweaks = {name: value for name, value in slim.items() if name in tweak_defaults(model)}
    net = build(model, 7, size, tweaks)
    scores = net(torch.rand(2, 3, size, size))
    assert scores.shape == (2, 7)
    scores.square().mean().backward()
    learned = [(name, p) for name, p in net.named_parameters() if p.requires_grad]
    assert [name for name, p in learned if p.grad is None or not torch.isfinite(p.grad).all()] == []
    assert (
        sum(float(p.grad.abs().sum()) > 0 for _, p in learned if p.grad is not None)
        > len(learned) / 2
    )


def published(name: str) -> int:
    """Parameters of the network of that name for 1000 classes, as torchvision publishes them beside
    its weights.
    """
    return int(tv.get_model_weights(name).DEFAULT.meta["num_params"])


@pytest.mark.parametrize(
    ("model", "theirs", "tweaks"),
    [
        ("vgg16", "vgg16_bn", {}),
        ("vgg19", "vgg19_bn", {}),
        ("resnet18", "resnet18", {"stem": "7x7"}),
        ("densenet", "densenet121", {"stem": "7x7"}),
        ("densenet", "densenet169", {"stem": "7x7", "densenet_depth": 169}),
        ("googlenet", "googlenet", {"stem": "7x7", "branch3_kernel": 3}),
    ],
)
def test_at_its_own_size_a_network_is_the_published_one(
    model: str, theirs: str, tweaks: dict[str, Any]
) -> None:
    """The names are the literature's: whoever compares figures must compare the same networks."""
    with torch.device("meta"):
        mine = build(model, 1000, 224, tweaks)
        other = tv.get_model(
            theirs, **({"aux_logits": False, "init_weights": False} if model == "googlenet" else {})
        )
    assert sum(p.numel() for p in mine.parameters()) == sum(p.numel() for p in other.parameters())
    if model != "googlenet":  # whose published weights have auxiliary classifiers beside them
        assert sum(p.numel() for p in mine.parameters()) == published(theirs)
        assert [tuple(v.shape) for v in mine.state_dict().values()] == [
            tuple(v.shape) for v in other.state_dict().values()
        ]


def test_lenet_for_colour_images_is_that_of_the_textbooks() -> None:
    """6 and 16 channels, 120 and 84 units: 5·5·3·6 + 6, 5·5·6·16 + 16, 400·120 + 120, 120·84 + 84
    and 84·10 + 10.
    """
    assert sum(p.numel() for p in on_meta("lenet").parameters()) == 456 + 2416 + 48120 + 10164 + 850


def test_alexnet_is_torchvision_s_but_for_the_kernels_that_small_images_are_too_small_for() -> None:
    """Five convolutions of its widths, pooled after the first, the second and the last; dropout
    before each hidden layer.
    """

    def outline(net: Any) -> list[tuple[str, int]]:
        layers = [*net.features, *net.classifier]
        found = [
            (type(m).__name__, getattr(m, "out_channels", getattr(m, "out_features", 0)))
            for m in layers
        ]
        return [(name, size) for name, size in found if name != "Flatten"]

    with torch.device("meta"):
        theirs = tv.alexnet(num_classes=10, dropout=0.4)
    mine = on_meta("alexnet", dropout=0.4, dropout_place="head")
    assert outline(mine) == outline(theirs)
    assert {m.p for m in mine.modules() if isinstance(m, nn.Dropout)} == {0.4}


@pytest.mark.parametrize("depth", [53, 89, 121, 169])
def test_a_densenet_s_depth_counts_the_layers_that_learn(depth: int) -> None:
    """Convolutions and the classifier, as in the paper's own names."""
    layers = [
        m
        for m in on_meta("densenet", densenet_depth=depth).modules()
        if isinstance(m, nn.Conv2d | nn.Linear)
    ]
    assert len(layers) == depth


@pytest.mark.parametrize(("model", "own"), [("resnet18", "resnet18"), ("densenet", "densenet121")])
def test_with_the_weights_of_torchvision_s_network_the_scores_are_its_scores(
    model: str, own: str
) -> None:
    """The same parameters can be joined otherwise: a pooling left out, a norm before instead of
    after.
    """
    torch.manual_seed(0)
    mine, other = (
        build(model, 5, 64, {"stem": "7x7"}).eval(),
        tv.get_model(own, num_classes=5).eval(),
    )
    mine.load_state_dict(dict(zip(mine.state_dict(), other.state_dict().values(), strict=True)))
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(mine(images), other(images))


@pytest.mark.parametrize(
    ("model", "layer"), [("resnet18", "resnet.layer4.1.conv2"), ("vgg16", "features.40")]
)
def test_deep_networks_begin_with_weights_that_let_a_signal_through(model: str, layer: str) -> None:
    """He et al. (2015): a variance of two over what a weight's channel adds up, or the last layers
    see nothing.
    """
    torch.manual_seed(0)
    weight = build(model, 10, 32, {"width": 0.5}).get_submodule(layer).weight
    assert isinstance(weight, torch.Tensor)
    assert float(weight.detach().std()) == pytest.approx(
        (2 / (9 * weight.shape[0])) ** 0.5, rel=0.02
    )


def test_fastnet_s_blocks_go_round_their_later_convolutions_and_its_scores_are_a_ninth() -> None:
    """The shortcut is what lets three convolutions learn as fast as two; the scale keeps the first
    steps at a high rate in bounds.
    """
    torch.manual_seed(0)
    net: Any = build("fastnet", 10, 32, {"width": 0.125, "fastnet_convolutions": 3}).eval()
    images = torch.rand(2, 3, 32, 32)
    with torch.no_grad():
        out = net.stem(images)
        for block in net.blocks:
            down = block.down(out)
            out = down + block.rest(down)
        largest = out.flatten(2).max(2).values
        torch.testing.assert_close(net(images), net.fc(largest) / 9)


def test_what_does_not_learn_is_counted_apart() -> None:
    """FastNet's 288 whitening filters are parameters of it, and of its size, that no step
    changes.
    """
    table = layer_table(on_meta("fastnet"), 32)
    assert table.total_parameters - table.trainable_parameters == 24 * 3 * 2 * 2
    assert "Non-trainable params: 288\n" in str(table)
    assert (
        layer_table(on_meta("fastnet", whiten=False), 32).trainable_parameters
        == table.total_parameters
    )


def test_whitening_makes_patches_uncorrelated_and_of_unit_variance() -> None:
    """That is what whitening means, and why the filters need not be learned."""
    torch.manual_seed(0)
    images = torch.nn.functional.avg_pool2d(torch.randn(64, 3, 34, 34), 3, stride=1)
    net: Any = build("fastnet", 10, 32)
    net.whiten_stem(images)
    out = net.stem[0](images)[:, :12] - net.stem[0].bias[:12, None, None]
    covariance = out.transpose(0, 1).flatten(1).cov()
    assert torch.allclose(covariance, torch.eye(12), atol=0.05)
    assert not net.stem[0].weight.requires_grad
