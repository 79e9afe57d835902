"""The command line: what is wrong is said in one line with status 2, and what is documented
exists.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from program import ROOT, output, refusal, refused, typed, visiontune

TINY = ("run", "--space", "tiny-image")


def documented() -> set[str]:
    return set(
        re.findall(
            r"^\| `visiontune ([a-z]+)`", (ROOT / "docs" / "commands.md").read_text(), re.MULTILINE
        )
    )


def commands() -> set[str]:
    return set(
        re.findall(
            r"^  ([a-z]+)  ", visiontune("--help").stdout.split("Commands:")[1], re.MULTILINE
        )
    )


def test_docs_and_help_name_the_same_commands() -> None:
    """A command that is not documented is lost; one that is documented and missing is a lie."""
    assert documented() == commands()
    assert len(commands()) >= 14


def test_the_version_is_the_changelog_s() -> None:
    """Who reports a fault is asked for it first."""
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    shown = typed("--version")
    assert (shown.returncode, shown.stdout) == (0, f"visiontune {newest[1]}\n")


@pytest.mark.parametrize("name", sorted(documented()))
def test_every_command_has_help(name: str) -> None:
    """--help is where people look first."""
    shown = typed(name, "--help")
    assert shown.returncode == 0
    assert re.match(rf"Usage: .* {name} ", shown.stdout)
    assert len(shown.stdout.splitlines()) > 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("fly",), "No such command"),
        (("run",), "--space"),
        (
            (*TINY, "--space", "huge-image"),
            "unknown space 'huge-image'; the spaces are tiny-image, bag-of-sift",
        ),
        (
            (*TINY, "--trials", "-3"),
            "trials: input should be greater than or equal to 1, but got -3",
        ),
        ((*TINY, "--trials", "many"), "--trials"),
        ((*TINY, "--set", "size"), "KEY=VALUE"),
        (
            (*TINY, "--set", "size=1000"),
            "tiny-image.size must be a whole number in 2..64, but got '1000'",
        ),
        ((*TINY, "--set", "sizes=16"), "has no parameter 'sizes'; it has metric, size"),
        ((*TINY, "--sampler", "oracle"), "tpe, gp"),
        ((*TINY, "--name", "../up"), "a name is letters"),
        ((*TINY, "--dataset", "cats"), "unknown dataset 'cats'; allowed are digits"),
        ((*TINY, "--dataset", "folder:/nowhere"), "no such folder"),
        ((*TINY, "--dataset", "npz:/nowhere.npz"), "no such file"),
        (("run", "/nowhere.yaml"), "no such plan file"),
        (("status", "nobody"), "no run 'nobody' in"),
        (("resume", "nobody"), "no run 'nobody' in"),
        (("stop", "nobody"), "no run 'nobody' in"),
        (("best", "nobody"), "no run 'nobody' in"),
        (("report", "nobody"), "no run 'nobody' in"),
        (("confusion", "nobody"), "no run 'nobody' in"),
        (("importance", "nobody"), "no run 'nobody' in"),
        (("export", "nobody", "--out", "x"), "no run 'nobody' in"),
        (("sync", "nobody"), "no run 'nobody' in"),
        (("ui", "nobody"), "no run 'nobody' in"),
        (("ui",), "nothing was tracked in"),
        (("predict", "/nowhere", "x.jpg"), "no bundle here"),
        (("evaluate", "/nowhere", "--dataset", "digits"), "no bundle here"),
        (
            ("reproduce", "--tables", "9"),
            "--tables must name tables among 1, 2, 3, 4, 5, 6, 7, architecture, ladder, but got 9",
        ),
        (
            ("reproduce",),
            "give --scenes DIR (the 15 scenes, tables 1 to 4), --cifar DIR (CIFAR-10, tables 5 "
            "to 7), or both",
        ),
        (("reproduce", "--tables", "2"), "--scenes"),
        (("reproduce", "--tables", "5", "--scenes", "."), "--cifar"),
        (("reproduce", "--tables", "2", "--scenes", "/nowhere"), "no such folder"),
    ],
)
def test_what_is_asked_wrongly_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    """A user reads one line, not a traceback, and a script sees status 2; nothing is left
    behind.
    """
    monkeypatch.chdir(tmp_path)
    assert said in refused(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_every_mistake_in_a_plan_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fixing a plan one message at a time is a waste of a person."""
    monkeypatch.chdir(tmp_path)
    plan = tmp_path / "plan.yaml"
    plan.write_text("spaces: [tiny-image]\ntrials: -1\nseed: x\ncolour: red\n")
    line = refused("run", plan)
    assert all(name in line for name in ("trials", "seed", "colour", str(plan)))


