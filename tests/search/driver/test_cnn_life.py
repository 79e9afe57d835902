"""Networks in a search that is killed, prunes, shares its cores, or has too few of them."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from cnn_run import VGG16
from cnn_search import arguments
from program import PATIENCE, Driver, output, refused, visiontune

from analysis.plan.complaints import PlanError
from analysis.plan.plan import Plan, make_plan
from analysis.run.directory import RunDirectory
from search.cluster.capacity import Capacity
from search.driver.exports import source_of
from search.driver.networks import on_this_machine, training_settings
from search.study.combinations import check_combination
from spaces import CnnConfig
from trainables.cnn import precision
from trainables.cnn.data import CnnData
from trainables.cnn.run import LAST, make_run
from trainables.cnn.weights import pack, read
from trainables.data import read_dataset
from trainables.learners import LEARNERS, Shared

EPOCHS = 12
"""So many that a kill after the second comes before the last, however quick the machine."""


def test_a_network_killed_with_everything_goes_on_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut costs an epoch: no epoch is reported twice, and figures and weights are those of
    a run never killed.
    """
    settings = {"crop": 2, "rotation": 10.0, "dropout_place": "none", "optimizer": "sgd"}
    driver = Driver(*arguments(tmp_path, "killed", 1, EPOCHS, **settings), log=tmp_path / "log")
    folder = RunDirectory(tmp_path / "killed")
    until = time.monotonic() + PATIENCE
    while len(folder.steps("cnn", 0)) < 2:
        assert time.monotonic() < until, driver.log
        time.sleep(0.05)
    driver.kill_all()
    done_before = len(folder.steps("cnn", 0))
    assert 2 <= done_before < EPOCHS
    resumed = visiontune("resume", "killed", "--runs-dir", tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert "goes on from" in folder.text("cnn", 0, "log.txt")
    (record,) = folder.records()
    rows = folder.steps("cnn", 0)
    assert [row["step"] for row in rows] == list(range(EPOCHS))
    plan = folder.plan()
    told = source_of(folder).settings
    assert told is not None
    data = CnnData.from_dataset(read_dataset("digits", plan.read_options()))
    _, use = read(folder.weights("cnn", 0) / LAST)
    # another process may measure otherwise
    monkeypatch.setattr(precision, "measured_dtype", lambda device: precision.DTYPES[use.dtype])
    whole = make_run(
        CnnConfig(**record.config), data, told, tuple("0123456789"), seed=0, device="cpu", threads=1
    )  # type: ignore[arg-type]
    for row in rows:
        metrics = whole.step()
        assert {name: row[name] for name in ("train_loss", "val_loss", "val_accuracy")} == {
            name: metrics[name] for name in ("train_loss", "val_loss", "val_accuracy")
        }
    assert (folder.weights("cnn", 0) / LAST).read_bytes() == pack(
        whole.judged.state_dict(), whole.use
    )
    bundle = tmp_path / "bundle"
    output("export", "killed", "--no-test", "--out", bundle, "--runs-dir", tmp_path)


@pytest.mark.slow
def test_networks_and_knn_are_searched_side_by_side(tmp_path: Path) -> None:
    """One search of both families: trials of either kind must not keep the other from its cores."""
    more = ("--space", "tiny-image", "--set", "k=3")
    done = visiontune(*arguments(tmp_path, "both", 4, 1, *more))
    assert done.returncode == 0, done.stderr
    records = RunDirectory(tmp_path / "both").records()
    assert (
        sorted((record.space, record.state) for record in records)
        == [("cnn", "COMPLETE")] * 2 + [("tiny-image", "COMPLETE")] * 2
    )
    exported = output(
        "export",
        "both",
        "--trial",
        "tiny-image/0",
        "--out",
        tmp_path / "bundle",
        "--runs-dir",
        tmp_path,
    )
    assert (
        exported["val_accuracy"]
        == next(r for r in records if r.key == "tiny-image/0").metrics["val_accuracy"]
    )


def test_a_threshold_stops_networks_after_their_first_epoch(tmp_path: Path) -> None:
    """The pruner must be asked at every epoch, and what it stops is PRUNED, with its epochs on
    record.
    """
    more = ("--pruner", "threshold", "--pruner-option", "lower=0.999")
    assert visiontune(*arguments(tmp_path, "pruned", 2, 4, *more)).returncode == 0
    folder = RunDirectory(tmp_path / "pruned")
    assert [(record.state, record.steps, record.pruned_by) for record in folder.records()] == [
        ("PRUNED", 1, "pruner threshold at step 0")
    ] * 2
    assert not list(folder.path.glob("trials/cnn/*/weights")), (
        "nothing that was stopped keeps weights"
    )


def plan(**settings: Any) -> Plan:
    return make_plan({"spaces": "cnn", "dataset": "digits", **settings})


@pytest.mark.parametrize(
    ("settings", "cores", "gpus", "at_once", "asks"),
    [
        ({}, 2, 0, 2, {"CPU": 1, "network_cores": 1}),
        ({"training": {"cpus_per_trial": 2}}, 5, 0, 2, {"CPU": 2, "network_cores": 2}),
        ({"concurrency": 1}, 2, 0, 1, {"CPU": 1, "network_cores": 1}),
        ({"concurrency": 100}, 2, 0, 2, {"CPU": 1, "network_cores": 1}),
        ({}, 16, 2, 2, {"CPU": 1, "network_cores": 1, "GPU": 1}),
        ({"gpus_per_trial": 0.3}, 16, 2, 6, {"CPU": 1, "network_cores": 1, "GPU": 0.3}),
        ({"gpus_per_trial": 2}, 16, 5, 2, {"CPU": 1, "network_cores": 1, "GPU": 2}),
        ({"gpus_per_trial": 0}, 4, 2, 4, {"CPU": 1, "network_cores": 1}),
        ({"spaces": ["cnn", "tiny-image"]}, 2, 0, 3, {"CPU": 1, "network_cores": 1}),
        ({"spaces": ["cnn", "tiny-image"]}, 1, 0, 3, {"CPU": 1, "network_cores": 1}),
        (
            {"spaces": ["cnn", "tiny-image"], "concurrency": 99},
            4,
            0,
            7,
            {"CPU": 1, "network_cores": 1},
        ),
    ],
)
def test_as_many_networks_run_at_once_as_there_is_room_for(
    settings: dict[str, Any], cores: int, gpus: int, at_once: int, asks: dict[str, float]
) -> None:
    """One more would be proposed and wait, knowing nothing of what others came to meanwhile; one
    less would leave a core idle.
    """
    room = Capacity.of(plan(**settings), cores)
    decided = on_this_machine(room.plan, gpus)
    room = Capacity(decided, room.cores, gpus)
    assert room.concurrency == at_once
    assert room.asks("cnn") == asks


@pytest.mark.parametrize(
    ("settings", "gpus", "why"),
    [
        (
            {"training": {"cpus_per_trial": 3}},
            0,
            "training.cpus_per_trial is 3, but there are 2 cores; lower it",
        ),
        (
            {"training": {"cpus_per_trial": 2}, "spaces": ["cnn", "tiny-image"]},
            0,
            "one of them kept for the stages",
        ),
        (
            {"gpus_per_trial": 1},
            0,
            "gpus_per_trial is 1, but Ray finds 0 GPUs here; lower it, or set it to 0",
        ),
    ],
)
def test_what_there_is_no_room_for_is_refused(
    settings: dict[str, Any], gpus: int, why: str
) -> None:
    """Ray would wait for ever."""
    with pytest.raises(PlanError, match=why):
        _ = Capacity(plan(**settings), 2, gpus).concurrency


@pytest.mark.parametrize("validation", ["leave-one-out", "k-fold"])
def test_networks_are_judged_on_images_held_out(validation: str) -> None:
    """Leaving out one image after the other would mean as many trainings."""
    with pytest.raises(PlanError, match="use auto, val or hold-out"):
        check_combination(plan(validation=validation))
    options = plan().read_options()
    assert (options.color, options.hold_out, options.keep_val) == ("rgb", 0.2, True)


def test_a_val_split_of_the_dataset_s_own_is_kept(tmp_path: Path, make_folder: Any) -> None:
    """Whoever brings a val split wants it to select; nothing more is held out then."""
    root = make_folder(
        tmp_path, {"train": {"a": 10, "b": 10}, "val": {"a": 3, "b": 3}, "test": {"a": 2, "b": 2}}
    )
    dataset = read_dataset(f"folder:{root}", plan().read_options())
    assert {name: len(split) for name, split in dataset.splits().items()} == {
        "train": 20,
        "val": 6,
        "test": 4,
    }


def test_the_limit_of_the_report_holds_unless_the_plan_says_otherwise() -> None:
    """80 MiB is what the task allowed."""
    known_before = LEARNERS["cnn"].known_before
    vgg, float32 = asdict(CnnConfig(model="vgg16")), 4 / 2**20
    assert known_before(vgg, 10, 32)["model_mb"] == pytest.approx(VGG16 * float32, rel=1e-12)
    assert known_before({**vgg, "vgg_first": 96}, 10, 32)["model_mb"] > VGG16 * float32
    assert known_before(vgg, 11, 32)["model_mb"] == pytest.approx(
        (VGG16 + 4097) * float32, rel=1e-12
    )
    assert known_before(vgg, 10, 64)["model_mb"] == pytest.approx(
        (VGG16 + 3 * 512 * 4096) * float32, rel=1e-12
    )
    assert plan().bounds()["model_mb"].max == 80
    assert plan(max_model_mb=200).bounds()["model_mb"].max == 200
    assert "model_mb" not in plan(spaces="tiny-image").bounds()


def test_wrong_settings_of_training_are_named(tmp_path: Path) -> None:
    """One line, with what is allowed."""
    assert "training.epochs: input should be greater than or equal to 1, but got 0" in refused(
        *arguments(tmp_path, "x", 1, 0)
    )
    assert "no bundle here" in refused(*arguments(tmp_path, "x", 1, 1, "--init", tmp_path))


@pytest.mark.parametrize(
    ("objective", "judged_by", "maximize"),
    [
        ("val_accuracy", "val_accuracy", True),
        ("balanced_accuracy", "balanced_accuracy", True),
        ("val_loss", "val_loss", False),
        ("train_accuracy", "val_accuracy", True),
        ("seconds", "val_accuracy", True),
    ],
)
def test_the_best_epoch_is_told_by_the_search_s_objective_where_that_judges_epochs(
    tmp_path: Path, objective: str, judged_by: str, maximize: bool
) -> None:
    """A search for the least loss keeps the weights of the least loss; one for speed has no better
    epoch, and goes by accuracy.
    """
    training = {"epochs": 7, "image_size": 48, "cpus_per_trial": 2, "deterministic": True}
    told = training_settings(
        plan(objective=objective, gpus_per_trial=0.5, training=training),
        RunDirectory(tmp_path / "run"),
    )
    assert (told.objective, told.maximize) == (judged_by, maximize)
    assert (
        told.epochs,
        told.image_size,
        told.cpus_per_trial,
        told.compile,
        told.deterministic,
        told.gpus,
    ) == (7, 48, 2, False, True, 0.5)
    assert (told.start, told.start_classes) == ("", ())
    given = LEARNERS["cnn"].assign(Shared(seed=0, training=told), str(tmp_path / "run"), 7, {})
    assert given.folder == str(tmp_path / "run" / "trials" / "cnn" / "00007")


@pytest.mark.parametrize(
    ("settings", "there", "each"),
    [
        ({}, 0.0, 0.0),
        ({}, 4.0, 1.0),
        ({}, 0.5, 0.5),
        ({"gpus_per_trial": 0.25}, 4.0, 0.25),
        ({"gpus_per_trial": 0}, 4.0, 0.0),
    ],
)
def test_a_network_gets_one_gpu_where_there_are_any_and_what_the_plan_says_where_it_does(
    settings: dict[str, Any], there: float, each: float
) -> None:
    """A second one would stand idle; and who shares them knows why."""
    assert on_this_machine(plan(**settings), there).trial_gpus == each
    other = plan(spaces="tiny-image")
    assert on_this_machine(other, there) == other


def test_more_gpus_than_a_network_uses_are_refused() -> None:
    """The second would be reserved, paid for and idle."""
    with pytest.raises(
        PlanError, match="must be at most 1, but got 2: a network is trained on one"
    ):
        check_combination(plan(gpus_per_trial=2))
