"""Whatever lies in the working directory, workers run the program that was started."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from program import ROOT, installed

from search.cluster.own_code import LAYERS, difference, looker

TINY = (
    "run",
    "--space",
    "tiny-image",
    "--dataset",
    "digits",
    "--trials",
    2,
    "--no-tracking",
    "--name",
    "one",
    "--json",
)


def other_checkout(folder: Path) -> Path:
    """Copies of our packages whose accuracy is made up."""
    for layer in LAYERS:
        shutil.copytree(ROOT / layer, folder / layer, ignore=shutil.ignore_patterns("__pycache__"))
    with open(folder / "trainables" / "scores.py", "a") as file:
        file.write(
            "\n\ntrue = score\n\n\ndef score(*arguments, **options):\n    import dataclasses\n\n"
        )
        file.write("    return dataclasses.replace(true(*arguments, **options), accuracy=0.123)\n")
    return folder


def empty_package(folder: Path) -> Path:
    """Somebody else's package of one of our names."""
    (folder / "spaces").mkdir(parents=True)
    (folder / "spaces" / "__init__.py").write_text("")
    return folder


def modules_of_libraries(folder: Path) -> Path:
    """What people call their scripts."""
    folder.mkdir(exist_ok=True)
    for name in ("random.py", "numpy.py", "queue.py", "sklearn.py"):
        (folder / name).write_text("raise SystemExit('a script of somebody ran')")
    (folder / "ray").mkdir()
    (folder / "ray" / "__init__.py").write_text("raise SystemExit('a script of somebody ran')")
    return folder


def test_workers_import_nothing_from_the_working_directory(tmp_path: Path) -> None:
    """A user's folder may hold anything, another checkout of this program included: its accuracies
    would be reported as ours.
    """
    here = modules_of_libraries(other_checkout(tmp_path / "here"))
    done = subprocess.run(
        installed(*TINY), cwd=here, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    best = json.loads(done.stdout)["best"]["metrics"]["val_accuracy"]
    assert best > 0.5


@pytest.mark.parametrize(
    "other",
    [pytest.param(other_checkout, marks=pytest.mark.slow), empty_package],
    ids=["another checkout", "an empty package"],
)
def test_workers_that_would_run_other_code_are_refused_by_name(
    other: object, tmp_path: Path
) -> None:
    """Should Ray one day order its workers' folders in another way, the search must not go on with
    somebody else's code.
    """
    place = other(tmp_path)  # type: ignore[operator]
    code = f"import search.cluster.start as c; c.first_folders = lambda: [{str(place)!r}]; "
    command = [
        *installed()[:3],
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}from search.cli import main; main()",
    ]
    words = [
        str(word)
        for word in (
            "run",
            "--space",
            "toy",
            "--trials",
            1,
            "--no-tracking",
            "--runs-dir",
            tmp_path / "runs",
        )
    ]
    done = subprocess.run(
        [*command, *words], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if not line.startswith("starting Ray")]
    assert len(lines) == 1, done.stderr
    assert str(place / ("trainables" if other is other_checkout else "spaces")) in lines[0]
    assert str(ROOT) in lines[0]
    assert not list((tmp_path / "runs").glob("*/*"))


def test_a_process_knows_where_its_code_lies_without_running_it(tmp_path: Path) -> None:
    """The question is asked of processes that may have anything in place of our packages."""
    assert difference(looker()()) == ""
    empty_package(tmp_path)
    ask = (
        f"import sys, cloudpickle; sys.path.insert(0, {str(ROOT)!r}); from search.cluster.own_code "
        "import looker; "
        "sys.stdout.buffer.write(cloudpickle.dumps(looker()))"
    )
    function = subprocess.run(
        [sys.executable, "-P", "-c", ask], capture_output=True, check=True
    ).stdout
    answer = "import sys, json, pickle; print(json.dumps(pickle.loads(sys.stdin.buffer.read())()))"
    done = subprocess.run(
        [sys.executable, "-c", answer],
        cwd=tmp_path,
        input=function,
        capture_output=True,
        check=True,
    )
    found = {name: tuple(code) for name, code in json.loads(done.stdout).items()}
    assert found["spaces"][0] == str(tmp_path / "spaces")
    assert "spaces would be run from" in difference(found)


def test_processes_of_other_commands_import_nothing_from_the_working_directory_either(
    own_bundle: Path, tmp_path: Path
) -> None:
    """Those that compute for ``evaluate`` and ``export`` are started as modules, for which Python
    would look there first.
    """
    here = modules_of_libraries(tmp_path / "here")
    words = installed("evaluate", own_bundle, "--dataset", "digits", "--json")
    done = subprocess.run(words, cwd=here, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
