"""How a run whose driver died stands: quick, however many trials there are, and to the last
trial.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from knn_ledger import result

from analysis.plan.plan import make_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DriverState
from search.ledger import status
from search.ledger.ledger import Ledger
from search.ledger.status import best_of, read_status
from trainables.io.files import write_whole


def dead(tmp_path: Path, noted: int, ended: int) -> RunDirectory:
    """A run of tiny images that was noted after some trials and died after more, one failed and two
    running.
    """
    run = RunDirectory(tmp_path / "run")
    plan = make_plan(
        {
            "name": "run",
            "spaces": ["tiny-image"],
            "dataset": "digits",
            "trials": 30,
            "sampler": "random",
        }
    )
    write_whole(run.plan_file, plan.to_yaml())
    state = DriverState(id="0123abcd")
    run.write_state(state)
    ledger = Ledger(run, plan)
    for nth in range(ended):
        proposal = ledger.propose()
        assert proposal is not None
        ledger.end(proposal.key, {"failure": "out of luck"} if nth == 4 else result(nth / 100))
        if nth + 1 == noted:
            run.write_state(
                state.model_copy(
                    update={"trials": ledger.states(), "best": best_of(ledger.tally.best)}
                )
            )
    assert ledger.propose()
    assert ledger.propose()
    return run


@pytest.mark.parametrize(("noted", "ended"), [(3, 8), (6, 8), (8, 8)])
def test_what_ended_after_the_last_note_is_added(
    tmp_path: Path, noted: int, ended: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver notes twice a second; between two notes dozens of trials may end."""
    run = dead(tmp_path, noted, ended)
    slow = status._count(run, "", "val_accuracy")
    monkeypatch.setattr(status, "_count", lambda *arguments: pytest.fail("everything was read"))
    found = read_status(run)
    assert found["state"] == "interrupted"
    assert (
        found["trials"]
        == {"COMPLETE": 7, "PRUNED": 0, "FAIL": 1, "RUNNING": 2, "WAITING": 0}
        == slow[0]
    )
    assert found["best"] == slow[1]
    assert found["best"]["trial"] == "tiny-image/7"


def test_without_a_note_everything_is_read(tmp_path: Path) -> None:
    """A driver may die before its first note."""
    found = read_status(dead(tmp_path, 0, 5))
    assert found["trials"] == {"COMPLETE": 4, "PRUNED": 0, "FAIL": 1, "RUNNING": 2, "WAITING": 0}
    assert found["best"]["trial"] == "tiny-image/3"
