"""Why an image is given its class: places that speak for it, and the nearest training images."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from finished import BAG, TINY, finished
from PIL import Image
from program import refused, typed

from analysis.bundle.bundle import read_bundle, read_facts
from analysis.bundle.knn import KnnModel
from analysis.explain.reasons import why
from analysis.run.directory import RunDirectory
from search.driver.reporting import write_mistakes


def stripes(across: bool, seed: int) -> np.ndarray:
    """(48, 48) grey, with stripes in the left half and nothing in the right."""
    random = np.random.default_rng(seed)
    image = np.full((48, 48), 120.0)
    wave = 100 * np.sign(np.sin(np.arange(48) * 0.4 + random.uniform(0, 1)))
    image[:, :24] += wave[:, None] if across else wave[None, :24]
    image[:, :24] += random.normal(0, 2, (48, 24))
    return image.clip(0, 255).astype(np.uint8)


def write_stripes(root: Path, names: tuple[str, str] = ("down", "over")) -> Path:
    for label, name in enumerate(names):
        for number in range(12):
            place = root / ("train" if number < 10 else "test") / name / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(stripes(bool(label), 100 * label + number)).save(place)
    return root


TRIALS = [
    ("tiny-image", TINY),
    ("bag-of-sift", BAG | {"vocabulary_step": 4, "step": 4, "scales": 1, "regions": "none"}),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stripes(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished search of them, part of whose training images was held out."""
    runs = tmp_path_factory.mktemp("runs")
    settings: dict[str, Any] = {"validation": "hold-out", "hold_out": 0.3, "seed": 3}
    return finished(runs, f"folder:{folder}", TRIALS, **settings)


def exported(run: RunDirectory, number: int) -> Path:
    out = run.path.parent / f"bundle-{number}"
    if not out.exists():
        words = ("--trial", f"{TRIALS[number][0]}/{number}", "--no-test")
        done = typed("export", run.path, "--out", out, *words)
        assert done.returncode == 0, done.stderr
    return out


def explained(bundle: Path, *images: Path) -> list[dict[str, Any]]:
    done = typed("explain", bundle, *images, "--out", bundle.parent / "why.html", "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["images"]
    return found


def test_words_that_decide_are_found_where_they_lie(run: RunDirectory) -> None:
    """The right half is the same in both classes, and speaks for neither."""
    model = read_bundle(exported(run, 1))
    for label in (0, 1):
        (reason,) = why(model, stripes(bool(label), 7), label)
        assert reason.heat is not None
        # a descriptor at the edge between them describes some of the right half too
        left, right = reason.heat.places[:, :32], reason.heat.places[:, 52:]
        assert left.mean() > 10 * right.mean()
        assert reason.heat.places.max() == 1


def test_the_nearest_training_images_are_named_though_part_was_held_out(
    run: RunDirectory, folder: Path
) -> None:
    """A bundle has features, no pictures: files are found again, each by its own features."""
    bundle = exported(run, 0)
    assert read_facts(bundle).hold_out == 0.3
    model = read_bundle(bundle)
    inner: Any = getattr(model, "inner", model)
    assert isinstance(inner, KnnModel)
    images = [folder / "test" / name / "11.png" for name in ("over", "down")]
    for row, image in zip(explained(bundle, *images), images, strict=True):
        assert row["class"] == image.parent.name
        (reason,) = row["reasons"]
        assert reason["remark"] == "3 of the 3 nearest have this class"
        for near in reason["nearest"]:
            assert near["class"] == row["class"]
            assert near["image"].startswith(f"train/{row['class']}/")
            seen = inner.features_of(read_images([folder / near["image"]]))
            mirror = len(inner.features) // 2 * near["mirrored"]
            if not near["mirrored"]:
                assert np.allclose(seen, inner.features[near["number"] + mirror])
    page = (bundle.parent / "why.html").read_text()
    assert page.count("data:image/jpeg") >= 2 + 6
    assert "http" not in page, "it needs no other file, and no network"


def read_images(paths: list[Path]) -> Any:
    from trainables.data import Images

    return Images.from_arrays([np.asarray(Image.open(path)) for path in paths])


def test_a_training_image_that_was_changed_is_not_shown(run: RunDirectory, folder: Path) -> None:
    """Another picture under its name never voted."""
    bundle, image = exported(run, 0), folder / "test" / "down" / "11.png"
    near = explained(bundle, image)[0]["reasons"][0]["nearest"]
    changed = folder / near[0]["image"]
    content = changed.read_bytes()
    try:
        Image.fromarray(stripes(True, 999)).save(changed)
        after = explained(bundle, image)[0]["reasons"][0]["nearest"]
        assert [one["image"] == "" for one in after] == [
            one["number"] == near[0]["number"] for one in after
        ]
        folder.rename(folder.parent / "away")
        (folder.parent / "11.png").write_bytes(
            (folder.parent / "away/test/down/11.png").read_bytes()
        )
        gone = explained(bundle, folder.parent / "11.png")[0]["reasons"][0]["nearest"]
        assert {one["image"] for one in gone} == {""}
        assert [one["class"] for one in gone] == ["down"] * 3
        assert "not where they were" in (bundle.parent / "why.html").read_text()
    finally:
        if (folder.parent / "away").exists():
            (folder.parent / "away").rename(folder)
        changed.write_bytes(content)


def test_members_of_an_ensemble_speak_for_themselves(run: RunDirectory) -> None:
    """Each has reasons of its own for the class that all give together."""
    from analysis.ensemble.model import EnsembleModel

    members = tuple(read_bundle(exported(run, number)) for number in (0, 1))
    digests = np.zeros((2, 32), np.uint8)
    together = EnsembleModel(members[0].facts, members, np.array([2, 1]), digests)
    reasons = why(together, stripes(True, 5), 1)
    assert [reason.who for reason in reasons] == [
        "member 1, counted 2 of 3 times",
        "member 2, counted 1 of 3 times",
    ]
    assert [reason.heat is None for reason in reasons] == [True, False]


def test_an_image_is_no_reason_for_its_own_mistake(tmp_path: Path) -> None:
    """Judged by leave-one-out, a training image was told its class by the others; so it is when the
    mistake is explained.
    """
    root = write_stripes(tmp_path / "images")
    for number in range(2):  # wrong labels
        (root / f"train/over/wrong{number}.png").write_bytes(
            (root / f"train/down/{number}.png").read_bytes()
        )
        (root / f"train/down/{number}.png").unlink()
    made = finished(tmp_path / "runs", f"folder:{root}", TRIALS[:1])
    made.report.mkdir()
    bundle = exported(made, 0)
    page = (made.report / "mistakes.html").read_text()
    assert "train/over/wrong0.png" in page
    assert "but it is <b>over</b>" in page
    assert "mistakes.html" in (made.report / "report.html").read_text()
    assert write_mistakes(made, made.plan(), bundle, made.records()[0])
    near = page.partition("<h2>train/over/wrong0.png</h2>")[2].partition("<section>")[0]
    captions = near.partition('class="row near"')[2]
    assert "train/down/" in captions
    assert "wrong0" not in captions


def test_what_cannot_be_explained_is_refused_in_a_line(run: RunDirectory, folder: Path) -> None:
    """Before anything is written."""
    bundle, out = exported(run, 0), run.path.parent / "none.html"
    many = [folder / "test/down/11.png"] * 101
    said = refused("explain", bundle, *many, "--out", out)
    assert "at most 100 images are explained at once, but got 101" in said
    assert str(folder / "no.png") in refused("explain", bundle, folder / "no.png", "--out", out)
    assert not out.exists()
