"""A search of classifiers on a pretrained network's features, as a user runs it: on pieces of the
two photographs that come with scikit-learn.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm
from conftest import MakeFolder, for_reading
from hostile import with_model
from huggingface_hub import constants
from only_named import evaluated
from PIL import Image
from program import output, refusal, refused, visiontune
from safetensors.numpy import load_file, save
from safetensors.torch import save_file as save_torch
from sklearn.datasets import load_sample_image

from analysis.bundle.bundle import read_bundle
from analysis.plan.plan import Plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts
from trainables.data import ReadOptions, read_dataset
from trainables.data.source import data_source
from trainables.io.files import sha256

SMALL = ("--set", "side=64", "--set", "crop=squash")


def photographs(root: Path, count: int = 14) -> Path:
    """Pieces of a temple, of a flower and of their shades of grey, in train and test."""
    random = np.random.default_rng(0)
    for name in ("china", "flower"):
        whole = load_sample_image(f"{name}.jpg")
        for number in range(count):
            top, left = (random.integers(0, length - 128) for length in whole.shape[:2])
            piece = Image.fromarray(whole[top : top + 128, left : left + 128])
            part = "train" if number < count - 4 else "test"
            folder = root / part / name
            folder.mkdir(parents=True, exist_ok=True)
            (piece.convert("L") if number % 5 == 0 else piece).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def searched(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs directory with a finished search and its bundle; for reading."""
    runs = tmp_path_factory.mktemp("embedding")
    images = photographs(runs / "images")
    done = visiontune(
        "run", "--space", "embedding", "--dataset", f"folder:{images}", "--trials", 12, "--name",
        "seen", "--runs-dir", runs, "--no-tracking", *SMALL,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    output("export", "seen", "--runs-dir", runs, "--out", runs / "bundle")
    return for_reading(request, runs)


def test_many_images_are_judged_on_a_part_held_out(
    monkeypatch: pytest.MonkeyPatch, make_folder: MakeFolder, tmp_path: Path
) -> None:
    """Five classifiers a trial of tens of thousands of images each would leave a search of a
    quarter of an hour without a trial; a run that began with folds goes on with them.
    """
    spec = f"folder:{make_folder(tmp_path / 'x', {'train': {'cat': 10, 'owl': 10}})}"
    plans = {space: Plan(spaces=(space,), dataset=spec) for space in ("embedding", "tiny-image")}

    def judged(space: str, options: ReadOptions) -> tuple[str, dict[str, int]]:
        sizes = data_source(read_dataset(spec, options), options).sizes
        return plans[space].validation_for(sizes).scheme, sizes

    few = plans["embedding"].read_options()
    assert judged("embedding", few) == ("k-fold", {"train": 20})
    monkeypatch.setattr("analysis.plan.seen.MANY", 20)
    many = plans["embedding"].read_options()
    assert judged("embedding", many) == ("val", {"train": 16, "val": 4})
    assert judged("tiny-image", plans["tiny-image"].read_options())[0] == "leave-one-out"
    began = DataFacts(spec=spec, classes=("cat", "owl"), sizes={"train": 20}, fingerprint="")
    assert judged("embedding", began.as_read(many))[0] == "k-fold"


def test_trials_share_features_and_differ_in_what_is_made_of_them(searched: Path) -> None:
    """The network sees each image once a view, however many heads are tried."""
    folder = RunDirectory(searched / "seen")
    records = folder.records()
    assert [record.state for record in records] == ["COMPLETE"] * 12
    assert len({json.dumps(record.config, sort_keys=True) for record in records}) > 6
    assert max(record.metrics["val_accuracy"] for record in records) >= 0.8
    logs = [path.read_text() for path in folder.path.glob("trials/embedding/*/log.txt")]
    assert len(logs) == 12
    assert sum("features computed" in log for log in logs) <= 2


def test_they_are_judged_in_folds_and_by_images_that_their_head_has_not_seen(
    searched: Path,
) -> None:
    """A linear head that had seen them would be right about all."""
    assert RunDirectory(searched / "seen").plan().validation == "auto"
    facts = read_bundle(searched / "bundle").facts
    assert facts.val.scheme == "k-fold"
    assert facts.val.n == 20


def test_a_bundle_holds_the_network_and_classifies_pictures_of_any_shape(
    searched: Path, tmp_path: Path
) -> None:
    """It needs neither the search nor the package that the weights came with."""
    whole = load_sample_image("flower.jpg")
    for name, piece in (("wide", whole[:30, :600]), ("dot", whole[:1, :1]), ("all", whole)):
        Image.fromarray(piece).save(tmp_path / f"{name}.png")
    Image.fromarray(whole).convert("L").save(tmp_path / "grey.png")
    found = {
        Path(one["path"]).stem: one for one in output("predict", searched / "bundle", tmp_path)
    }
    assert set(found) == {"wide", "dot", "all", "grey"}
    assert all(set(one["scores"]) == {"china", "flower"} for one in found.values())
    assert found["all"]["class"] == "flower"


def test_evaluate_gives_what_export_said(searched: Path, tmp_path: Path) -> None:
    """The test images, scored by the written files; a bundle counts who looks at them."""
    bundle = Path(shutil.copytree(searched / "bundle", tmp_path / "bundle"))
    facts = read_bundle(bundle).facts
    assert facts.test is not None
    images = f"folder:{searched / 'images'}"
    found = output("evaluate", bundle, "--dataset", images)
    assert found["accuracy"] == facts.test.accuracy


@pytest.mark.parametrize(("off", "made"), [(0.004, True), (0.006, False)])
def test_another_processor_may_tip_an_image_near_a_tie_and_no_more(
    searched: Path, tmp_path: Path, off: float, made: bool
) -> None:
    """A head that was judged on a node of another kind is worth exporting; one whose figure is
    another is none of that trial.
    """
    runs = Path(shutil.copytree(searched, tmp_path / "runs"))
    folder = RunDirectory(runs / "seen")
    best = max(folder.records(), key=lambda record: record.metrics["val_accuracy"])
    (folder.trial("embedding", best.number) / "result.json").unlink()
    there = best.metrics["val_accuracy"]
    changed = best.model_copy(update={"metrics": best.metrics | {"val_accuracy": there - off}})
    folder.write_record(changed, "", None, folder.predictions(best))
    asked = ("export", "seen", "--trial", best.number, "--runs-dir", runs, "--out", tmp_path / "b")
    if made:
        output(*asked)
    else:
        assert "recorded" in refusal(*asked)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("network", "must be finite"),
        ("layer", "not those of efficientnet-lite0"),
        ("head", "the head's"),
        ("more", "which no bundle has"),
    ],
)
def test_a_bundle_whose_parts_do_not_fit_is_refused_in_a_line(
    searched: Path, tmp_path: Path, change: str, said: str
) -> None:
    """Arrays of another shape would give a class all the same."""
    bundle = Path(shutil.copytree(searched / "bundle", tmp_path / "bundle"))
    tensors = load_file(bundle / "model.safetensors")
    some = next(name for name in tensors if name.startswith("backbone.") and "weight" in name)
    if change == "network":
        tensors[some] = np.full_like(tensors[some], np.nan)
    elif change == "layer":
        del tensors[some]
    elif change == "head":
        name = next(name for name in tensors if name.startswith("head."))
        tensors[name] = tensors[name][:-1]
    else:
        tensors["other"] = np.zeros(3)
    with_model(bundle, save(tensors))
    said_by_it = refusal("predict", bundle, searched / "images" / "test")
    assert said in said_by_it
    assert "\n" not in said_by_it.strip()


