"""``visiontune check``: each kind of fault that is planted is found, and nothing where none is."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from planted import clean_folder, photograph
from program import refused, typed

from trainables.audit.look import look_at

SCENES = Path("/work/shared/data/scenes15")


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clean_folder(tmp_path_factory.mktemp("data") / "clean")


@pytest.fixture
def data(clean: Path, tmp_path: Path) -> Path:
    """A copy of the clean folder that a test may plant a fault in."""
    return Path(shutil.copytree(clean, tmp_path / "data"))


def checked(root: Path, *options: object) -> dict[str, Any]:
    done = typed("check", f"folder:{root}", *options, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def found_in(root: Path, *options: object) -> dict[str, list[list[str]]]:
    """Kind of each finding to its groups of images, by name."""
    return {
        finding["kind"]: [[image["image"] for image in group] for group in finding["groups"]]
        for finding in checked(root, *options)["findings"]
    }


def test_a_clean_folder_gives_nothing(clean: Path) -> None:
    """Whoever is warned for nothing heeds no warning."""
    assert found_in(clean) == {}
    assert "nothing found" in typed("check", f"folder:{clean}").stdout


def test_copies_are_told_by_where_they_stand(data: Path) -> None:
    """A copy across the split flatters the test; one inside a split counts a picture twice."""
    shutil.copy(data / "train/ant/003.jpg", data / "test/ant/copy.jpg")
    shutil.copy(data / "train/bee/001.jpg", data / "train/bee/again.jpg")
    with Image.open(data / "train/ant/005.jpg") as image:
        image.save(data / "test/ant/same.bmp")
    assert found_in(data) == {
        "copies-across": [
            ["test/ant/copy.jpg", "train/ant/003.jpg"],
            ["test/ant/same.bmp", "train/ant/005.jpg"],
        ],
        "copies-inside": [["train/bee/001.jpg", "train/bee/again.jpg"]],
    }
    said = typed("check", f"folder:{data}").stdout
    assert "2 test images are also training images, pixel by pixel" in said
    assert "1 picture stands more than once among the training images, byte for byte" in said
    assert "test/ant/copy.jpg  =  train/ant/003.jpg" in said


def again(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=50)
    return Image.open(file)


def cut(image: Image.Image) -> Image.Image:
    return image.crop((8, 0, image.width - 2, image.height - 9))


WAYS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "saved again": again,
    "smaller": lambda image: image.resize((70, 53)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "grey": lambda image: image.convert("L"),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "turned left": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned right": lambda image: image.transpose(Image.Transpose.ROTATE_270),
    "transposed": lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    "cut": cut,
    "all of it": lambda image: again(
        ImageEnhance.Brightness(cut(image).transpose(Image.Transpose.ROTATE_90)).enhance(0.8)
    ),
}


def test_near_copies_are_found_whatever_was_done_to_them(data: Path) -> None:
    """Hardly anybody copies a picture without saving, cutting or turning it."""
    planted = []
    for number, way in enumerate(WAYS):
        with Image.open(data / f"train/ant/{number:03d}.jpg") as image:
            WAYS[way](image.convert("RGB")).convert("RGB").save(
                data / f"test/ant/x{number:03d}.png"
            )
        planted.append([f"test/ant/x{number:03d}.png", f"train/ant/{number:03d}.jpg"])
    assert {kind: sorted(groups) for kind, groups in found_in(data).items()} == {
        "near-copies-across": planted
    }


def test_a_picture_under_two_labels_is_found_as_a_copy_and_nearly(data: Path) -> None:
    """One of the two labels is wrong, and whoever learns from both learns nothing."""
    shutil.copy(data / "train/ant/000.jpg", data / "train/bee/ant.jpg")
    with Image.open(data / "train/bee/004.jpg") as image:
        again(image.crop((4, 2, image.width, image.height))).save(data / "train/ant/bee.png")
    found = found_in(data)
    assert sorted(found["two-labels"]) == [
        ["train/ant/000.jpg", "train/bee/ant.jpg"],
        ["train/ant/bee.png", "train/bee/004.jpg"],
    ]


def test_numbers_of_images_that_mislead_are_told(data: Path) -> None:
    """A class with fewer images than folds is judged in some of them only, and the accuracy of
    unbalanced classes is that of the large ones.
    """
    for i in range(4, 12):
        (data / f"train/ant/{i:03d}.jpg").unlink()
    assert found_in(data).keys() == {"imbalance"}
    finding = {f["kind"]: f for f in checked(data, "--validation", "k-fold")["findings"]}
    assert finding["few-images"]["classes"] == ["ant"]
    assert "ant (4)" in finding["few-images"]["said"]
    assert "from 4 training images (ant) to 12 (bee)" in finding["imbalance"]["said"]
    shutil.rmtree(data / "test/bee")
    assert "no test image of bee" in str(checked(data)["findings"])


def test_odd_and_damaged_files_are_found(data: Path) -> None:
    """What is not what it seems is seen before hours are spent on it."""
    photograph(5001, 20, 12).save(data / "train/ant/small.png")
    photograph(5002, 300, 36).save(data / "train/ant/long.png")
    content = (data / "train/bee/000.jpg").read_bytes()
    (data / "train/bee/half.jpg").write_bytes(content[: len(content) // 3])
    (data / "train/bee/words.jpg").write_text("no picture")
    photograph(5003).save(data / "test/bee/really.png", "JPEG")
    (data / "test/bee/really.png").rename(data / "test/bee/not.png")
    tag = Image.Exif()
    tag[0x0112] = 6
    photograph(5004).save(data / "test/ant/side.jpg", exif=tag)
    assert found_in(data) == {
        "damaged": [["train/bee/half.jpg"], ["train/bee/words.jpg"]],
        "wrong-ending": [["test/bee/not.png"]],
        "orientation": [["test/ant/side.jpg"]],
        "odd-size": [["train/ant/small.png"]],
        "odd-shape": [["train/ant/long.png"]],
    }


def test_the_page_shows_the_pictures_and_no_name_as_markup(tmp_path: Path) -> None:
    """Names come from whoever made the folder, and a page is opened in a browser."""
    name = "<img src=x onerror=alert(1)>"
    root = clean_folder(tmp_path / "data", 3, (name, "plain"))
    shutil.copy(root / "train" / name / "000.jpg", root / "train/plain/'\"<b>.jpg")
    page = tmp_path / "check.html"
    assert checked(root, "--out", page)["file"] == str(page)
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") >= 2
    assert "<img src=x" not in text
    assert "<b>.jpg" not in text
    assert "http" not in text


def test_packed_images_are_looked_at_too(tmp_path: Path) -> None:
    """A file of arrays has copies as often as a folder has."""
    images = np.stack([np.asarray(photograph(seed, 48, 48)) for seed in range(8)])
    images = np.concatenate([images, images[:1], images[3:4, :, ::-1]])
    np.savez(tmp_path / "a.npz", x_train=images, y_train=[0, 1] * 5)
    found = {finding.kind: finding.groups for finding in look_at(f"npz:{tmp_path}/a.npz").findings}
    assert [e.name for e in found["copies-inside"][0]] == ["0", "8"]
    assert [e.name for e in found["near-copies-inside"][0]] == ["3", "9"]


def test_pictures_that_all_look_alike_are_no_copies(tmp_path: Path) -> None:
    """Digits of 8 x 8 pixels and plain shapes have nothing to be known by."""
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (40, 6, 6), dtype=np.uint8)
    blown = [np.asarray(Image.fromarray(one).resize((32, 32))) for one in small]
    plain = np.full((20, 64, 64), 30, np.uint8)
    for number, one in enumerate(plain):
        one[10 : 40 + number % 5, 12 : 44 + number % 7] = 200
    for name, images in {"blown": blown, "plain": list(plain)}.items():
        np.savez(tmp_path / f"{name}.npz", x_train=images, y_train=[0, 1] * (len(images) // 2))
        kinds = {finding.kind for finding in look_at(f"npz:{tmp_path}/{name}.npz").findings}
        assert not {kind for kind in kinds if kind.startswith("near")}, name


def test_what_cannot_be_looked_at_is_refused_in_a_line(tmp_path: Path, clean: Path) -> None:
    """A mistyped name is no data set without faults."""
    assert "no such folder" in refused("check", f"folder:{tmp_path}/none")
    assert "unknown dataset" in refused("check", "nonsense")
    assert "--validation" in refused("check", f"folder:{clean}", "--validation", "sometimes")
    assert "cannot be written" in refused("check", f"folder:{clean}", "--out", "/proc/none/x.html")


@pytest.mark.skipif(not SCENES.is_dir(), reason="the 15 scenes are not here")
@pytest.mark.slow
def test_the_copies_of_the_15_scenes_are_named() -> None:
    """Four test images of LivingRoom are byte for byte in train, and two pairs lie inside it."""
    found = found_in(SCENES)
    across = found["copies-across"]
    assert [group[0] for group in across] == [
        f"test/LivingRoom/image_{number}.jpg" for number in ("0003", "0004", "0005", "0027")
    ]
    assert [group[1] for group in across] == [
        f"train/LivingRoom/image_{number}.jpg" for number in ("0028", "0030", "0034", "0289")
    ]
    assert len(found["copies-inside"]) == 2


def test_a_pipe_is_not_waited_for(data: Path) -> None:
    """Nobody writes into it, and the look would never end."""
    os.mkfifo(data / "train/ant/pipe.jpg")
    assert found_in(data) == {"damaged": [["train/ant/pipe.jpg"]]}


def test_one_class_alone_is_said(data: Path) -> None:
    """A search refuses it, so the look that comes before it must not call it clean."""
    for part in ("train", "test"):
        shutil.rmtree(data / part / "ant")
    assert "there is one class only" in typed("check", f"folder:{data}").stdout


def test_a_picture_that_is_there_a_hundred_times_is_a_short_line(data: Path) -> None:
    """A line of a thousand names hides those after it."""
    for number in range(100):
        os.link(data / "train/ant/003.jpg", data / f"train/ant/again{number}.jpg")
    lines = typed("check", f"folder:{data}").stdout.splitlines()
    assert max(map(len, lines)) < 400
    assert any(line.endswith("and 93 more") for line in lines)
