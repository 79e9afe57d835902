"""A search of images that memory should not hold, from the dry run to the use of its bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cnn_search import arguments
from one_ray import OneRay
from planted import photograph
from program import output, visiontune

from search.cluster import nodes
from spaces.errors import DatasetError
from trainables.data import ReadOptions, listed, read_dataset
from trainables.images import packing
from trainables.stages.cache import shards_folder


@pytest.mark.slow
def test_packed_images_are_searched_resumed_exported_and_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has more images than memory types what others type: a dry run says what will be done and
    reads nothing, a search begins from what is packed and goes on by it wherever the limit stands,
    and the bundle judges to the last digit as its trial was judged.
    """
    for split, count in (("train", 30), ("test", 5)):
        for label, name in enumerate(("ant", "bee")):
            folder = tmp_path / "data" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                picture = photograph(1000 * label + number + 100 * (split == "test"), 96, 72)
                picture.save(folder / f"{number:02d}.jpg")
    spec, runs = f"folder:{tmp_path}/data", tmp_path / "runs"
    words = arguments(runs, "packed", 1, 1, "--audit", "off", dataset=spec)
    monkeypatch.setenv("VISIONTUNE_PACKED_GIB", "0")
    notes = " ".join(output(*words, "--dry-run")["notes"])
    assert "packed as squares of 64 pixels" in notes
    assert "keeps its images in memory" in notes
    assert not shards_folder(runs).exists()
    assert visiontune(*words).returncode == 0
    facts = json.loads((runs / "packed" / "data.json").read_text())
    assert facts["square"] == 64
    assert facts["fingerprint"] != read_dataset(spec).fingerprint
    monkeypatch.delenv("VISIONTUNE_PACKED_GIB")
    done = visiontune("extend", "packed", "--runs-dir", runs, "--trials", 1)
    assert done.returncode == 0, done.stderr
    made = output("export", "packed", "--runs-dir", runs, "--out", tmp_path / "bundle")
    judged = output("evaluate", tmp_path / "bundle", "--dataset", spec)
    assert judged["accuracy"] == made["test_accuracy"]
    kept = output("cache", "list", "--runs-dir", runs)
    assert any(entry["stage"].startswith("packed_images") for entry in kept)


@pytest.mark.parametrize("uri", ["", "file://"])
def test_shards_that_tasks_of_ray_s_make_are_those_made_here(
    uri: str, tmp_path: Path, one_ray: OneRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels are the same, whichever node reads a file; and what a task cannot read is named as by
    whoever reads alone.
    """
    for name in ("ant", "bee"):
        (tmp_path / "data/train" / name).mkdir(parents=True)
        for number in range(40):
            place = tmp_path / "data/train" / name / f"{number}.jpg"
            photograph(number + 100 * (name == "bee"), 30, 20).save(place)
    spec = f"folder:{uri}{tmp_path}/data"
    options = ReadOptions(color="rgb", packed=True, shards=str(tmp_path / "shards"))
    monkeypatch.setenv("VISIONTUNE_DATA", str(tmp_path / "copies"))
    monkeypatch.setattr(packing, "MOST", 16)
    monkeypatch.setattr(packing, "FEWEST", 16)
    monkeypatch.setattr(listed, "PROBED", 4)
    monkeypatch.setattr(nodes, "made_here", None)  # no shard is made so
    two = {name: nodes.Node(name, "", "", {"CPU": 1.0}) for name in "ab"}
    monkeypatch.setattr(nodes, "alive", lambda: two)
    found = nodes.read_on_all_nodes(spec, options)
    assert found.train.images.packed
    assert found.fingerprint == read_dataset(spec, ReadOptions(color="rgb")).fingerprint
    (tmp_path / "data/train/bee/7.jpg").write_bytes(b"none")
    with pytest.raises(DatasetError, match=r"train/bee/7\.jpg: not an image"):
        nodes.read_on_all_nodes(spec, options)
