"""The networks: the report's own to the last row, all at both sizes, and each tweak where it
says.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace
from fnmatch import fnmatch
from typing import Any

import pytest
import torch
from program import ROOT, output, refusal, typed
from torch import nn
from torchvision import models as tv

from spaces.errors import UserError
from spaces.ours.cnn import CNN, NETWORKS, CnnConfig, architecture_parameters
from trainables.cnn.layers import architecture, layer_table
from trainables.cnn.models import build, tweak_defaults
from trainables.cnn.size import training_costs

TABLES: dict[str, list[list[Any]]] = json.loads(
    (ROOT / "plans" / "report" / "layer_tables.json").read_text()
)
REPORT = ROOT.parent / "shared" / "reference" / "report.txt"


def on_meta(model: str, **tweaks: Any) -> nn.Module:
    with torch.device("meta"):
        return build(model, 10, 32, tweaks)


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


def test_mynet_applies_the_dropout_that_its_table_leaves_out() -> None:
    """The report prints Dropout(0.2) and has no row for it; a net that drops nothing would be
    another.
    """
    torch.manual_seed(0)
    images = torch.rand(4, 3, 32, 32)
    for place, same in (("head", False), ("none", True)):
        net = build(
            "mynet", 10, 32, {"width": 0.125, "dropout": 0.2, "dropout_place": place}
        ).train()
        assert torch.equal(net(images), net(images)) == same


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


STEM, NONE = {"stem": "7x7"}, {"dropout_place": "none"}
DROP = {"dropout": 0.3, "dropout_place": "stages"}
CHANGES: list[tuple[str, dict[str, Any], dict[str, Any], list[str]]] = [
    ("resnet18", {}, STEM, ["resnet.conv1", "resnet.maxpool"]),
    ("resnet18", {}, {"stem_padding": 1}, ["resnet.conv1"]),
    ("mynet", {}, STEM, ["conv.0", "conv.3", "avgpool"]),
    ("mynet", {}, {"stem_padding": 3}, ["conv.0", "avgpool"]),
    ("mynet", {}, {"stem_convolutions": 3}, ["conv.*"]),
    ("mynet", {}, {"branch3_extra": False}, ["inception_*.branch3.2*"]),
    ("mynet", {}, {"branch3_kernel": 5}, ["inception_*.branch3.[12].conv"]),
    ("googlenet", {}, {"branch3_extra": True}, ["inception_*.branch3.2*"]),
    ("googlenet", {}, {"stem_convolutions": 1}, ["conv.*"]),
    ("googlenet", {}, STEM, ["conv.*", "avgpool"]),
    ("densenet", {}, STEM, ["densenet.features.*0"]),
    ("densenet", {}, {"densenet_depth": 53}, ["densenet.*"]),
    ("densenet", {}, {"densenet_growth": 12}, ["densenet.*"]),
    ("vgg16", {}, {"vgg_first": 96}, ["features.[01347]"]),
    ("vgg19", {}, {"vgg_first": 96}, ["features.[01347]"]),
    ("fastnet", {}, {"fastnet_convolutions": 3}, ["blocks.*.rest.*"]),
    ("resnet18", {}, {"dropout": 0.3, "dropout_place": "head"}, ["resnet.fc*"]),
    ("resnet18", {}, DROP, ["resnet.layer?.2"]),
    ("fastnet", {}, {"dropout": 0.3, "dropout_place": "head"}, ["fc*"]),
    ("vgg16", NONE, {"dropout": 0.3, "dropout_place": "head"}, ["classifier.*"]),
    ("mynet", {}, {"dropout": 0.3}, ["dropout"]),
]


@pytest.mark.parametrize(
    ("model", "before", "after", "places"), CHANGES, ids=lambda value: str(value)
)
def test_a_tweak_changes_the_network_in_the_place_it_names(
    model: str, before: dict[str, Any], after: dict[str, Any], places: list[str]
) -> None:
    """A parameter that changed nothing, or something else too, would be searched in vain or blamed
    wrongly.
    """

    def leaves(**tweaks: Any) -> dict[str, str]:
        return {
            name: str(module)
            for name, module in on_meta(model, **tweaks).named_modules()
            if not list(module.children())
        }

    one, other = leaves(**before), leaves(**(before | after))
    changed = {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}
    assert changed
    assert {name for name in changed if not any(fnmatch(name, place) for place in places)} == set()
    assert {place for place in places if not any(fnmatch(name, place) for name in changed)} == set()


@pytest.mark.parametrize("width", [0.5, 1.25])
@pytest.mark.parametrize("model", [model for model in NETWORKS if "width" in tweak_defaults(model)])
def test_width_scales_every_layer_but_stem_and_classes(model: str, width: float) -> None:
    """Every layer gives so many times the channels, rounded to eights, or width is not what it
    says.
    """

    def given(width: float) -> dict[str, int]:
        layers = on_meta(model, width=width).named_modules()
        return {
            name: m.out_channels if isinstance(m, nn.Conv2d) else m.out_features
            for name, m in layers
            if isinstance(m, nn.Conv2d | nn.Linear)
        }

    whole = given(1.0)
    (last,) = [name for name, channels in whole.items() if channels == 10]
    # made from patches, it has as many as these have dimensions
    fixed = {last} | ({"stem.0"} if model == "fastnet" else set())
    expected = {
        name: n if name in fixed else max(8, round(n * width / 8) * 8) for name, n in whole.items()
    }
    assert given(width) == expected


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


@pytest.mark.parametrize("model", [one for one in NETWORKS if "dropout" in tweak_defaults(one)])
@pytest.mark.parametrize("place", ["head", "stages", "both"])
def test_dropout_stands_where_it_is_asked_for(model: str, place: str) -> None:
    """Both kinds are there when both are asked for, and only then."""
    net = on_meta(model, dropout=0.3, dropout_place=place)
    channel = any(isinstance(m, nn.Dropout2d) or getattr(m, "drop_rate", 0) for m in net.modules())
    assert channel == (place != "head")
    assert any(isinstance(m, nn.Dropout) and m.p == 0.3 for m in net.modules()) == (
        place != "stages"
    )


@pytest.mark.parametrize("model", NETWORKS)
def test_the_space_offers_a_model_exactly_its_own_tweaks(model: str) -> None:
    """A tweak that a network lacks would stop a trial; one the space lacks is never searched."""
    offered: set[str] = set()
    for place in ("none", "both"):
        config = CnnConfig(model=model, dropout_place=place, dropout=0.1)
        offered |= set(config.tweaks())
        build_on_meta = on_meta(model, **config.tweaks())
        assert isinstance(build_on_meta, nn.Module)
    assert offered == set(tweak_defaults(model))
    assert offered <= {parameter.name for parameter in architecture_parameters()}


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


def test_the_space_and_the_config_agree() -> None:
    """The space is what may vary and the dataclass what runs; the defaults must be a configuration
    of the space.
    """
    assert list(asdict(CnnConfig())) == [
        parameter.name
        for parameter in CNN.parameters
        if not parameter.added or parameter.name in CnnConfig.__dataclass_fields__
    ]
    assert asdict(CnnConfig()).items() <= CNN.check(asdict(CnnConfig())).items()
    with pytest.raises(
        UserError, match=r"cnn\.model must be one of fastnet, resnet18, .* but got 'x'"
    ):
        CNN.check(asdict(CnnConfig(model="x")))
