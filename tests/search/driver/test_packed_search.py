"""A search of images that memory should not hold, from the dry run to the use of its bundle."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cnn_search import arguments
from planted import photograph
from program import output, visiontune

from trainables.data import read_dataset
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
