"""Networks whose best epoch is not their last, and whose seeds are not 0: what a trial keeps and
tells of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fading
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from assigned import assigned, given
from program import environment_kept

from search.cluster.start import local_cluster
from spaces import CnnConfig
from trainables.cnn import weights
from trainables.cnn.data import CnnData
from trainables.cnn.models import build
from trainables.cnn.precision import DTYPES
from trainables.cnn.run import CnnTrial
from trainables.cnn.training import CnnRun
from trainables.contract.assignment import Shared, TrainingSettings
from trainables.data import Dataset, ReadOptions, read_dataset
from trainables.data.source import data_source
from trainables.stages.registry import NAMESPACE, StageRegistry
from trainables.worker import SearchTrial

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
def shared(dataset: Dataset) -> Iterator[Shared]:
    """What a search tells its trials, with a registry of stages at work."""
    with environment_kept(), local_cluster(1, print) as ray:
        registry = StageRegistry.options(name="of-networks", namespace=NAMESPACE).remote(1)  # type: ignore[attr-defined]
        yield Shared(seed=0, registry="of-networks", data=data_source(dataset, OPTIONS))
        ray.kill(registry)  # it lives as long as somebody holds it


def trial_of(shared: Shared, folder: Path, number: int, seed: int = 5, **changes: Any) -> CnnTrial:
    plain = TrainingSettings(EPOCHS, 32, 1, False, False, 0.0, "val_accuracy", True)
    training = replace(plain, **changes)
    place = str(folder / f"{number:05d}")
    return CnnTrial(
        assigned(
            "cnn",
            fading.SETTINGS,
            number,
            seed=seed,
            shared=shared,
            training=training,
            folder=place,
        )
    )


def trained(trial: CnnTrial) -> list[dict[str, Any]]:
    rows = [trial.step()]
    while not rows[-1]["done"]:
        rows.append(trial.step())
    trial.close()
    return rows


def judged(place: Path, dataset: Dataset) -> tuple[int, float, float]:
    """Epoch, validation loss and accuracy of the network in a file, found anew."""
    tensors, use = weights.read(place)
    net = build(CONFIG.model, 3, 32, CONFIG.tweaks())
    net.load_state_dict(tensors)
    data = CnnData.from_dataset(dataset)
    assert data.val_images is not None
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (use.mean, use.std))
    torch.set_num_threads(1)
    scores = weights.class_scores(
        net.to(memory_format=torch.channels_last),  # type: ignore[call-overload]
        torch.tensor(data.val_images), mean, std, DTYPES[use.dtype], False, 0,
    )  # fmt: skip
    labels = torch.tensor(data.val_labels)
    return (
        use.epoch,
        F.cross_entropy(scores, labels).item(),
        float((scores.argmax(1) == labels).float().mean()),
    )


@pytest.mark.parametrize(
    ("objective", "maximize"), [("val_accuracy", True), ("macro_f1", True), ("val_loss", False)]
)
def test_the_network_kept_as_best_is_that_of_the_best_epoch(
    shared: Shared, dataset: Dataset, tmp_path: Path, objective: str, maximize: bool
) -> None:
    """Whoever exports the best epoch wants its weights, those that were judged, whichever metric
    judged them.
    """
    rows = trained(trial_of(shared, tmp_path, 7, objective=objective, maximize=maximize))
    values = [row[objective] for row in rows]
    best = max(
        range(EPOCHS), key=lambda epoch: (values[epoch] if maximize else -values[epoch], epoch)
    )
    assert best < EPOCHS - 1, f"the task is meant to get worse, but {objective} was {values}"
    for name, row in (("best", best), ("last", EPOCHS - 1)):
        epoch, loss, accuracy = judged(
            tmp_path / "00007" / "weights" / f"{name}.safetensors", dataset
        )
        assert (epoch, loss, accuracy) == (
            row + 1,
            pytest.approx(rows[row]["val_loss"], rel=1e-5),
            pytest.approx(rows[row]["val_accuracy"]),
        )


def test_a_network_that_gets_better_keeps_its_last_epoch_as_its_best(
    shared: Shared, tmp_path: Path
) -> None:
    """The other way round: a training loss falls, and of what falls the last is the best."""
    rows = trained(trial_of(shared, tmp_path, 0, objective="train_loss", maximize=False))
    assert [row["train_loss"] for row in rows] == sorted(
        (row["train_loss"] for row in rows), reverse=True
    )
    best, last = (
        (tmp_path / "00000" / "weights" / f"{name}.safetensors").read_bytes()
        for name in ("best", "last")
    )
    assert best == last


def test_a_training_that_gets_no_better_ends_and_stands_by_its_best_epoch(
    shared: Shared, dataset: Dataset, tmp_path: Path
) -> None:
    """An epoch more would cost as much as any, and what is judged must be what is kept."""
    trial = trial_of(shared, tmp_path, 8, epochs=8, patience=2)
    rows = [trial.step()]
    while not rows[-1]["done"]:
        trial.save(tmp_path / "saved")
        rows.append(trial.step())
    trial.close()
    values = [row["val_accuracy"] for row in rows[:-1]]
    best = max(range(len(values)), key=lambda epoch: (values[epoch], epoch))
    assert len(values) == best + 3 < 8, values
    last = rows[-1]
    assert (last["step"], last["epoch"]) == (rows[-2]["step"], best + 1)
    for metric in ("val_accuracy", "val_loss", "macro_f1", "train_loss"):
        assert last[metric] == rows[best][metric]
    for name in ("best", "last"):
        found = judged(tmp_path / "00008" / "weights" / f"{name}.safetensors", dataset)
        expected = last["val_loss"], values[best]
        assert found == (best + 1, *(pytest.approx(value, rel=1e-5) for value in expected))
    assert dataset.val is not None
    assert (last["predictions"] == dataset.val.labels).mean() == values[best]
    again = trial_of(shared, tmp_path, 8, epochs=8, patience=2)
    again.load(tmp_path / "saved")  # killed before the best epoch was judged again
    resumed = again.step()
    assert resumed["done"]
    assert resumed["val_loss"] == last["val_loss"]


def test_a_trial_is_the_training_of_its_configuration_with_its_own_seed(
    shared: Shared, dataset: Dataset, tmp_path: Path
) -> None:
    """A search's seed and a replica's are there to be different: networks of one seed are one
    network.
    """
    found = {}
    for seed in (0, 6):
        rows = trained(trial_of(shared, tmp_path, seed, seed))
        _, use = weights.read(tmp_path / f"{seed:05d}" / "weights" / "last.safetensors")
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
        assert [run.step()["train_loss"] for _ in range(EPOCHS)] == [
            row["train_loss"] for row in rows
        ]
        assert rows[0]["model_mb"] == sum(p.numel() for p in run.net.parameters()) * 4 / 2**20
        assert [row["step"] for row in rows] == [0, 1, 2, 3]
        assert rows[-1]["predictions"].tolist() == run.predictions().tolist()
        found[seed] = rows[-1]["train_loss"]
    assert found[0] != found[6]


def test_a_network_that_goes_on_from_another_keeps_the_best_of_its_own_epochs(
    shared: Shared, dataset: Dataset, tmp_path: Path
) -> None:
    """On a task that gets worse the best epoch was its parent's: there would be no weights of its
    own to keep. And the schedule trained from scratch gives the same bits.
    """
    changed = {**fading.SETTINGS, "learning_rate": 0.02, "momentum": 0.7}
    training = TrainingSettings(EPOCHS, 32, 1, False, False, 0.0, "val_accuracy", True)
    end, rows = str(tmp_path / "0" / "end"), list[dict[str, Any]]()
    then: dict[str, Any] = {"before": ((2, fading.SETTINGS),), "until": EPOCHS}
    for number, config, more in (
        (0, fading.SETTINGS, {"until": 2, "leaves": end}),
        (1, changed, {**then, "goes_from": end}),
        (2, changed, then),
    ):
        trial = SearchTrial(
            given(
                "cnn",
                config,
                number,
                seed=5,
                shared=shared,
                training=training,
                folder=str(tmp_path / str(number)),
                **more,
            )
        )
        rows.append(trial.step())
        while not rows[-1]["done"]:
            rows.append(trial.step())
        assert "failure" not in rows[-1], rows[-1]
    assert [row["step"] for row in rows] == [0, 1, 2, 3, 0, 1, 2, 3]
    for once, again in zip(rows[:4], rows[4:], strict=True):
        assert once["val_loss"] == again["val_loss"]
    assert rows[0]["val_accuracy"] > max(row["val_accuracy"] for row in rows[2:4])
    epoch, loss, _ = judged(tmp_path / "1" / "weights" / "best.safetensors", dataset)
    assert epoch > 2
    assert loss == pytest.approx(rows[epoch - 1]["val_loss"], rel=1e-5)
