"""Checkpoints are written beside the steps of a trial, seldom where steps are short, and are never
ahead of what is on record.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from assigned import given

from spaces import ToyConfig
from trainables.io import keeper
from trainables.io.checkpoint import MANIFEST, latest, manifest, read_state, steps_done
from trainables.io.keeper import Files, Keeper, kept_in
from trainables.learners.toy import ToyRun
from trainables.worker import SearchTrial

TOY = {
    "quality": 0.9, "optimiser": "sgd", "rate": 0.5, "momentum": 0.0, "width": 8, "steps": 6,
    "pause": 0.0, "fault": "none", "fault_step": 0,
}  # fmt: skip


def state_of(step: int) -> Files:
    files = {"state.json": json.dumps({"reports": [0.1] * step}).encode()}
    return lambda: {**files, MANIFEST: manifest(step, files)}


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(keeper.time, "monotonic", lambda: self.now)

    def slow(self, step: int, seconds: float) -> Files:
        """A checkpoint that takes so long to write."""

        def files() -> Mapping[str, bytes]:
            self.now += seconds
            return state_of(step)()

        return files


def steps(place: Path | str) -> list[int | None]:
    return [
        steps_done(Path(str(place).removeprefix("file://")) / name) for name in kept_in(str(place))
    ]


def test_the_next_step_does_not_wait_until_a_checkpoint_is_written(tmp_path: Path) -> None:
    """A GPU stands still meanwhile, up to seconds an epoch where the storage is far."""
    goes, kept = threading.Event(), Keeper(str(tmp_path))

    def slow() -> Mapping[str, bytes]:
        assert goes.wait(60)
        return state_of(1)()

    kept.offer(lambda: slow, 1.0)
    kept.offer(lambda: state_of(2), 1.0)  # not begun before the first is done
    assert kept_in(str(tmp_path)) == []
    goes.set()
    kept.close()
    assert steps(tmp_path) == [1]


@pytest.mark.parametrize(("cost", "every"), [(0.0, 1), (1.0, 2), (2.5, 5), (100.0, 6)])
def test_checkpoints_take_a_twentieth_of_the_time_and_come_at_least_once_a_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cost: float, every: int
) -> None:
    """Of epochs of 10 seconds: each, every second, every fifth, and no fewer than one in six."""
    clock, kept, written = Clock(monkeypatch), Keeper(str(tmp_path)), []
    for step in range(1, 20):
        before = clock.now
        kept.offer(lambda step=step: clock.slow(step, cost), 0.0)
        if kept._thread is not None:
            kept._thread.join()
        if steps(tmp_path)[-1:] == [step]:
            written.append(step)
        clock.now = before + 10.0
    assert written == list(range(1, 20, every))
    assert steps(tmp_path) == written[-2:], "and the two latest stay"


def test_a_stopped_trial_goes_on_from_the_step_that_it_was_stopped_in(tmp_path: Path) -> None:
    """Whoever stops a search expects to lose the step that runs, and no other."""
    kept = Keeper(str(tmp_path))
    for step in (1, 2, 3, 4):  # far too quick for a checkpoint of each
        kept._cost = 1000.0 if step > 1 else 0.0
        kept.offer(lambda step=step: state_of(step), 60.0)
    kept.close(last=True)
    assert steps(tmp_path) == [1, 4]


def test_what_is_dear_to_copy_is_copied_only_for_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy that takes a tenth of a step would cost a tenth of the training."""
    clock, kept, copies = Clock(monkeypatch), Keeper(str(tmp_path)), []

    def snapshot() -> Files:
        copies.append(clock.now)
        clock.now += 0.1
        return state_of(len(copies))

    for _ in range(5):
        kept.offer(snapshot, 1.0)
        kept.close()
        clock.now += 0.9
    assert copies == pytest.approx([1000.0, 1002.8]), "twenty times what one takes lie between"


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_what_a_worker_that_died_left_is_replaced_whole_or_not(tmp_path: Path, scheme: str) -> None:
    """Half a checkpoint must not stay for good, nor a third one."""
    place = f"{scheme}{tmp_path}"
    first = Keeper(place)
    first.offer(lambda: state_of(1), 1.0)
    first.close()
    (tmp_path / "checkpoint_000002").mkdir()
    (tmp_path / "checkpoint_000002" / "other").write_text("half")
    again = Keeper(place)
    again.offer(lambda: state_of(2), 1.0)
    again.close()
    assert steps(place) == [1, 2]
    assert not (tmp_path / "checkpoint_000002" / "other").exists()
    found = latest([tmp_path / name for name in kept_in(place)])
    assert found is not None
    assert read_state(found) == (2, {"reports": [0.1, 0.1]})