def odd_photographs(root: Path) -> Path:
    """As ``photographs``, with one pixel, a strip and a grey one among them."""
    photographs(root, 9)
    random = np.random.default_rng(1)
    for name in ("china", "flower"):
        for number, shape in enumerate(((1, 1, 3), (20, 10_000, 3), (40, 30), (10_000, 20, 3))):
            pixels = random.integers(0, 256, shape, dtype=np.uint8)
            Image.fromarray(pixels).save(root / "train" / name / f"odd-{number}.png")
    return root


def test_a_network_of_one_s_own_in_a_file(tmp_path: Path) -> None:
    """Searched by name and file on images of any shape, kept with its SHA-256 in plan and bundle,
    and in the bundle it needs the file no more; a file that changed is refused when the search
    goes on.
    """
    images = odd_photographs(tmp_path / "images")
    weights = tmp_path / "own.safetensors"
    net = timm.create_model("test_vit", num_classes=3)
    save_torch(net.state_dict(), weights)
    asked = ("--name", "own", "--runs-dir", tmp_path / "runs", "--no-tracking", "--set", "side=160")
    done = visiontune(
        "run", "--space", "embedding", "--dataset", f"folder:{images}", "--trials", 4, *asked,
        "--set", f"backbone=test_vit@{weights.name}", "--set", "pooling=average,own",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = RunDirectory(tmp_path / "runs" / "own")
    name, digest = f"test_vit@{weights}", sha256(weights)
    assert [record.state for record in run.records()] == ["COMPLETE"] * 4
    assert {record.config["backbone"] for record in run.records()} == {name}
    assert {known: one.sha256 for known, one in run.plan().weights.items()} == {name: digest}
    runs = ("--runs-dir", tmp_path / "runs")
    output("export", "own", *runs, "--out", tmp_path / "bundle")
    save_torch(timm.create_model("test_vit", num_classes=3).state_dict(), weights)
    line = refusal("extend", "own", "--trials", 2, *runs)
    assert f"weights of {name} have changed since run own began" in line
    refusal("export", "own", *runs, "--out", tmp_path / "again")
    assert not (tmp_path / "again").exists()
    weights.unlink()
    assert "there is no such file of weights" in refusal("extend", "own", "--trials", 2, *runs)
    assert [record.state for record in run.records()] == ["COMPLETE"] * 4
    facts = read_bundle(tmp_path / "bundle").facts
    assert facts.weights is not None
    assert facts.weights.sha256 == digest
    found = output("evaluate", tmp_path / "bundle", "--dataset", f"folder:{images}")
    assert found["accuracy"] == facts.test.accuracy  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["backbone=resnet19"], "unknown backbone 'resnet19'"),
        (["backbone=test_vit@none.pth"], "there is no such file of weights"),
        (["backbone=resnet18"], "type hf download timm/resnet18.a1_in1k model.safetensors"),
    ],
)
def test_weights_that_cannot_be_had_are_a_line_before_anything_begins(
    settings: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is started for a search that cannot begin, and nothing is left of it."""
    monkeypatch.setattr(constants, "ENDPOINT", "https://no-such-hub.invalid")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    images = photographs(tmp_path / "images", 6)
    line = refused(
        "run", "--space", "embedding", "--dataset", f"folder:{images}", "--trials", 1,
        "--runs-dir", tmp_path / "runs", "--no-tracking",
        *(word for setting in settings for word in ("--set", setting)),
    )  # fmt: skip
    assert said in line
    assert not any((tmp_path / "runs").glob("[!.]*"))


@pytest.mark.slow
def test_a_bundle_is_used_where_only_what_it_names_is_installed(
    searched: Path, tmp_path: Path
) -> None:
    """Whoever is handed it installs what it says, and no more."""
    bundle = Path(shutil.copytree(searched / "bundle", tmp_path / "bundle"))
    facts = read_bundle(bundle).facts
    assert facts.test is not None
    found = evaluated(bundle, f"folder:{searched / 'images'}")
    assert found["accuracy"] == facts.test.accuracy
