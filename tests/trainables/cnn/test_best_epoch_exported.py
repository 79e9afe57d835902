"""Networks whose best epoch is not their last: what is recorded, exported and evaluated of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import fading
import pytest
from program import output, refusal, visiontune

from analysis.run.directory import RunDirectory
from spaces import CnnConfig
from trainables.cnn import weights
from trainables.cnn.data import CnnData
from trainables.cnn.training import CnnRun
from trainables.data import Dataset, ReadOptions, read_dataset

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # Ray's own
EPOCHS = 4
CONFIG = CnnConfig(**fading.SETTINGS)
OPTIONS = ReadOptions(color="rgb", keep_val=True)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> str:
    return fading.write(tmp_path_factory.mktemp("images") / "fading.npz")


@pytest.fixture(scope="module")
def dataset(images: str) -> Dataset:
    return read_dataset(images, OPTIONS)


@pytest.fixture(scope="module")
def runs(images: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs directory with a search called ``fading``, whose one trial was run again with three
    other seeds; for reading.
    """
    runs = tmp_path_factory.mktemp("runs")
    settings = ("--trials", 1, "--epochs", EPOCHS, "--seed", 5, "--replicate", 1, "--no-tracking")
    done = visiontune(
        "run",
        "--space",
        "cnn",
        "--dataset",
        images,
        "--name",
        "fading",
        "--runs-dir",
        runs,
        *settings,
        *fading.words(),
    )
    assert done.returncode == 0, done.stderr
    return runs


def test_networks_run_again_with_other_seeds_are_other_networks(
    runs: Path, dataset: Dataset
) -> None:
    """A mean over replicas says something only if each was trained from its own seed; the search's
    own is not 0 either.
    """
    folder = RunDirectory(runs / "fading")
    _, use = weights.read(folder.weights("cnn", 0) / "last.safetensors")
    losses = {5: [row["train_loss"] for row in folder.steps("cnn", 0)]}
    jobs = json.loads((folder.replicas.path / "jobs.json").read_text())
    losses |= {
        job["seed"]: [row["train_loss"] for row in folder.replicas.steps("cnn", number)]
        for number, job in enumerate(jobs)
    }
    assert sorted(losses) == [5, 6, 7, 8]
    assert CnnConfig(**folder.records()[0].config) == CONFIG  # type: ignore[arg-type]
    for seed, rows in losses.items():
        data = CnnData.from_dataset(dataset)
        run = CnnRun(
            CONFIG,
            data,
            classes=3,
            epochs=EPOCHS,
            seed=seed,
            device="cpu",
            threads=1,
            dtype=use.dtype,
        )
        assert [run.step()["train_loss"] for _ in range(EPOCHS)] == pytest.approx(rows, rel=1e-6), (
            f"seed {seed}"
        )
    assert len({rows[-1] for rows in losses.values()}) == 4


def test_the_epoch_that_is_asked_for_is_exported_and_evaluated(
    runs: Path, images: str, tmp_path: Path
) -> None:
    """Best and last are two networks here, and each must carry its own weights and its own
    figures.
    """
    rows = RunDirectory(runs / "fading").steps("cnn", 0)
    values = [row["val_accuracy"] for row in rows]
    best = max(range(EPOCHS), key=lambda epoch: (values[epoch], epoch))
    assert values[best] > values[-1]
    tested, files = {}, {}
    for name, row in (("best", rows[best]), ("last", rows[-1])):
        exported = output(
            "export", "fading", "--epoch", name, "--out", tmp_path / name, "--runs-dir", runs
        )
        facts = json.loads((tmp_path / name / "bundle.json").read_text())
        figures = {
            metric: row[metric] for metric in ("val_accuracy", "balanced_accuracy", "macro_f1")
        }
        assert {
            metric: facts["val"][metric.removeprefix("val_")] for metric in figures
        } == pytest.approx(figures)
        assert exported["val_accuracy"] == row["val_accuracy"]
        assert facts["val"]["scheme"] == f"held out, epoch {row['step'] + 1}"
        assert [epoch["val_loss"] for epoch in facts["history"]] == [
            epoch["val_loss"] for epoch in rows
        ]
        tested[name] = output("evaluate", tmp_path / name, "--dataset", images)["accuracy"]
        assert tested[name] == facts["test"]["accuracy"] == exported["test_accuracy"]
        files[name] = (tmp_path / name / "model.safetensors").read_bytes()
    assert tested["best"] > tested["last"], (
        "the test images are labelled as the validation images are"
    )
    kept = RunDirectory(runs / "fading").weights("cnn", 0)
    assert files == {name: (kept / f"{name}.safetensors").read_bytes() for name in ("best", "last")}
    default = output(
        "export", "fading", "--no-test", "--out", tmp_path / "default", "--runs-dir", runs
    )
    assert default["val_accuracy"] == values[-1]


def test_a_bundle_of_a_network_that_does_not_give_the_recorded_value_is_not_made(
    runs: Path, tmp_path: Path
) -> None:
    """On the device that judged it nothing may differ; and an epoch of which nothing is recorded
    has no figure to hold.
    """
    copy = Path(shutil.copytree(runs, tmp_path / "runs"))
    steps = RunDirectory(copy / "fading").trial("cnn", 0) / "steps.jsonl"
    rows = [json.loads(line) for line in steps.read_text().splitlines()]
    rows[-1]["val_accuracy"] += 0.001
    steps.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert "the bundle gives validation accuracy" in refusal(
        "export", "fading", "--out", tmp_path / "a", "--runs-dir", copy
    )
    steps.write_text("".join(json.dumps(row) + "\n" for row in rows[-1:]))
    said = refusal(
        "export", "fading", "--epoch", "best", "--out", tmp_path / "a", "--runs-dir", copy
    )
    assert "has no record; use --epoch last" in said
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
