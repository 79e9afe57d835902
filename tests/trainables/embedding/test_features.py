"""What a pretrained network sees: the same bits whoever stands beside an image, images of any
shape, and weights that are what they are said to be.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import timm
import torch

from trainables.data import Images
from trainables.embedding.cost import cost
from trainables.embedding.features import (
    BATCH,
    Features,
    check_seen,
    chosen,
    maps_of,
    network_features,
    seen_by,
    square,
)
from trainables.learners import LEARNERS
from trainables.pretrained.facts import BackboneError, Weights
from trainables.pretrained.network import Arrays, read_arrays, shape_of
from trainables.pretrained.packaged import BACKBONES

LITE0 = "efficientnet-lite0"
WIDTH = 2 * (1280 + 320)
ODD = ((1, 1), (3, 400), (500, 4, 3), (40, 30), (64, 64, 3))


def images(count: int = BATCH + 5) -> Images:
    random = np.random.default_rng(0)
    shapes = [ODD[number % len(ODD)] for number in range(count)]
    return Images.from_arrays(random.integers(0, 256, shape, dtype=np.uint8) for shape in shapes)


@functools.cache
def arrays() -> Arrays:
    weights = BACKBONES[LITE0].weights
    return read_arrays(facts={**weights.content, "name": LITE0})


def parts(of: Images, **changes: Any) -> Features:
    settings = {"side": 64, "crop": "squash", "mirrored": False, "own": False} | changes
    return network_features(of, arrays(), weights=BACKBONES[LITE0].weights.content, **settings)


def features(of: Images, **changes: Any) -> Any:
    return np.concatenate(list(parts(of, **changes).values()), axis=1)


def test_features_are_the_same_bits_whoever_stands_beside() -> None:
    """Parts of any size are computed on any node, and a bundle sees one image at a time."""
    whole = features(images())
    assert whole.shape == (BATCH + 5, WIDTH)
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()
    for first, last in ((0, 1), (3, 9), (BATCH - 1, BATCH + 5)):
        assert np.array_equal(features(images()[first:last]), whole[first:last])
    assert features(images(0)).shape == (0, WIDTH)


def test_the_last_layer_s_average_is_what_timm_gives() -> None:
    """Weights in another order would be another network, and as quick."""
    image = images()[4:5]
    net = whole()
    seen = torch.tensor(square(image[0], 64, "squash")).float() / 255.0
    batch = ((seen - 0.5) / 0.5).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = net.forward_features(batch).mean((2, 3)).numpy()  # type: ignore[operator]
    found = chosen(parts(image), "last", "average")
    assert found == pytest.approx(expected, abs=1e-3)
    assert found.std() > 0.1


def whole() -> torch.nn.Module:
    """The network with its classifier."""
    net: torch.nn.Module = timm.create_model(BACKBONES[LITE0].weights.architecture)
    net.load_state_dict({name: torch.tensor(array) for name, array in arrays().items()})
    return net.eval()


def test_a_picture_of_a_known_thing_is_known() -> None:
    """The network's own classes say whether its weights, colours and sizes are right: a plain disc
    of orange on green is a fruit to it, and noise is not.
    """
    side = 224
    across, down = np.mgrid[:side, :side] - side / 2
    disc = (across**2 + down**2 < 80**2)[..., None]
    shade = np.clip(1.15 - np.hypot(across + 25, down + 25) / 220, 0.4, 1.15)[..., None]
    picture = np.where(disc, np.array([250, 140, 20]) * shade, np.array([60, 120, 50]))
    batch = torch.from_numpy(np.clip(picture, 0, 255).astype(np.float32) / 127.5 - 1)
    with torch.inference_mode():
        best = whole()(batch.permute(2, 0, 1)[None]).argmax(1).item()
    fruits = range(948, 958)  # Granny Smith … custard apple, in ImageNet's order
    assert best in (*fruits, 852, 574, 722, 429, 430, 768, 805, 890)  # or a ball


@pytest.mark.parametrize("crop", ["squash", "centre", "pad"])
@pytest.mark.parametrize("shape", [*ODD, (10, 20_000, 3)])
def test_any_shape_becomes_a_square(crop: str, shape: tuple[int, ...]) -> None:
    """One pixel, a strip, grey: a search of photographs meets all of them."""
    image = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    assert square(image, 32, crop).shape == (32, 32, 3)


def test_crops_keep_what_they_say() -> None:
    """A centre crop has no margin, a padded image all of it, in its own proportions."""
    image = np.zeros((100, 200, 3), np.uint8)
    image[:, 50:150] = 255
    assert square(image, 64, "centre").min() == 255
    padded = square(image, 64, "pad")
    assert (padded[:15] == 128).all()
    assert (padded[-15:] == 128).all()
    assert (padded[20:44, 20:44] == 255).all()
    assert padded[20:44, :14].max() == 0
    with pytest.raises(ValueError, match="crop must be squash, centre or pad, but got 'x'"):
        square(image, 64, "x")


def test_mirror_images_are_those_of_mirrored_pictures() -> None:
    """Else their mean would count an image twice."""
    plain = images()[3:5]
    turned = Images.from_arrays(np.ascontiguousarray(image[:, ::-1]) for image in plain)
    squares = [square(image, 64, "squash")[:, ::-1] for image in plain]
    again = Images.from_arrays(np.ascontiguousarray(image) for image in squares)
    assert np.array_equal(features(plain, mirrored=True), features(again))
    assert features(turned) == pytest.approx(features(plain, mirrored=True), abs=0.35)


def test_layers_and_poolings_stand_side_by_side() -> None:
    """Each configuration takes its part of one result."""
    found = parts(images(3))
    assert {name: one.shape[1] for name, one in found.items()} == {
        "last average": 1280, "last gem": 1280, "blocks average": 320, "blocks gem": 320
    }  # fmt: skip
    for layer in ("last", "blocks"):
        for pooling in ("average", "gem"):
            assert np.array_equal(chosen(found, layer, pooling), found[f"{layer} {pooling}"])
    both = chosen(found, "both", "gem")
    assert np.array_equal(both, np.hstack([found["last gem"], found["blocks gem"]]))
    own = parts(images(3), own=True)
    assert own["last own"] == pytest.approx(own["last average"], abs=1e-4)
    assert chosen(own, "both", "own").shape == (3, 1600)


def test_networks_of_every_family_give_features_of_two_layers() -> None:
    """Maps come channels first or last, or as tokens with some that are no places, and the last
    block may be the last layer itself.
    """
    for name, sizes in {
        "test_resnet": (96, 192),
        "test_efficientnet": (256, 64),
        "test_vit": (64, 64),
        "swin_tiny_patch4_window7_224": (768, 384),
        "mvitv2_tiny": (768, 384),
        "mobilenetv3_small_050": (288, 24),
        "convnext_atto": (320, 160),
    }.items():
        net = shape_of(name, 0, 224).eval()
        with torch.inference_mode(), torch.device("meta"):
            last, blocks, _ = maps_of(net, torch.empty(2, 3, 224, 224))
        assert blocks is not None
        assert (last.shape[1], blocks.shape[1]) == sizes, name


def known(architecture: str) -> Weights:
    half = (0.5, 0.5, 0.5)
    return Weights(architecture, architecture, "0" * 64, half, half)


def test_tokens_that_are_no_places_are_not_averaged() -> None:
    """A class token among them would count as a piece of the image; asked for, it is all there
    is.
    """
    net = timm.create_model("test_vit", num_classes=0).eval()
    pixels = torch.randint(0, 256, (2, 3, 160, 160), dtype=torch.uint8)
    with torch.inference_mode():
        found = seen_by(net, known("test_vit"), pixels, own=True)
        tokens = net.forward_features((pixels.float() / 255 - 0.5) / 0.5)
        own = net.forward_head(tokens, pre_logits=True)
    assert torch.allclose(found["last average"], tokens[:, 1:].mean(1), atol=1e-5)
    assert torch.allclose(found["last own"], own, atol=1e-5)
    assert not torch.allclose(found["last own"], found["last average"], atol=1e-2)


@pytest.mark.parametrize(
    ("architecture", "side", "said"),
    [
        ("mixer_s32_224", 64, "images of 64 pixels .* its own are of 224: --set side=224"),
        ("levit_128", 288, "images of 288 pixels .* --set side=224"),
        ("inception_v4", 32, "images of 32 pixels .* --set side=299"),
        ("crossvit_9_240", 240, "no features of images of 240 pixels"),
        ("none_such", 64, "timm [0-9.]+ has no network 'none_such'"),
    ],
)
def test_what_a_network_cannot_see_is_said_in_a_line(
    architecture: str, side: int, said: str
) -> None:
    """Before a search begins, and without its weights."""
    with pytest.raises(BackboneError, match=said) as refused:
        check_seen(known(architecture), [side], ["last"])
    assert "\n" not in str(refused.value)
    check_seen(known("test_vit"), [32, 160, 224], ["last", "both"])


def test_a_layer_that_a_network_has_not_is_said_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """One block is the last layer, and there is none before it."""
    net = shape_of("test_resnet", 0, 64).eval()
    whole, between = net.forward_intermediates(torch.empty(1, 3, 64, 64, device="meta"))  # type: ignore[operator]
    monkeypatch.setattr(type(net), "forward_intermediates", lambda *a, **k: (whole, between[-1:]))
    check_seen(known("test_resnet"), [64], ["last"])
    with pytest.raises(BackboneError, match=r"test_resnet has no blocks .* --set layer=last"):
        check_seen(known("test_resnet"), [64], ["last", "both"])
    with pytest.raises(BackboneError, match="gives last average, but not blocks average"):
        chosen({"last average": np.zeros((1, 2), np.float32)}, "both", "average")


def test_what_features_cost_is_measured_before_any_are_made() -> None:
    """A search of a large network is a matter of hours, which a dry run says; weights are not
    needed for that.
    """
    found = cost("test_vit", 64)
    assert found.widths == dict.fromkeys(
        ("last average", "last gem", "blocks average", "blocks gem"), 64
    )
    assert (found.architecture, found.side, found.bytes) == ("test_vit", 64, 1024)
    assert found.seconds > 0
    assert cost("test_vit").side == 160
    dry = LEARNERS["embedding"].costs
    assert dry is not None
    config = {
        "backbone": LITE0, "side": 32, "crop": "squash", "layer": "last", "pooling": "gem",
        "norm": "none", "components": 0, "head": "lda",
    }  # fmt: skip
    one, both = (dry({**config, "views": views}, 2, 32) for views in ("one", "mirrored"))
    assert one["bytes_an_image"] == 4 * WIDTH
    assert both["seconds_an_image"] == pytest.approx(2 * one["seconds_an_image"], abs=2e-4)
