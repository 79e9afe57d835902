"""Names with any bytes a file system allows: they cost no finished work, and nothing that shows
them is changed by them.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from program import command, output, typed

from trainables.io.files import write_whole

BROKEN = os.fsdecode(b"caf\xe9")
NAMES = [
    BROKEN,
    "日本",
    "new\nline",
    "tab\t",
    "a,b",
    'qu"ote',
    "<b>bold",
    " ",
    "-x",
    "*",
    "\u202eright",
    "e\u0301",
    "%s",
    "null",
]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of pictures of these names, in a folder of such a name."""
    folder = tmp_path / BROKEN
    folder.mkdir()
    for name in NAMES:
        Image.fromarray(
            np.random.default_rng(len(name)).integers(0, 256, (32, 32), dtype=np.uint8)
        ).save(folder / f"{name}.png")
    return folder


def test_predict_names_every_file_and_writes_it_down(
    digits_bundle: Path, pictures: Path, tmp_path: Path
) -> None:
    """Found out after the last of a million images, a name that cannot be encoded would cost all of
    them.
    """
    rows = output("predict", digits_bundle, pictures)
    assert len(rows) == len(NAMES)
    assert sum(row["path"].endswith("/caf\\xe9.png") for row in rows) == 1
    assert sum(row["path"].endswith("/日本.png") for row in rows) == 1
    for ending in ("csv", "json"):
        assert (
            typed(
                "predict", digits_bundle, pictures, "--out", tmp_path / f"out.{ending}"
            ).returncode
            == 0
        )
    assert [row["path"] for row in json.loads((tmp_path / "out.json").read_bytes())] == [
        row["path"] for row in rows
    ]
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        assert [row["path"] for row in csv.DictReader(file)] == [row["path"] for row in rows]


@pytest.mark.parametrize(
    ("encoding", "json_"), [("ascii", False), ("utf-8", True), ("latin-1", True)]
)
def test_a_terminal_of_any_encoding_shows_the_answer(
    digits_bundle: Path, pictures: Path, encoding: str, json_: bool
) -> None:
    """A name that it cannot show is shown in other letters, and no traceback in place of the
    answer.
    """
    asked = command(
        "predict",
        digits_bundle,
        pictures / f"{BROKEN}.png",
        pictures / "日本.png",
        *["--json"] * json_,
    )
    environment = os.environ | {"PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run(
        [os.fsencode(part) for part in asked],
        env=environment,
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"xe9.png" in done.stdout
    assert b"Traceback" not in done.stderr


def test_an_error_about_such_a_name_is_one_line(digits_bundle: Path, pictures: Path) -> None:
    """What is wrong must be readable where the name is not."""
    (pictures / f"{BROKEN}.png").write_bytes(b"no picture")
    asked = [os.fsencode(part) for part in command("predict", digits_bundle, pictures)]
    done = subprocess.run(asked, capture_output=True, timeout=300, check=False)
    assert done.returncode == 2
    assert b"not an image" in done.stderr
    assert b"Traceback" not in done.stderr


def test_a_bundle_goes_where_it_was_asked_to(own_runs: Path, tmp_path: Path) -> None:
    """The folder of a bundle is the user's to name, and is written down nowhere."""
    out = tmp_path / BROKEN / "bundle"
    assert (
        typed("export", "first", "--runs-dir", own_runs, "--out", out, "--no-test").returncode == 0
    )
    assert (out / "bundle.json").is_file()


def test_text_that_is_none_is_written_as_json_writes_it(tmp_path: Path) -> None:
    """The last net under whatever writes a name down."""
    write_whole(
        tmp_path / "a.json", json.dumps({"name": BROKEN, "other": "日本"}, ensure_ascii=False)
    )
    assert json.loads((tmp_path / "a.json").read_text()) == {"name": BROKEN, "other": "日本"}
