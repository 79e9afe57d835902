"""Small pictures of what was confused, where the dataset is still there."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import MakeFolder
from PIL import Image
from samples import run_with

from analysis.plan.plan import Plan
from analysis.report.examples import KnownSplit
from search.driver.reporting import write_report
from trainables.data import ReadOptions, read_dataset

GIVEN = [0, 0, 1, 1, 1, 1, 1, 0, 0, 1]


@pytest.mark.parametrize("held", [0.0, 0.5])
@pytest.mark.parametrize("broken", [False, True])
def test_a_row_of_the_validation_split_gives_its_own_picture(
    tmp_path: Path, make_folder: MakeFolder, held: float, broken: bool
) -> None:
    """A picture of another image beside "owl taken for cat" would explain a mistake that nobody
    made.
    """
    root = make_folder(tmp_path / "x", {"train": {"cat": 5, "owl": 7}}, side=24)
    if broken:
        (root / "train" / "cat" / "001.jpg").write_bytes(b"no picture")
    options = ReadOptions(skip_unreadable=broken, hold_out=held, seed=3)
    spec = f"folder:{root}"
    dataset = read_dataset(spec, options)
    part = dataset.val or dataset.train
    known = KnownSplit(spec, options, dataset.skipped, "val" if held else "train", part.labels)
    found = known.thumbnails(range(len(part)))
    assert list(found) == list(range(len(part)))
    for row, jpeg in found.items():
        picture = np.asarray(Image.open(io.BytesIO(jpeg)).convert("L")).astype(int)
        nearest = min(
            range(len(part)),
            key=lambda other: np.abs(picture - part.images[other].astype(int)).mean(),
        )
        assert nearest == row  # JPEG changes noise a little, and another image's is quite another


def test_of_images_at_a_uri_no_others_are_fetched(
    tmp_path: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that shows twelve pictures must not bring a hundred thousand to the machine that
    writes it.
    """
    monkeypatch.setenv("VISIONTUNE_DATA", str(tmp_path / "copies"))
    root = make_folder(tmp_path / "x", {"train": {"cat": 5, "owl": 7}}, side=24)
    table = root / "t.csv"
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.*g"))
    table.write_text("\n".join(["path,label", *(f"{name},{name.split('/')[1]}" for name in names)]))
    labels = read_dataset(f"folder:{root}").train.labels
    for at, spec in enumerate((f"folder:file://{root}", f"csv:file://{table}"), start=1):
        found = KnownSplit(spec, ReadOptions(), (), "train", labels).thumbnails([1, 8])
        assert list(found) == [1, 8]
        here = [path for path in (tmp_path / "copies").rglob("*.*g") if path.stat().st_size]
        assert len(here) == 2 * at


def test_the_report_shows_them_and_does_without(tmp_path: Path, make_folder: MakeFolder) -> None:
    """Datasets move and disks are unmounted: the report of last month's search must still be
    made.
    """
    root = make_folder(tmp_path / "x", {"train": {"cat": 4, "dog": 4, "owl": 2}}, side=24)
    folder = run_with(tmp_path, {1: GIVEN})
    folder.write_data(
        folder.data().model_copy(update={"spec": f"folder:{root}", "sizes": {"train": 10}})
    )
    plan = Plan(spaces=("tiny-image",), dataset=f"folder:{root}")

    def pictures() -> int:
        write_report(folder, plan)
        return (folder.report / "report.html").read_text().count("data:image/jpeg")

    # two cats taken for dogs, an owl for a cat and one for a dog; the dog taken for a cat is the
    # rarer way round
    assert pictures() == 4
    (root / "train" / "owl" / "000.png").unlink()  # the images are no longer those that were judged
    assert pictures() == 0
    shutil.rmtree(root)
    assert pictures() == 0
