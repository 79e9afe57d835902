"""Weights of the hub that timm names are fetched once, or a line says what to type."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hub_server import Hub, hub_server, use
from small_network import SMALL, saved, small

from trainables.io.files import sha256
from trainables.pretrained.facts import BackboneError
from trainables.pretrained.network import read_tensors
from trainables.pretrained.weights import cached, find

TIMMS = "test_resnet.r160_in1k"
HUB = "timm/test_resnet.r160_in1k"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with the weights of a small network, and an empty cache of ours."""
    saved(tmp_path / "hub" / HUB / "model.safetensors")
    with hub_server(tmp_path / "hub") as server:
        use(server, tmp_path / "cache", monkeypatch)
        yield server


def test_weights_of_timm_s_are_fetched_once(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    """Said, known by their content, and there from then on, also where the network is gone."""
    assert cached(TIMMS) is None
    said: list[str] = []
    weights, place = find(TIMMS, said.append)
    assert said == [f"fetching the weights of {TIMMS}: {hub.endpoint}/{HUB}"]
    assert weights.sha256 == sha256(hub.folder / HUB / "model.safetensors")
    assert (weights.architecture, weights.licence) == (SMALL, "apache-2.0")
    assert weights.source == f"{hub.endpoint}/{HUB}"
    assert len(hub.gets) == 1
    assert read_tensors(weights, place).keys() == small().keys()
    (hub.folder / HUB / "model.safetensors").unlink()
    assert find(TIMMS, said.append) == (weights, place)
    assert cached(TIMMS) == place
    assert len(said) == len(hub.gets) == 1
    capsys.readouterr()


def test_a_hub_that_has_not_the_file_or_is_not_there_says_what_to_type(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, soon, and a way without a network."""
    (hub.folder / HUB / "model.safetensors").unlink()
    type_this = f"type hf download {HUB} model.safetensors, and copy it here: {SMALL}@FILE"
    with pytest.raises(BackboneError, match=type_this):
        find(TIMMS)
    hub.endpoint = "https://no-such-hub.invalid"
    use(hub, tmp_path / "cache", monkeypatch)
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    said: list[str] = []
    with pytest.raises(BackboneError, match=type_this) as refused:
        find(TIMMS, said.append)
    assert "\n" not in str(refused.value)
    assert said == []
    assert capsys.readouterr().err == ""
