"""The bundle: whole, checked, harmless, and used as it was measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from finished import TINY, finished
from only_named import evaluated
from program import output, refusal, typed, visiontune
from safetensors.numpy import load_file
from samples import record

from analysis.run.directory import RunDirectory
from spaces.objectives import metrics_of

IMAGE_FILES = {
    "bundle.json",
    "model.safetensors",
    "confusion.png",
    "confusion-test.png",
    "curves.png",
    "reliability.png",
    "README.md",
}


def facts(bundle: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((bundle / "bundle.json").read_text())
    return found


def test_a_bundle_says_what_it_is_and_how_good(digits_bundle: Path, digits_runs: Path) -> None:
    """Whoever gets the folder knows nothing else of the search."""
    best = output("best", "first", "--runs-dir", digits_runs)[0]
    found = facts(digits_bundle)
    assert {path.name for path in digits_bundle.iterdir()} == IMAGE_FILES
    assert found["val"]["accuracy"] == best["val_accuracy"]  # type: ignore[index]
    assert found["val"]["scheme"] == "leave-one-out"  # type: ignore[index]
    assert found["test"]["n"] == 360  # type: ignore[index]
    assert found["config"] == best["config"]
    card = (digits_bundle / "README.md").read_text()
    assert f"{best['val_accuracy']:.4f}" in card
    assert "optimistic" in card


def test_evaluate_gives_the_test_accuracy_of_the_export_and_counts_the_look(
    own_bundle: Path,
) -> None:
    """The same files on the same images give the same figure; and looking twice at test images is
    on record.
    """
    before = facts(own_bundle)
    found = output("evaluate", own_bundle, "--dataset", "digits")
    assert found["accuracy"] == before["test"]["accuracy"]  # type: ignore[index]
    assert found["n"] == 360
    assert sum(map(sum, found["confusion"])) == 360
    assert facts(own_bundle)["test_evaluations"] == int(before["test_evaluations"]) + 1  # type: ignore[call-overload]


def test_the_run_s_report_tells_the_test_accuracy_of_an_export(
    digits_bundle: Path, digits_runs: Path, exported_runs: Path
) -> None:
    """The report was written before: whoever opens it afterwards must find the figure that
    counts.
    """
    said = f"Test accuracy {facts(digits_bundle)['test']['accuracy']:.4f}"  # type: ignore[index]
    assert said not in (RunDirectory(digits_runs / "first").report / "report.html").read_text()
    assert said in (RunDirectory(exported_runs / "first").report / "report.html").read_text()


def test_a_bundle_names_every_package_that_it_needs(own_runs: Path, tmp_path: Path) -> None:
    """Whoever is given it installs what it names, and has the same accuracy."""
    out = tmp_path / "bundle"
    exported = output(
        "export", "first", "--trial", "bag-of-sift/0", "--out", out, "--runs-dir", own_runs
    )
    assert evaluated(out, "digits")["accuracy"] == exported["test_accuracy"]


@pytest.mark.parametrize("trial", ["tiny-image/0", "bag-of-sift/0"])
def test_any_complete_trial_can_be_exported(own_runs: Path, tmp_path: Path, trial: str) -> None:
    """Export re-evaluates what it wrote and refuses unless it gives the recorded value exactly."""
    out = tmp_path / "bundle"
    exported = output(
        "export", "first", "--trial", trial, "--no-test", "--out", out, "--runs-dir", own_runs
    )
    assert exported["trial"] == trial
    assert exported["test_accuracy"] is None
    assert ("vocabulary" in load_file(out / "model.safetensors")) == trial.startswith("bag-of-sift")
    assert "exists already" in refusal("export", "first", "--out", out, "--runs-dir", own_runs)


def test_a_bundle_says_how_its_configuration_did_under_other_seeds(
    own_runs: Path, tmp_path: Path
) -> None:
    """The value that chose it was lucky; the mean of other seeds is what its user may expect."""
    own_record = next(one for one in RunDirectory(own_runs / "first").records() if one.number == 0)
    folder = RunDirectory(own_runs / "first").replicas
    folder.path.mkdir()
    (folder.path / "jobs.json").write_text(
        json.dumps([{"space": "tiny-image", "trial": 0, "seed": seed} for seed in (7, 8)])
    )
    for number, value in enumerate((0.5, 0.7)):
        told = dict.fromkeys(metrics_of(own_record.metrics), value)
        folder.write_record(record(number, metrics=told), "", None, None)
    output(
        "export",
        "first",
        "--trial",
        "tiny-image/0",
        "--no-test",
        "--out",
        tmp_path / "out",
        "--runs-dir",
        own_runs,
    )
    again = facts(tmp_path / "out")["replicas"]
    assert again == {
        "seeds": [7, 8],
        "mean": pytest.approx(0.6),
        "spread": pytest.approx(0.02**0.5),
    }
    assert (
        "2 other seed(s): mean validation accuracy 0.6000, standard deviation 0.1414"
        in (tmp_path / "out" / "README.md").read_text()
    )


def test_a_bundle_that_does_not_give_the_recorded_value_is_not_made(
    tmp_path: Path, make_folder
) -> None:  # type: ignore[no-untyped-def]
    """A bundle whose figure cannot be had again must not leave the house."""
    runs, images = tmp_path / "runs", make_folder(tmp_path / "images", {"train": {"a": 6, "b": 6}})
    folder = finished(runs, f"folder:{images}", [("tiny-image", TINY)])
    (item,) = folder.records()
    (folder.trial("tiny-image", 0) / "result.json").unlink()
    changed = item.model_copy(update={"metrics": item.metrics | {"val_accuracy": 0.123}})
    folder.write_record(changed, "", None, folder.predictions(item))
    assert "recorded" in refusal("export", "made", "--out", tmp_path / "out", "--runs-dir", runs)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "runs"], (
        "nothing half-made is left"
    )


def test_what_a_gpu_found_may_differ_by_what_is_said_and_no_more(
    tmp_path: Path, make_folder
) -> None:  # type: ignore[no-untyped-def]
    """A GPU rounds otherwise than the cores that judge the bundle; what the cores found they give
    again.
    """
    runs, images = tmp_path / "runs", make_folder(tmp_path / "images", {"train": {"a": 6, "b": 6}})
    folder = finished(runs, f"folder:{images}", [("tiny-image", TINY)])
    (item,) = folder.records()

    def exported(device: str, off: float):  # type: ignore[no-untyped-def]
        (folder.trial("tiny-image", 0) / "result.json").unlink()
        metrics = item.metrics | {"val_accuracy": abs(item.metrics["val_accuracy"] - off)}
        changed = item.model_copy(update={"metrics": metrics, "device": device})
        folder.write_record(changed, "", None, folder.predictions(item))
        return typed("export", "made", "--out", tmp_path / f"{device}{off}", "--runs-dir", runs)

    assert exported("cuda", 0.004).returncode == 0
    assert "recorded" in exported("cuda", 0.006).stderr
    assert "recorded" in exported("", 0.004).stderr


def test_predict_gives_a_class_and_a_score_for_every_class(
    digits_bundle: Path, tmp_path: Path
) -> None:
    """One JPEG in, one answer out."""
    from PIL import Image

    from trainables.data import read_dataset

    test = read_dataset("digits").test
    assert test is not None
    paths = []
    for index in range(5):
        paths.append(tmp_path / f"{index}.jpg")
        Image.fromarray(test.images[index]).save(paths[-1], quality=95)
    rows = output("predict", digits_bundle, *paths)
    assert [row["path"] for row in rows] == [str(path) for path in paths]
    for row in rows:
        assert set(row["scores"]) == set("0123456789")
        assert sum(row["scores"].values()) == pytest.approx(1)
        assert row["scores"][row["class"]] == max(row["scores"].values())
    assert (
        sum(int(row["class"]) == label for row, label in zip(rows, test.labels, strict=False)) >= 4
    )


def test_predict_refuses_a_text_file_in_one_line(digits_bundle: Path, tmp_path: Path) -> None:
    """Whatever is named .jpg is not always a picture."""
    (tmp_path / "note.jpg").write_text("hello")
    assert "note.jpg: not an image" in refusal("predict", digits_bundle, tmp_path / "note.jpg")
    assert "no such image file" in refusal("predict", digits_bundle, tmp_path / "gone.jpg")


def truncate(bundle: Path) -> None:
    path = bundle / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def flip(bundle: Path) -> None:
    path = bundle / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def change(**changes: object):  # type: ignore[no-untyped-def]
    def spoil(bundle: Path) -> None:
        (bundle / "bundle.json").write_text(json.dumps({**facts(bundle), **changes}))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (truncate, "SHA-256 differs"),
        (flip, "SHA-256 differs"),
        (lambda b: (b / "model.safetensors").unlink(), "not a whole bundle"),
        (lambda b: (b / "bundle.json").write_text("{"), "not a whole bundle"),
        (change(format=99), "bundle format must be 1, but got 99"),
        (change(config={"metric": "telepathy"}), "must be one of euclidean"),
        (change(classes=["a", "b"]), "does not fit"),
        (change(extra=1), "not a whole bundle"),
        (change(space="moon"), "unknown space"),
        (change(preprocessing={"max_side": 512}), "not a whole bundle"),
        (change(classes=["0"] * 10), "names a class twice"),
    ],
)
def test_a_damaged_or_changed_bundle_is_refused_with_the_reason(
    own_bundle: Path, spoil, said: str
) -> None:  # type: ignore[no-untyped-def]
    """A wrong answer from a damaged file is worse than none."""
    spoil(own_bundle)
    assert said in refusal("evaluate", own_bundle, "--dataset", "digits")


def test_classes_that_the_bundle_does_not_know_are_named(
    digits_bundle: Path, tmp_path: Path, make_folder
) -> None:  # type: ignore[no-untyped-def]
    """An accuracy over classes that can never be predicted would be nonsense."""
    root = make_folder(tmp_path / "other", {"train": {"cat": 2, "dog": 2}})
    assert "cat, dog" in refusal("evaluate", digits_bundle, "--dataset", f"folder:{root}")


def test_changed_images_are_noticed_before_an_export(tmp_path: Path, make_folder) -> None:  # type: ignore[no-untyped-def]
    """A bundle made of other images than the search saw would carry figures that are not its
    own.
    """
    root = make_folder(tmp_path / "images", {"train": {"a": 6, "b": 6}})
    runs = tmp_path / "runs"
    run = visiontune(
        "run",
        "--space",
        "tiny-image",
        "--trials",
        1,
        "--dataset",
        f"folder:{root}",
        "--name",
        "r",
        "--runs-dir",
        runs,
        "--no-tracking",
    )
    assert run.returncode == 0, run.stderr
    next((root / "train" / "a").iterdir()).unlink()
    assert "is not what it was" in refusal(
        "export", "r", "--out", tmp_path / "b", "--runs-dir", runs
    )
    assert "is not what it was" in refusal("resume", "r", "--runs-dir", runs)
