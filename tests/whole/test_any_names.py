"""Any name that a file system allows, and any word that YAML takes for something else: each command
is right, or refuses in one line.

The names are in ``odd_names``; classes, folders, files, runs and settings are called so, on every
command.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from odd_names import NAMES, NO_UTF8, YAML, as_path
from PIL import Image
from program import typed, visiontune
from samples import record, run_with

from analysis.plan.plan import make_plan, read_plan
from analysis.plan.settings import NAME
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts
from spaces.errors import UNFIT
from trainables.data import ReadOptions, read_dataset
from trainables.data.names import on_disk

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # MLflow's own, of its own dependencies
TEXT = [as_path(name) for key, name in NAMES.items() if key not in NO_UTF8]


def sampled(names: Iterable[str]) -> list[Any]:
    """A ninth of the names; the others are for the slow tests, as a name costs a second."""
    return [
        name if number % 9 == 0 else pytest.param(name, marks=pytest.mark.slow)
        for number, name in enumerate(names)
    ]


def check(done: Any, *statuses: int) -> None:
    """Right, or one line; and nothing that a terminal would obey."""
    said = (done.args, done.returncode, done.stdout[-500:], done.stderr[-500:])
    assert done.returncode in (statuses or (0, 2)), said
    assert not UNFIT.search(done.stdout + done.stderr), said
    if done.returncode:
        assert len(done.stderr.splitlines()) == 1, said
        assert len(done.stderr) <= 501, said


def many_classes(tmp_path: Path) -> RunDirectory:
    """A run whose classes are all of the names; each image of the first third is taken for the next
    class.
    """
    run = run_with(
        tmp_path,
        {},
        plan=yaml.safe_dump(
            {"class_order": TEXT[::-1], "abbreviations": {TEXT[1]: "nO", TEXT[2]: "2e3"}}
        ),
    )
    labels = np.arange(len(TEXT))
    given = np.where(labels < len(TEXT) // 3, (labels + 1) % len(TEXT), labels)
    run.write_data(
        DataFacts(
            spec="folder:/x", classes=tuple(TEXT), sizes={"train": len(TEXT)}, fingerprint="f" * 64
        )
    )
    run.write_validation_labels(labels)
    metrics = {"val_accuracy": float(np.mean(given == labels))}
    run.write_record(record(1, metrics=metrics), "log", None, given.astype(np.uint16))
    run.write_record(
        record(2, metrics={"val_accuracy": 1.0}), "log", None, labels.astype(np.uint16)
    )
    return run


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    many_classes(folder)
    return folder


@pytest.mark.parametrize(
    "words",
    [
        ("report",),
        ("confusion",),
        ("best",),
        ("status",),
        ("leaderboard",),
        ("importance",),
        ("enqueue", "--set", "k=5"),
    ],
)
def test_classes_of_any_name(classes: Path, words: tuple[str, ...]) -> None:
    """Folders are called what people call things."""
    check(typed(words[0], "made", *words[1:], "--runs-dir", classes), 0)


def test_classes_of_any_name_stay_as_they_are_in_json_csv_and_mlflow(classes: Path) -> None:
    """What is shown may be written out; what programs read is exact."""
    done = typed("confusion", "made", "--trial", "1", "--json", "--runs-dir", classes)
    check(done, 0)
    assert [row["class"] for row in json.loads(done.stdout)["classes"]] == TEXT[::-1]
    check(typed("report", "made", "--runs-dir", classes), 0)
    done = typed("sync", "made", "--runs-dir", classes)
    check(done, 0)


@contextlib.contextmanager
def odd_folder(parent: Path, name: bytes) -> Iterator[Path]:
    """A folder of that name, for the time of the block."""
    place = parent / as_path(name)
    place.mkdir()
    try:
        yield place
    finally:
        shutil.rmtree(place)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, to be copied."""
    folder = tmp_path_factory.mktemp("made")
    return run_with(folder, {1: [0] * 5 + [1] * 5, 2: [0] * 4 + [1] * 4 + [2] * 2}).path


