"""A population, without Ray's workers: who goes on from whom, with which values, and that a driver
that dies loses and doubles nobody.
"""

from __future__ import annotations

import itertools
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from analysis.plan.plan import Plan, make_plan
from analysis.ranking.schedule import schedule
from analysis.run.directory import RunDirectory
from analysis.run.notes import taken
from analysis.run.records import DriverState, TrialRecord
from search.cluster.ray_internals import explored
from search.ledger.ledger import Ledger
from search.ledger.trial_source import Proposal
from search.sampling.population import MEMBER
from search.study.storage import read_trials
from spaces import TOY
from trainables.learners.toy import ToyRun

MEMBERS, GENERATIONS = 4, 4


def plan(**settings: Any) -> Plan:
    population = {"members": MEMBERS, "interval": 2, **settings.pop("population", {})}
    return make_plan({"spaces": ["toy"], "sampler": "random", "population": population, **settings})


def opened(tmp_path: Path, made: Plan | None = None) -> Ledger:
    folder = RunDirectory(tmp_path / "run")
    if not folder.path.is_dir():
        folder.path.mkdir()
        folder.write_state(DriverState(id="0123abcd"))
    return Ledger(folder, made or plan(), explore=explored)


def run(ledger: Ledger, proposal: Proposal) -> None:
    """What a worker would do, without its checkpoints."""
    learner = ToyRun(TOY.typed(proposal.config))
    for step in range(proposal.until):
        result = {**learner.step(), "seconds": 0.1}
        result["done"] = step + 1 == proposal.until
        if step + 1 > (proposal.before[-1][0] if proposal.before else 0):
            ledger.end(proposal.key, result) if result["done"] else ledger.report(
                proposal.key, result
            )


def finish(ledger: Ledger, most: int = 1000) -> None:
    while most and (proposal := ledger.propose()):
        run(ledger, proposal)
        most -= 1


