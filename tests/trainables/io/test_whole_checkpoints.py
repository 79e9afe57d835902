"""Checkpoint folders with a manifest: what is damaged is never gone on from, and an older one is
taken instead.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from assigned import given

from trainables.io.checkpoint import latest, read_state, steps_done, write_manifest, write_state
from trainables.worker import SearchTrial

FILES = ("state.json", "tensors.safetensors")


def checkpoint(folder: Path, step: int) -> Path:
    folder.mkdir()
    (folder / "tensors.safetensors").write_bytes(bytes(range(200)) * (step + 1))
    write_state(folder, step, {"reports": [0.1] * step})
    return folder


def turn_a_byte(path: Path, at: int = -3) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", FILES)
def test_of_a_newer_one_with_a_turned_byte_and_an_older_one_the_older_is_taken(
    tmp_path: Path, name: str
) -> None:
    """A disk that lies in one bit would else decide a result that nobody could have again."""
    older, newer = checkpoint(tmp_path / "b", 1), checkpoint(tmp_path / "a", 2)
    assert latest([older, newer]) == newer, "it is the steps that count, not the names"
    assert latest([newer, older]) == newer
    turn_a_byte(newer / name)
    assert steps_done(newer) is None
    assert latest([older, newer]) == older
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        read_state(newer)
    turn_a_byte(older / name)
    assert latest([older, newer]) is None


@pytest.mark.parametrize("name", [*FILES, "manifest.json"])
def test_one_without_one_of_its_files_is_not_whole(tmp_path: Path, name: str) -> None:
    """A kill while it is copied or written leaves some of it."""
    folder = checkpoint(tmp_path / "a", 2)
    assert (steps_done(folder), read_state(folder)) == (2, (2, {"reports": [0.1, 0.1]}))
    (folder / name).unlink()
    assert steps_done(folder) is None


@pytest.mark.parametrize("named", ["../outside.bin", "{root}/outside.bin"])
def test_a_manifest_speaks_of_no_file_but_its_folder_s_own(tmp_path: Path, named: str) -> None:
    """What comes from a shared bucket must not make the program read elsewhere, nor pass a file
    there for its own.
    """
    (tmp_path / "outside.bin").write_bytes(b"x")
    folder = checkpoint(tmp_path / "a", 2)
    files = {named.format(root=tmp_path): hashlib.sha256(b"x").hexdigest()}
    (folder / "manifest.json").write_text(json.dumps({"step": 2, "files": files}))
    assert steps_done(folder) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"step": 1}',
        '{"files": {}}',
        '{"step": "x", "files": {}}',
        '{"step": 1, "files": []}',
    ],
)
def test_a_manifest_that_says_something_else_is_none(tmp_path: Path, text: str) -> None:
    """Whatever is in the file, a search goes on."""
    folder = checkpoint(tmp_path / "a", 2)
    (folder / "manifest.json").write_text(text)
    assert steps_done(folder) is None


def test_a_manifest_names_every_file_but_itself_and_what_is_hidden(tmp_path: Path) -> None:
    """What Ray leaves beside it is not of the checkpoint, and a second manifest is of the same
    files.
    """
    folder = checkpoint(tmp_path / "a", 2)
    (folder / ".is_checkpoint").write_bytes(b"")
    write_manifest(folder, 3)
    assert sorted(json.loads((folder / "manifest.json").read_text())["files"]) == sorted(FILES)
    (folder / ".is_checkpoint").unlink()
    assert steps_done(folder) == 3


def toy(steps: int = 4, **changes: Any) -> dict[str, Any]:
    config = {
        "quality": 0.9,
        "optimiser": "sgd",
        "rate": 0.5,
        "momentum": 0.0,
        "width": 8,
        "steps": steps,
        "pause": 0.0,
        "fault": "none",
        "fault_step": 0,
    }
    own = {**config, **changes.pop("config", {})}
    return given("toy", own, **{"number": 3, **changes})


def test_a_trial_goes_on_from_the_older_checkpoint_where_the_newer_is_damaged(
    tmp_path: Path,
) -> None:
    """It costs a step, not the trial."""
    whole = SearchTrial(toy())
    for step in (1, 2):
        whole.step()
        assert whole._run is not None
        whole._run.save(tmp_path / str(step))
    expected = whole.step()
    turn_a_byte(tmp_path / "2" / "state.json")
    places = [str(tmp_path / "1"), str(tmp_path / "2")]
    resumed = SearchTrial(toy(restore=places))
    rows = [resumed.step(), resumed.step()]
    assert [row["step"] for row in rows] == [1, 2]
    assert f"goes on from {tmp_path / '1'}" in rows[0]["log"]
    assert rows[1]["val_accuracy"] == expected["val_accuracy"]


def test_a_failure_is_a_result_and_the_worker_takes_the_next_trial_as_if_new() -> None:
    """An exception would end the process, and the next trial must know nothing of the last."""
    trial = SearchTrial(toy(config={"fault": "error", "fault_step": 1}))
    first, failed = trial.step(), trial.step()
    assert "failure" not in first
    assert failed["done"]
    assert failed["failure"] == "RuntimeError: this toy was told to fail in step 1"
    assert "told to fail" in failed["log"]
    assert "trial toy/3" not in failed["log"], "a line is told once"
    assert trial.reset_config(toy(2, number=4))
    rows = [trial.step(), trial.step()]
    assert [(row["step"], row["done"], "failure" in row) for row in rows] == [
        (0, False, False),
        (1, True, False),
    ]
    assert "trial toy/4" in rows[0]["log"]
    assert trial.reset_config(toy(config={"fault": "reset"}))
    assert trial.step()["failure"].startswith(
        "RuntimeError: this toy was told to fail when it is set up"
    )