def test_a_plan_is_data_and_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """YAML can carry Python objects; a plan from a stranger must not."""
    monkeypatch.chdir(tmp_path)
    plan = tmp_path / "plan.yaml"
    plan.write_text(f"spaces: !!python/object/apply:os.system ['touch {tmp_path}/ran']\n")
    assert "not a readable YAML file" in refused("run", plan)
    assert not (tmp_path / "ran").exists()


def test_bad_images_are_refused_when_the_search_has_read_them(tmp_path: Path, make_folder) -> None:  # type: ignore[no-untyped-def]
    """A damaged file is found by name before any trial, and no half-made run is left."""
    root = make_folder(tmp_path / "images", {"train": {"a": 4, "b": 4}, "test": {"a": 2, "b": 2}})
    (root / "train" / "a" / "note.jpg").write_text("not an image")
    line = refusal(
        *TINY, "--dataset", f"folder:{root}", "--trials", 2, "--runs-dir", tmp_path / "runs"
    )
    assert "note.jpg: not an image" in line
    assert "--skip-unreadable" in line
    assert list((tmp_path / "runs").iterdir()) == []
    preview = output(
        *TINY, "--dataset", f"folder:{root}", "--trials", 2, "--dry-run", "--skip-unreadable"
    )
    assert preview["skipped"] == 1
    assert preview["images"] == {"train": 8, "test": 4}


def test_a_dry_run_shows_as_many_configurations_as_trials_and_writes_nothing(
    tmp_path: Path,
) -> None:
    """It is for looking before hours of work."""
    found = output(*TINY, "--space", "bag-of-sift", "--trials", 7, "--dry-run", cwd=tmp_path)
    assert len(found["configs"]) == 7
    assert {config["space"] for config in found["configs"]} == {"tiny-image", "bag-of-sift"}
    assert found["validation"] == "leave-one-out"
    assert found["images"] == {"train": 1437, "test": 360}
    assert list(tmp_path.iterdir()) == []


def test_a_runs_directory_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    """Finding out after the search that nothing can be kept would be too late."""
    (tmp_path / "file").write_text("")
    assert "cannot be written" in refused(*TINY, "--runs-dir", tmp_path / "file")


def test_debug_adds_the_traceback(tmp_path: Path) -> None:
    """One line is for users; whoever reports a bug needs the rest."""
    shown = visiontune("--debug", "status", "nobody", cwd=tmp_path)
    assert shown.returncode == 2
    assert "Traceback" in shown.stderr


def test_spaces_and_datasets_are_listed(tmp_path: Path) -> None:
    """What can be searched and read is asked of the program, not of the source."""
    spaces = {space["name"]: space for space in output("spaces")}
    assert set(spaces) == {
        "tiny-image", "bag-of-sift", "embedding", "cnn", "toy", "toy-folds",
    }  # fmt: skip
    assert "step" in {p["name"] for p in spaces["bag-of-sift"]["parameters"]}
    assert [d["spec"] for d in output("datasets")] == [
        "digits",
        "fashion-mnist[:DIR]",
        "cifar10[:DIR]",
        "folder:DIR",
        "nested:DIR",
        "csv:FILE",
        "parquet:FILE",
        "npz:FILE",
    ]


def test_packages_of_the_same_name_from_elsewhere_are_named(tmp_path: Path) -> None:
    """The four generic names may be someone else's: mixing the two would fail in odd places."""
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "__init__.py").write_text("")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.argv = ['visiontune', "
        "'spaces']; import search.cli as c; c.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
    assert str(ROOT) in done.stderr
