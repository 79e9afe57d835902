"""A search of networks as a user runs it: from plan to report, bundle and fine-tuning."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cnn_search import arguments
from conftest import copied, for_reading
from only_named import evaluated
from PIL import Image
from program import output, refusal, visiontune

from analysis.bundle.bundle import read_bundle
from analysis.bundle.export import export
from analysis.bundle.source import ExportRequest
from analysis.run.directory import RunDirectory, RunError
from search.driver.exports import source_of
from trainables.cnn import weights
from trainables.cnn.models import build
from trainables.data import read_dataset


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs directory with a finished search called ``nets``, some of whose proposals are too
    large to be trained; for reading.
    """
    runs = tmp_path_factory.mktemp("networks")
    settings = {"width": "0.125,2.0", "fastnet_convolutions": 2, "dropout_place": "none"}
    done = visiontune(
        *arguments(
            runs, "nets", 4, 3, "--sampler", "random", "--max-model-mb", 5, "--seed", 2, **settings
        )
    )
    assert done.returncode == 0, done.stderr
    return for_reading(request, runs)


@pytest.fixture(scope="module")
def bundle(
    request: pytest.FixtureRequest, runs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The bundle of the best trial of ``nets``; for reading."""
    folder = tmp_path_factory.mktemp("bundle")
    output(
        "export", "nets", "--runs-dir", copied(runs, folder / "runs"), "--out", folder / "bundle"
    )
    return for_reading(request, folder / "bundle")


def test_networks_too_large_are_never_trained_and_others_take_their_place(runs: Path) -> None:
    """A search under a size limit must not spend a minute on what may not win."""
    records = RunDirectory(runs / "nets").records()
    large = [record for record in records if record.metrics["model_mb"] > 5]
    assert large
    assert all(
        record.infeasible and record.state == "PRUNED" and record.steps == 0 for record in large
    )
    assert all(record.violations[0].endswith("is not at most 5") for record in large)
    assert [record.state for record in records if record not in large] == ["COMPLETE"] * 4


def test_every_epoch_is_on_record_with_its_four_figures(runs: Path) -> None:
    """Curves, pruners and resume all live on these rows."""
    folder = RunDirectory(runs / "nets")
    trained = [record for record in folder.records() if not record.infeasible]
    assert len(trained) == 4
    for record in trained:
        rows = folder.steps(record.space, record.number)
        assert [row["step"] for row in rows] == [0, 1, 2]
        figures = {
            "train_accuracy",
            "train_loss",
            "val_accuracy",
            "val_loss",
            "balanced_accuracy",
            "macro_f1",
        }
        assert all(figures <= set(row) for row in rows)
        assert record.metrics["val_accuracy"] == rows[-1]["val_accuracy"]
        assert record.metrics["epoch"] == 3
    assert not [
        record
        for record in folder.records()
        if record.infeasible and folder.steps(record.space, record.number)
    ]


def test_the_weights_of_losers_are_gone(runs: Path, tmp_path: Path) -> None:
    """A thousand networks of 80 MiB would fill a disk; the best three can be exported."""
    folder = RunDirectory(runs / "nets")
    ranked = [row["number"] for row in output("best", "nets", "--top", 10, "--runs-dir", runs)]
    kept = [number for number in ranked if folder.weights("cnn", number).exists()]
    assert kept == ranked[:3]
    assert {path.name for path in folder.weights("cnn", ranked[0]).iterdir()} == {
        "best.safetensors",
        "last.safetensors",
    }
    with pytest.raises(
        RunError, match=r"they are kept of the best trials alone.*--refit trains them again"
    ):
        export(
            source_of(folder),
            next(r for r in folder.records() if r.number == ranked[3]),
            tmp_path / "no",
        )


def test_the_report_shows_curves_final_figures_and_layers(runs: Path) -> None:
    """What the report printed of its two networks, of whatever was searched."""
    report = RunDirectory(runs / "nets").report
    best = output("best", "nets", "--runs-dir", runs)[0]
    (row,) = csv.DictReader((report / "models.csv").read_text().splitlines())
    assert (row["model"], row["trial"], float(row["val_accuracy"])) == (
        "fastnet",
        best["trial"],
        best["val_accuracy"],
    )
    page = (report / "report.html").read_text()
    assert f"{best['train_loss']:.5f}" in page
    assert "Conv2d-1 " in page
    assert f"Params size (MB): {best['model_mb']:.2f}" in page
    lines = (report / "curves.csv").read_text().splitlines()
    assert lines[0] == "trial,epoch,train_accuracy,train_loss,val_accuracy,val_loss"
    assert len(lines) == 1 + 3 * 3
    with Image.open(report / "curves.png") as picture:
        assert picture.width > 1000


def test_the_number_format_is_found_once_and_kept_with_the_run(runs: Path) -> None:
    """Trials that measured for themselves would differ by chance, and so would a resumed one."""
    folder = RunDirectory(runs / "nets")
    found = folder.plan().training.precision
    assert found in ("bfloat16", "float32")
    files = list(folder.path.glob("trials/cnn/*/weights/*.safetensors"))
    assert files
    assert {weights.read(path)[1].dtype for path in files} == {found}


def test_curves_of_any_trial_are_drawn(runs: Path, tmp_path: Path) -> None:
    """Also of one that lost, or still runs."""
    number = output("best", "nets", "--top", 4, "--runs-dir", runs)[3]["number"]
    drawn = output(
        "curves", "nets", "--trial", number, "--out", tmp_path / "c.png", "--runs-dir", runs
    )
    assert [len(rows) for rows in drawn["trials"].values()] == [3]
    assert Path(drawn["file"]).read_bytes().startswith(b"\x89PNG")
    assert "no finished trial '77'" in refusal("curves", "nets", "--trial", 77, "--runs-dir", runs)


def test_a_network_s_bundle_gives_what_was_recorded(
    runs: Path, bundle: Path, tmp_path: Path
) -> None:
    """Export refuses otherwise; and what is written is all that predict needs."""
    best = output("best", "nets", "--runs-dir", runs)[0]
    facts = json.loads((bundle / "bundle.json").read_text())
    assert facts["val"]["accuracy"] == best["val_accuracy"] > 0.3
    assert facts["val"]["n"] == 288
    assert facts["preprocessing"]["size"] == 32
    assert len(facts["history"]) == 3
    expected = {
        "bundle.json",
        "model.safetensors",
        "confusion.png",
        "confusion-test.png",
        "curves.png",
        "reliability.png",
        "README.md",
    }
    assert {path.name for path in bundle.iterdir()} == expected
    found = output("evaluate", shutil.copytree(bundle, tmp_path / "bundle"), "--dataset", "digits")
    assert found["accuracy"] == facts["test"]["accuracy"]


def test_a_network_s_bundle_names_every_package_that_it_needs(bundle: Path, tmp_path: Path) -> None:
    """Neither Ray nor Optuna nor MLflow is needed to use what they found."""
    own = shutil.copytree(bundle, tmp_path / "bundle")
    assert (
        evaluated(own, "digits")["accuracy"]
        == json.loads((bundle / "bundle.json").read_text())["test"]["accuracy"]
    )


def test_predict_gives_probabilities(bundle: Path, tmp_path: Path) -> None:
    """For a picture of any size and colour, the same answer as in evaluation for the same
    picture.
    """
    test = read_dataset("digits").test
    assert test is not None
    Image.fromarray(test.images[0]).save(tmp_path / "a.png")
    Image.fromarray(test.images[1]).resize((90, 70)).convert("RGB").save(tmp_path / "b.png")
    rows = output("predict", bundle, tmp_path / "a.png", tmp_path / "b.png")
    assert all(sum(row["scores"].values()) == pytest.approx(1) for row in rows)
    labels, shares = read_bundle(bundle).scores_of(test.images[:1])
    assert rows[0]["class"] == str(labels[0])
    assert list(rows[0]["scores"].values()) == pytest.approx(shares[0], abs=2e-3)


def test_a_damaged_network_is_refused(bundle: Path, tmp_path: Path) -> None:
    """Weights of another network than bundle.json says would give nonsense."""
    facts = json.loads((bundle / "bundle.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((bundle / "model.safetensors").read_bytes())
    (tmp_path / "bundle.json").write_text(
        json.dumps({**facts, "config": {**facts["config"], "width": 1.0}})
    )
    assert "does not fit bundle.json" in refusal("evaluate", tmp_path, "--dataset", "digits")
    (tmp_path / "bundle.json").write_text(json.dumps({**facts, "kind": "knn"}))
    assert "calls space cnn a 'knn'" in refusal("evaluate", tmp_path, "--dataset", "digits")


def test_refit_learns_from_all_training_images_and_says_so(runs: Path, tmp_path: Path) -> None:
    """The images that chose a configuration are training images too, once it is chosen."""
    folder = RunDirectory(copied(runs, tmp_path / "runs") / "nets")
    record = next(r for r in folder.records() if not r.infeasible)
    epochs: list[int] = []
    request = ExportRequest(
        score_test=False,
        refit=True,
        refit_epochs=2,
        say=lambda epoch, epochs_, metrics: epochs.append(epoch),
    )
    done = export(source_of(folder), record, tmp_path / "refit", request)
    assert epochs == [1, 2], "it may train for another number of epochs than the search did"
    facts = read_bundle(done.bundle).facts
    assert facts.refit
    assert facts.val.accuracy == record.metrics["val_accuracy"], (
        "what chose it is still what is said of it"
    )
    assert "trained again" in (done.bundle / "README.md").read_text()
    assert not (done.bundle / "confusion.png").exists(), (
        "no validation image is left that it has not seen"
    )


def test_fine_tuning_starts_from_a_bundle(
    runs: Path, bundle: Path, tmp_path: Path, make_folder
) -> None:  # type: ignore[no-untyped-def]
    """Its architecture is taken over, whatever the space would try, and its head is new for new
    classes.
    """
    root = make_folder(
        tmp_path / "images",
        {"train": {"a": 12, "b": 12, "c": 12}, "test": {"a": 2, "b": 2, "c": 2}},
    )
    done = visiontune(
        *arguments(tmp_path, "tuned", 1, 1, "--init", bundle, dataset=f"folder:{root}")
    )
    assert done.returncode == 0, done.stderr
    folder = RunDirectory(tmp_path / "tuned")
    assert folder.plan().set["fastnet_convolutions"] == 2
    (record,) = folder.records()
    before, _ = weights.read(bundle / "model.safetensors")
    after, use = weights.read(folder.weights("cnn", record.number) / "last.safetensors")
    assert use.classes == 3
    assert torch.equal(before["stem.0.weight"], after["stem.0.weight"]), (
        "whitened filters stay those of the bundle"
    )
    assert "set.model is lenet, but the network to start from has fastnet" in refusal(
        *arguments(tmp_path, "other", 1, 1, "--init", bundle, model="lenet")
    )


def test_begin_from_keeps_the_body_and_renews_the_head() -> None:
    """The head of other classes means nothing; everything before it does."""
    torch.manual_seed(0)
    tweaks = {"width": 0.125}
    old, new = build("fastnet", 10, 32, tweaks), build("fastnet", 3, 32, tweaks)
    head = {
        name: tensor.clone() for name, tensor in new.state_dict().items() if name.startswith("fc")
    }
    weights.begin_from(new, old.state_dict(), keep_head=False)
    for name, tensor in new.state_dict().items():
        assert torch.equal(tensor, head[name] if name in head else old.state_dict()[name])
    weights.begin_from(new := build("fastnet", 10, 32, tweaks), old.state_dict(), keep_head=True)
    assert all(
        torch.equal(tensor, old.state_dict()[name]) for name, tensor in new.state_dict().items()
    )
    with pytest.raises(weights.WeightsError, match="are of another network"):
        weights.begin_from(
            build("fastnet", 10, 32, {"width": 0.25}), old.state_dict(), keep_head=True
        )


def test_grey_is_the_grey_that_files_are_read_in() -> None:
    """Beside networks kNN gets colour images, and must see what it sees alone."""
    from trainables.data import Images

    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    grey = Images.from_arrays([pixels, pixels[:, :, 0]]).grey()
    assert np.array_equal(grey[0], np.asarray(Image.fromarray(pixels).convert("L")))
    assert np.array_equal(grey[1], pixels[:, :, 0])
    assert grey.grey() is grey
