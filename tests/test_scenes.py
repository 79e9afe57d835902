"""What was published about the 15 scenes, made again from the images."""

from __future__ import annotations

from pathlib import Path

import pytest
from program import output, visiontune

from search.reproduce import reproduce

SCENES = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "scenes15"
TABLE_2 = [0.2233, 0.1787, 0.1887, 0.2047, 0.2020, 0.1980, 0.2000, 0.2033, 0.1980, 0.2020]


@pytest.mark.skipif(not SCENES.is_dir(), reason=f"the 15 scenes are not at {SCENES}")
def test_table_2_is_the_report_s_to_every_digit_it_prints() -> None:
    """Ten accuracies over 1,500 images agree only if reading, shrinking, norm, distance and vote all do."""
    table = reproduce("2", SCENES)["table2"]
    assert table["n"] == 1500
    assert table["k"] == list(range(1, 11))
    assert table["ours"] == TABLE_2
    assert table["report"] == TABLE_2


@pytest.mark.slow
@pytest.mark.skipif(not SCENES.is_dir(), reason=f"the 15 scenes are not at {SCENES}")
def test_a_search_by_leave_one_out_beats_0_60_on_the_test_images(tmp_path: Path) -> None:
    """Chosen on training images alone, the exported best must hold on images that nothing before it has seen."""
    run = ("run", "--space", "bag-of-sift", "--dataset", f"folder:{SCENES}", "--trials", 60, "--name", "scenes", "--runs-dir", tmp_path)
    done = visiontune(*run, timeout=15 * 60)
    assert done.returncode == 0, done.stderr
    exported = output("export", "scenes", "--runs-dir", tmp_path, "--out", tmp_path / "bundle")
    assert exported["test_accuracy"] >= 0.60
    assert output("evaluate", tmp_path / "bundle", "--dataset", f"folder:{SCENES}")["accuracy"] == exported["test_accuracy"]