@pytest.mark.parametrize("key", sampled(NAMES))
def test_a_runs_directory_of_any_name(tmp_path: Path, made: Path, key: str) -> None:
    """Runs lie where people keep things; what reads and writes them joins paths, builds URLs, and
    prints both.
    """
    with odd_folder(tmp_path, NAMES[key]) as runs:
        shutil.copytree(made, runs / "made")
        for words in (
            ("status", "made"),
            ("best", "made", "--top", "2"),
            ("leaderboard", "made"),
            ("enqueue", "made", "--set", "k=5"),
        ):
            check(typed(*words, "--runs-dir", runs), 0)
        check(typed("status", "nobody", "--runs-dir", runs), 2)
        found = typed("status", runs / "made", "--json")
        check(found, 0)
        assert json.loads(found.stdout)["path"] == str(runs / "made")


@pytest.mark.parametrize("key", sampled(NAMES))
def test_what_is_asked_for_under_any_name_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    """A name that is typed may be anything, and be of nothing."""
    monkeypatch.chdir(tmp_path)
    path = as_path(NAMES[key])
    image = ("run", "--space", "tiny-image", "--dry-run", f"--runs-dir={path}", "--dataset")
    for spec in (f"folder:{path}", f"npz:{path}", path):
        check(typed(*image, spec), 2)
    check(
        typed("run", "--space", "toy", "--dry-run", f"--name={path}"),
        0 if NAME.fullmatch(path) else 2,
    )
    for setting in (
        "sampler",
        "pruner",
        "objective",
        "validation",
        "space",
        "set",
        "limit",
        "storage",
    ):
        check(typed("run", "--space", "toy", "--dry-run", f"--{setting}={path}"), 2)
    for words in (
        ("run",),
        ("status",),
        ("resume",),
        ("predict", path),
        ("sync",),
        ("best",),
        ("export", "--out", "x"),
        (path,),
    ):
        check(typed(*words, "--", path), 0 if "--help" in words else 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", sampled(NAMES))
def test_databases_and_outputs_of_any_name(tmp_path: Path, made: Path, key: str) -> None:
    """A path becomes part of a URL, or of another name beside it."""
    path = as_path(NAMES[key])
    with odd_folder(tmp_path, NAMES[key]) as place:
        for setting in ("storage", "tracking-uri"):
            check(
                typed("run", "--space", "toy", "--dry-run", f"--{setting}=sqlite:///{place}/s.db")
            )
        done = typed("confusion", "made", "--runs-dir", made.parent, f"--out={place / path}")
        check(done)
        assert done.returncode == (0 if (place / path).is_file() else 2)
        assert done.returncode == 0 or not key.startswith("longest")
        assert {found.name for found in place.iterdir()} <= {path}, (
            "nothing under a name that was not asked for"
        )


@pytest.mark.parametrize("word", sampled(YAML))
def test_a_plan_with_yaml_s_own_traps_is_read_as_text_or_refused(tmp_path: Path, word: str) -> None:
    """``no`` is False, ``12:30:00`` a number of seconds and ``2026-11-28`` a date, unless they are
    quoted: a kept plan quotes them.
    """
    plan = make_plan(
        {
            "spaces": "toy", "class_order": (word, "b"), "abbreviations": {word: word},
            "reference": {word: 0.5},
            "tracking": {"experiment": word}, "set": {"optimiser": "sgd"},
        },
        "here",
    )  # fmt: skip
    kept = tmp_path / "kept.yaml"
    kept.write_text(plan.to_yaml())
    assert read_plan(kept) == plan
    for setting in (
        "name: {}",
        "dataset: {}",
        "class_order: [{}, b]",
        "abbreviations: {{a: {}}}",
        "reference: {{{}: 0.5}}",
        "trials: {}",
        "set: {{optimiser: {}}}",
        "storage: {}",
        "tracking: {{experiment: {}}}",
        "spaces: [{}]",
        "{}: 1",
        "{}",
    ):
        typed_by_hand = tmp_path / "plan.yaml"
        typed_by_hand.write_text(
            f"spaces: [toy]\n{setting.format(word)}\n"
            if "spaces" not in setting
            else setting.format(word)
        )
        check(typed("run", typed_by_hand, "--dry-run", "--json", "--runs-dir", tmp_path / "runs"))


def pictures(root: Path, names: Iterable[str]) -> Path:
    """Six small pictures of a class, four for training."""
    generator = np.random.default_rng(0)
    for number, name in enumerate(names):
        tone = generator.integers(0, 256, (8, 8))
        for count in range(6):
            folder = root / ("train" if count < 4 else "test") / name
            folder.mkdir(parents=True, exist_ok=True)
            noise = generator.integers(-20, 20, (8, 8))
            Image.fromarray(np.clip(tone + noise, 0, 255).astype(np.uint8)).save(
                folder / f"{number} {count}.png"
            )
    return root


VISIBLE = [name for name in TEXT if not name.startswith(".")]
"""Hidden folders are no classes."""


def test_a_folder_of_classes_of_any_name_is_read(tmp_path: Path) -> None:
    """Every folder is a class, and is called what it is called."""
    # told apart from others by nothing that can be seen
    names = [name for name in VISIBLE if name not in ("e\u0301", " a  b ")]
    root = pictures(tmp_path / "a 'place' %s {0} [b]\n#?", names)
    assert set(read_dataset(f"folder:{root}", ReadOptions()).classes) == set(names)
    check(
        typed(
            "run",
            "--space",
            "tiny-image",
            "--dataset",
            f"folder:{root}",
            "--dry-run",
            "--runs-dir",
            tmp_path / "runs",
        ),
        0,
    )


@pytest.mark.slow
def test_a_search_an_export_and_its_use_on_classes_and_places_of_any_name(tmp_path: Path) -> None:
    """From pictures to predictions, through Ray, MLflow, a bundle and its check."""
    names = [name for name in VISIBLE if name not in ("e\u0301", " a  b ")]
    place = tmp_path / "-it's 100%s $(id) {0} [b] 狗\t#?"
    root, runs, bundle = pictures(place / "\n\u202e", names), place / "runs", place / "~ out.x"
    done = visiontune(
        "run",
        "--space",
        "tiny-image",
        "--dataset",
        f"folder:{root}",
        "--trials",
        3,
        "--name",
        "odd",
        "--runs-dir",
        runs,
    )
    assert done.returncode == 0, done.stderr
    assert "not told everything" not in done.stdout
    assert not UNFIT.search(done.stdout + done.stderr)
    check(typed("export", "odd", "--runs-dir", runs, "--out", bundle), 0)
    evaluated = typed(
        "evaluate", bundle, "--dataset", f"folder:{root}", "--json", "--out", place / "rows.csv"
    )
    check(evaluated, 0)
    assert set(json.loads(evaluated.stdout)["classes"]) == set(names)
    predicted = typed("predict", bundle, root / "test", "--json")
    check(predicted, 0)
    rows = json.loads(predicted.stdout)
    assert {row["path"] for row in rows} == {str(path) for path in (root / "test").rglob("*.png")}
    check(typed("predict", bundle, root / "test"), 0)
    extended = visiontune("extend", "odd", "--trials", 1, "--runs-dir", runs)
    assert extended.returncode == 0, extended.stderr
    check(typed("sync", "odd", "--runs-dir", runs), 0)


@pytest.mark.parametrize("key", NO_UTF8)
def test_pictures_and_bundles_under_names_that_are_no_utf_8(
    tmp_path: Path, digits_bundle: Path, key: str
) -> None:
    """Old archives have such names; they are read, or refused by name, before any work."""
    with odd_folder(tmp_path, NO_UTF8[key]) as place:
        picture = place / as_path(NO_UTF8[key] + b".png")
        Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "x.png")
        shutil.move(tmp_path / "x.png", picture)
        done = typed("predict", digits_bundle, picture, "--json")
        check(done)
        if not done.returncode:
            assert json.loads(done.stdout)[0]["path"] == on_disk(picture), (
                "bytes that are no text are written out"
            )
        shutil.copytree(digits_bundle, place / "bundle")
        check(typed("predict", place / "bundle", picture))
        check(typed("predict", digits_bundle, place))