def trial(place: Path, **changes: Any) -> SearchTrial:
    return SearchTrial(given("toy", {**TOY, **changes}, 3, checkpoints=str(place)))


def ended(one: SearchTrial) -> None:
    assert one._keeper is not None
    one._keeper.close()


def test_no_checkpoint_is_ahead_of_what_the_driver_has_written_down(tmp_path: Path) -> None:
    """It asks for the next step once the one before is on record: killed before that, a trial whose
    checkpoint knew it would never report it.
    """
    one = trial(tmp_path)
    one.step()
    ended(one)
    assert steps(tmp_path) == []
    one.step()
    ended(one)
    assert steps(tmp_path) == [1]


def test_a_worker_that_takes_over_goes_on_from_what_the_one_before_it_wrote(tmp_path: Path) -> None:
    """Tune knows of no checkpoint: it starts the trial, which looks for its own."""
    one = trial(tmp_path)
    rows = [one.step() for _ in range(3)]
    one.cleanup()
    other = trial(tmp_path)
    again = other.step()
    assert again["step"] > 0
    assert again["val_accuracy"] == rows[again["step"]]["val_accuracy"]
    assert "goes on from" in again["log"]


def test_a_finished_trial_writes_no_more_once_it_has_said_so(tmp_path: Path) -> None:
    """Whoever clears up after it would leave what comes later."""
    one = trial(tmp_path, steps=2)
    assert [one.step()["done"] for _ in range(2)] == [False, True]
    assert one._keeper is not None
    assert one._keeper._thread is not None
    assert not one._keeper._thread.is_alive()
    one.cleanup()
    assert steps(tmp_path) == [1]


def test_a_space_without_checkpoints_writes_none(tmp_path: Path) -> None:
    """Its trials are done in one step."""
    assert given("tiny-image", {}, 3)["assignment"].checkpoints == ""
    one = trial(tmp_path)
    one._keeper = None
    one.step()
    one.step()
    one.cleanup()
    assert kept_in(str(tmp_path)) == []


def test_a_disk_without_room_for_a_checkpoint_ends_no_trial(tmp_path: Path) -> None:
    """What it finds may still be written, and it is said in its log."""
    (tmp_path / "file").write_text("no folder")
    one = trial(tmp_path / "file")
    rows = []
    for _ in range(3):
        rows.append(one.step())
        ended(one)
    assert not any("failure" in row for row in rows)
    said = rows[1]["log"] + rows[2]["log"]  # the writer may be done before its step is
    assert said.count("a checkpoint could not be written") >= 1


def test_a_state_that_cannot_be_copied_fails_the_trial_with_its_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plug-in's own ``save`` may do anything."""

    def broken(self: ToyRun, folder: Path) -> None:
        raise RuntimeError("nothing to save")

    one = trial(tmp_path)
    monkeypatch.setattr(ToyRun, "save", broken)
    assert "failure" not in one.step()
    failed = one.step()
    assert (failed["failure"], failed["done"]) == ("RuntimeError: nothing to save", True)


def test_a_learner_that_only_saves_has_a_copy_of_what_it_saved(tmp_path: Path) -> None:
    """Its later steps must not be in it."""
    run = ToyRun(ToyConfig(**{**TOY, "steps": 4}))  # type: ignore[arg-type]
    run.step()
    copy = run.snapshot()
    run.step()
    for name, content in copy().items():
        (tmp_path / name).write_bytes(content)
    assert read_state(tmp_path)[0] == 1
