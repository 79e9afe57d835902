"""Each tweak of a network changes what it names, and a space offers a network its own alone."""

from __future__ import annotations

from dataclasses import asdict
from fnmatch import fnmatch
from typing import Any

import pytest
import torch
from torch import nn

from spaces.errors import UserError
from spaces.ours.cnn import CNN, NETWORKS, CnnConfig, architecture_parameters
from trainables.cnn.models import build, tweak_defaults


def on_meta(model: str, **tweaks: Any) -> nn.Module:
    with torch.device("meta"):
        return build(model, 10, 32, tweaks)


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