def generations(folder: RunDirectory) -> list[list[TrialRecord]]:
    """The records of each generation, by its members."""
    found: list[list[TrialRecord]] = [[] for _ in range(GENERATIONS)]
    for record in folder.records():
        found[record.steps // 2 - 1].append(record)
    return found


def test_a_population_is_so_many_members_and_generations(tmp_path: Path) -> None:
    """The plan says members and epochs; trials and the end follow, and nobody need count them."""
    ledger = opened(tmp_path)
    finish(ledger)
    folder = RunDirectory(tmp_path / "run")
    assert ledger.finished_reason == f"all {MEMBERS * GENERATIONS} trials are done"
    assert [len(some) for some in generations(folder)] == [MEMBERS] * GENERATIONS


def test_nothing_is_proposed_while_members_of_a_generation_run(tmp_path: Path) -> None:
    """Who is best is not known before all have ended; the search is not over either."""
    ledger = opened(tmp_path)
    first = [ledger.propose() for _ in range(MEMBERS)]
    assert all(first)
    assert ledger.propose() is None
    assert ledger.finished_reason == ""
    for proposal in first:
        assert proposal is not None
        assert (proposal.parent, proposal.until, proposal.leaves) == (None, 2, True)
        assert ledger.propose() is None
        run(ledger, proposal)
    second = ledger.propose()
    assert second is not None
    assert second.until == 4


def test_the_worst_goes_on_from_the_best_with_changed_values(tmp_path: Path) -> None:
    """That is what a population is for: taken over is the best, never the worst, and only what a
    training reads anew changes.
    """
    finish(opened(tmp_path))
    found = generations(RunDirectory(tmp_path / "run"))
    changes = 0
    for before, after in itertools.pairwise(found):
        order = sorted(before, key=lambda record: -record.metrics["val_accuracy"])
        parents = [record.parent for record in after]
        assert parents == [*(r.number for r in order[:-1]), order[0].number]
        by_number = {record.number: record for record in before}
        for record, was in zip(after, order, strict=True):
            parent = by_number[record.parent or 0]
            changed = {n for n, value in record.config.items() if parent.config[n] != value}
            assert changed <= {"rate", "momentum"}
            assert bool(changed) <= (was is order[-1])
            changes += bool(changed)
    assert changes


def test_a_limit_that_stops_first_members_costs_no_member_of_a_later_generation(
    tmp_path: Path,
) -> None:
    """Others are drawn in their place, and these are no trials that a later generation lacks."""
    ledger = opened(tmp_path)
    finish(ledger, most=1)
    assert ledger.propose()
    assert ledger.propose()
    ledger.settle("time limit of 5 s reached (limits.seconds)")
    finish(opened(tmp_path))
    folder = RunDirectory(tmp_path / "run")
    whole = [r for r in folder.records() if r.state == "COMPLETE"]
    assert Counter(r.steps for r in whole) == {2 * (n + 1): MEMBERS for n in range(GENERATIONS)}
    assert len(folder.records()) == MEMBERS * GENERATIONS + 2


def test_who_takes_over_has_what_was_narrowed_to_one_value(tmp_path: Path) -> None:
    """A rate that is asked for while networks train is that of all who change from then on."""
    finish(opened(tmp_path), most=MEMBERS)
    narrowed = plan(narrowed={"rate": 1.25})
    finish(opened(tmp_path, narrowed))
    records = RunDirectory(tmp_path / "run").records()
    by_number = {record.number: record for record in records}
    taken_over = [
        r for r in records
        if r.parent is not None and [one.parent for one in records].count(r.parent) > 1
        and r.number == max(one.number for one in records if one.parent == r.parent)
    ]  # fmt: skip
    assert taken_over
    assert {record.config["rate"] for record in taken_over} == {1.25}
    assert {by_number[record.parent or 0].config["rate"] for record in taken_over} != {1.25}


def test_a_driver_that_dies_anywhere_loses_and_doubles_nobody(tmp_path: Path) -> None:
    """As many generations come about as in a search that nobody killed, each member trained once,
    and from one that had ended.
    """
    for _ in range(MEMBERS * GENERATIONS):
        opened(tmp_path).propose()  # and dies
        finish(opened(tmp_path), most=1)
    finish(opened(tmp_path))
    found = generations(RunDirectory(tmp_path / "run"))
    assert [len(some) for some in found] == [MEMBERS] * GENERATIONS
    for before, after in itertools.pairwise(found):
        assert {record.parent for record in after} <= {record.number for record in before}
    trials = read_trials(RunDirectory(tmp_path / "run"))["toy"]
    members = [tuple(trial.user_attrs.get(MEMBER, (0, trial.number))) for trial in trials]
    assert sorted(members) == sorted(set(members))
    assert {trial.state.name for trial in trials} == {"COMPLETE"}


def test_a_driver_that_dies_while_it_enqueues_a_generation_goes_on_with_the_rest(
    tmp_path: Path,
) -> None:
    """Members are enqueued one by one: those that are there are not asked for again."""
    finish(opened(tmp_path), most=MEMBERS)
    ledger = opened(tmp_path)
    study = ledger._studies["toy"]
    asked: list[Any] = []
    enqueue = study.enqueue

    def dies(params: Any, attributes: Any) -> None:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(attributes)
        enqueue(params, attributes)

    study.enqueue = dies  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        ledger.propose()
    finish(opened(tmp_path))
    assert [len(some) for some in generations(RunDirectory(tmp_path / "run"))] == [4] * 4


def test_a_lost_study_is_built_again_with_its_members(tmp_path: Path) -> None:
    """Who goes on from whom stands in the trials' folders: the study can be lost."""
    finish(opened(tmp_path), most=MEMBERS + 2)
    (tmp_path / "run" / "study.journal").unlink()
    finish(opened(tmp_path))
    assert [len(some) for some in generations(RunDirectory(tmp_path / "run"))] == [4] * 4


def test_a_member_that_fails_is_replaced_by_one_of_the_best(tmp_path: Path) -> None:
    """A population shall not shrink, nor end, over a learning rate that was too large."""
    ledger = opened(tmp_path)
    first = [ledger.propose() for _ in range(MEMBERS)]
    for proposal in first:
        assert proposal is not None
        if proposal.number == 1:
            ledger.end(proposal.key, {"failure": "its loss was nan"})
        else:
            run(ledger, proposal)
    finish(ledger)
    records = RunDirectory(tmp_path / "run").records()
    done = [record for record in records if record.state == "COMPLETE"]
    assert len(done) == MEMBERS * GENERATIONS - 1
    best = max(done[: MEMBERS - 1], key=lambda record: record.metrics["val_accuracy"])
    assert [r.parent for r in records if r.steps == 4].count(best.number) == 2
    assert ledger.finished_reason == f"all {GENERATIONS} generations are done"


def test_a_population_of_which_nobody_is_left_ends(tmp_path: Path) -> None:
    """It must not wait for ever for somebody to go on from."""
    ledger = opened(tmp_path)
    for _ in range(MEMBERS):
        proposal = ledger.propose()
        assert proposal is not None
        ledger.end(proposal.key, {"failure": "its loss was nan"})
    assert ledger.propose() is None
    assert ledger.finished_reason == "no member of generation 1 is left to go on from"


def test_a_schedule_names_each_stretch_and_what_changed(tmp_path: Path) -> None:
    """The winner cannot be trained again, nor believed, by its last values alone."""
    finish(opened(tmp_path))
    folder = RunDirectory(tmp_path / "run")
    for record in generations(folder)[-1]:
        found = schedule(folder, record.space, record.number)
        assert [(one.first, one.until) for one in found] == [(1, 2), (3, 4), (5, 6), (7, 8)]
        assert found[-1].record.number == record.number
        config = dict(found[0].record.config)
        for one in found:
            config |= {name: now for name, (_, now) in one.changed.items()}
            assert config == one.record.config


@pytest.mark.parametrize("method", ["pbt", "pb2"])
def test_changed_values_are_within_their_domains_and_the_same_for_the_same_seed(
    method: str, tmp_path: Path
) -> None:
    """A value outside of what is searched would be refused when the study takes it; one that is
    drawn otherwise after a kill would be another search.
    """
    values = {"rate": 1.9, "momentum": 0.05}
    domains = {name: TOY[name].domain for name in values}
    told = [
        (str(trial), step, {"rate": 0.2 + trial / 5, "momentum": trial / 10}, step * trial / 40)
        for trial in range(6)
        for step in (1, 2, 3)
    ]
    found = [explored(method, values, domains, told, "5", [values], seed) for seed in range(3)]
    again = [explored(method, values, domains, told, "5", [values], seed) for seed in range(3)]
    assert found == again
    assert all(v in domains[name] for some in found for name, v in some.items())
    assert any(some != found[0] for some in found)
    assert all(some != values for some in found)


def test_what_was_asked_for_is_a_first_member(tmp_path: Path) -> None:
    """A configuration of the user's begins like any other; once all have begun it is refused in
    words, as it could take over from nobody.
    """
    ledger = opened(tmp_path)
    study = ledger._studies["toy"]
    assert study.objection("enqueue", -1, {"quality": 0.5}) == ""
    study.enqueue({"quality": 0.5}, {})
    first = [ledger.propose() for _ in range(MEMBERS)]
    assert first[0] is not None
    assert first[0].config["quality"] == 0.5
    assert "first generation" in study.objection("enqueue", -1, {"quality": 0.5})
    assert "replaced" in study.objection("retry", 0, {})
    shutil.rmtree(tmp_path / "run")


def test_a_member_whose_parent_s_record_is_lost_goes_on_all_the_same(tmp_path: Path) -> None:
    """The parent is run again under its number, and nobody waits for it, nor stops the search: how
    a member came about stands in the study.
    """
    finish(opened(tmp_path), most=MEMBERS + 1)
    folder = RunDirectory(tmp_path / "run")
    for record in folder.records()[:MEMBERS]:
        (folder.trial("toy", record.number) / "result.json").write_text("{")
    taken()
    finish(opened(tmp_path))
    assert [len(some) for some in generations(folder)] == [MEMBERS] * GENERATIONS
    assert any("is run again" in line for line in taken())
