"""The report's tables made again: on a few small images, but every part of it, through the command
line.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from conftest import MakeFolder
from program import typed

from analysis.report.reproduced import number, numbers_of, summary
from search.reproduce import networks as reproduce_networks
from search.reproduce.tables import TableRequest, reproduce

SCENES = ("Coast", "Kitchen", "Office")


def test_part_1_is_made_once_and_shown_beside_the_report_s(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """Who stops it, or types it again for another look, must not wait for what is there already."""
    scenes = make_folder(
        tmp_path / "scenes",
        {"train": dict.fromkeys(SCENES, 5), "test": dict.fromkeys(SCENES, 2)},
        side=32,
    )
    command = (
        "reproduce",
        "--tables",
        "1,2,3,4,architecture",
        "--scenes",
        scenes,
        "--seeds",
        2,
        "--runs-dir",
        tmp_path / "runs",
    )
    first = typed(*command)
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("done before") == 0
    again = typed(*command, "--json")
    # tiny images, and bags at three steps with two vocabularies
    assert again.stderr.count("done before") == 7
    found = json.loads(again.stdout)
    assert [name for name in found if name.startswith("table")] == [
        "table1",
        "table2",
        "table3",
        "table4",
    ]
    assert found["table3"]["ours"][7] == found["table4"]["ours"][0]  # step 1, k = 8
    assert sum(map(sum, found["table1"]["sides"]["bag-of-sift"]["confusion"])) == 6
    # the report's order
    assert found["table1"]["sides"]["tiny-image"]["names"] == ["Kit", "Off", "Cst"]
    assert {row["table"] for row in found["numbers"]} == {
        "table1",
        "table2",
        "table3",
        "table4",
        "architecture",
    }
    assert all(
        row["difference"] == pytest.approx(row["ours"] - row["report"], abs=1e-6)
        for row in found["numbers"]
    )
    assert all(row["difference"] == 0 for row in found["numbers"] if row["table"] == "architecture")
    page = (tmp_path / "runs" / "reproduce" / "reproduce.html").read_text()
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=\"(?!data:)", page)
    assert "0.6120" in page
    assert {"table1.png", "table3.png", "numbers.csv"} <= {
        path.name for path in (tmp_path / "runs" / "reproduce").iterdir()
    }


def test_a_table_is_made_again_if_the_images_changed(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """A figure of other images under the same name would be believed."""
    splits = {"train": dict.fromkeys(SCENES, 5), "test": dict.fromkeys(SCENES, 2)}
    lines: list[str] = []
    for seed in (0, 0, 1):
        scenes = make_folder(tmp_path / "scenes", splits, seed=seed)
        reproduce(TableRequest(("2",), scenes), tmp_path / "out", say=lines.append)
    assert [("done before" in line) for line in lines if line.startswith("1/1")].count(True) == 1
    assert sum("in all" in line for line in lines) == 2


@pytest.fixture
def narrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report's networks at an eighth of their width: checkpoints of 134 MB say no more of going
    on than small ones.
    """
    plans = Path(shutil.copytree(reproduce_networks.PLANS, tmp_path / "plans"))
    text = (plans / "networks.yaml").read_text()
    assert "    width: 1.0\n" in text
    (plans / "networks.yaml").write_text(text.replace("    width: 1.0\n", "    width: 0.125\n"))
    monkeypatch.setattr(reproduce_networks, "PLANS", plans)


@pytest.mark.usefixtures("narrow")
def test_networks_go_on_after_the_last_epoch_and_say_that_they_were_shortened(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    """Hours of training are not begun again, and nobody may take a shortened run's figure for the
    network's.
    """
    cifar = make_folder(
        tmp_path / "cifar", {"train": {"cat": 3, "dog": 3}, "val": {"cat": 2, "dog": 2}}, side=32
    )

    def interrupt(line: str) -> None:
        if "epoch 2/4" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reproduce(TableRequest(("7",), cifar=cifar), tmp_path / "out", say=interrupt)
    lines: list[str] = []
    table = reproduce(TableRequest(("7",), cifar=cifar), tmp_path / "out", say=lines.append).tables[
        "table7"
    ]
    assert "  goes on after epoch 1" in lines
    assert [row["epoch"] for row in table["history"]] == [1, 2, 3, 4]
    done = typed(
        "reproduce",
        "--tables",
        "7",
        "--cifar",
        cifar,
        "--out",
        tmp_path / "out",
        "--runs-dir",
        tmp_path,
    )
    assert (
        "(shortened: 4 of 60 epochs, 6 of 6 train images, 4 of 4 validation images)" in done.stdout
    )
    assert "shortened" in (tmp_path / "out" / "reproduce.html").read_text()


def test_both_figures_that_the_report_gives_for_resnet18_are_there() -> None:
    """It says 0.8986 in its table and 0.8918 beside it, and neither is to be left out."""
    ours = {
        "metrics": dict.fromkeys(("train_accuracy", "val_accuracy", "train_loss", "val_loss"), 0.5),
        "n": 9,
        "cut": "4 of 60 epochs",
    }
    report = {
        "train_accuracy": 0.98,
        "val_accuracy": 0.8986,
        "train_loss": 0.05,
        "val_loss": 0.4,
        "accuracy": 0.8918,
    }
    found = numbers_of(
        {"table5": {"title": "", "networks": {"resnet18": {**ours, "report": report}}}}
    )
    assert [item.report for item in found] == [0.98, 0.8986, 0.05, 0.4, 0.8918]
    assert all(item.shortened == "4 of 60 epochs" for item in found)


def test_the_summary_counts_only_what_was_run_in_full() -> None:
    """The first lines of the page are what is quoted."""
    numbers = [
        number("table2", "equal", 0.5, 0.50004),
        number("table2", "close", 0.5, 0.515),
        number("table2", "off", 0.5, 0.4),
        number("table2", "missing", 0.5, None),
        number("table5", "short", 0.9, 0.2, shortened="4 of 60 epochs"),
        number("ladder", "bound", 0.2, 0.19, relation="below"),
        number("ladder", "broken", 0.2, 0.21, relation="below"),
    ]
    said = summary(numbers)
    assert (said["whole"], said["equal"], said["close"], said["shortened"]) == (3, 1, 2, 1)
    assert (said["hold"], said["bounds"]) == (1, 2)
    assert said["off"].what == "off"


@pytest.mark.slow
def test_the_whole_ladder_is_climbed(tmp_path: Path, make_folder: MakeFolder) -> None:
    """Nine networks and four tiny images, each with what the report says of it."""
    scenes = make_folder(
        tmp_path / "scenes",
        {"train": dict.fromkeys(SCENES, 5), "test": dict.fromkeys(SCENES, 2)},
        side=32,
    )
    cifar = make_folder(
        tmp_path / "cifar", {"train": {"cat": 3, "dog": 3}, "val": {"cat": 2, "dog": 2}}, side=32
    )
    table = reproduce(TableRequest(("ladder",), scenes, cifar), tmp_path / "out").tables["ladder"]
    assert len(table["steps"]) == 13
    over = next(item for item in numbers_of({"ladder": table}) if item.what == "its size, MiB")
    assert over.holds
    assert not over.shortened  # a size is the same however long it is trained
