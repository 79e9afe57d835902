"""Room on the nodes of a cluster, and what each node is asked before it gets a trial; no cluster is
needed for either.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from analysis.plan.complaints import PlanError
from analysis.plan.plan import make_plan
from search.cluster import preflight
from search.cluster.capacity import Capacity
from search.cluster.growing import ClusterCapacity, fits
from search.cluster.preflight import Probe, answer
from trainables.stages.device import Card


@pytest.mark.parametrize(
    ("node", "asked", "held"),
    [
        ({"CPU": 16}, {"CPU": 1}, 16),
        ({"CPU": 16, "GPU": 2}, {"CPU": 1, "GPU": 0.3}, 6),  # three on each GPU
        # two on each, and a fifth of both is no GPU
        ({"CPU": 16, "GPU": 2}, {"CPU": 1, "GPU": 0.4}, 4),
        ({"CPU": 16, "GPU": 2}, {"CPU": 1, "GPU": 0.1}, 16),
        ({"CPU": 16, "GPU": 5}, {"CPU": 1, "GPU": 2}, 2),
        ({"CPU": 4, "GPU": 1}, {"CPU": 1, "GPU": 1}, 1),
        ({"CPU": 3}, {"CPU": 2}, 1),
        ({"CPU": 2}, {"CPU": 0.25}, 8),
        ({"CPU": 0.3}, {"CPU": 0.1}, 3),  # 0.3 / 0.1 is 2.999… in binary
        ({"CPU": 16}, {"CPU": 1, "GPU": 1}, 0),
        ({"CPU": 0}, {"CPU": 1}, 0),
    ],
)
def test_a_node_holds_as_many_trials_as_its_scarcest_resource(
    node: dict[str, float], asked: dict[str, float], held: int
) -> None:
    """One more waits for ever where nothing grows, and starts a machine nobody needs where it
    does.
    """
    assert fits(node, asked) == held


NODES = [{"CPU": 4.0, "network_cores": 4.0}, {"CPU": 2.0, "network_cores": 2.0}, {"CPU": 0.0}]


@pytest.mark.parametrize(
    ("settings", "at_once"),
    [
        ({"spaces": "cnn"}, 6),
        ({"spaces": "cnn", "training": {"cpus_per_trial": 4}}, 1),
        ({"spaces": "cnn", "concurrency": 50}, 50),
        ({"spaces": "tiny-image"}, 7),  # one more than there are cores
        ({"spaces": ["cnn", "tiny-image"]}, 13),
    ],
)
def test_as_many_trials_run_at_once_as_the_nodes_hold(
    settings: dict[str, Any], at_once: int
) -> None:
    """A trial runs on one node; what is left over on two of them is room for nobody."""
    plan = make_plan({"dataset": "digits", **settings})
    assert ClusterCapacity(plan, 6, 0.0, lambda: NODES).concurrency == at_once


@pytest.mark.parametrize("nodes", [[], [{"CPU": 0.0}], [{"CPU": 1.0, "network_cores": 1.0}]])
def test_a_trial_that_no_node_could_hold_is_refused(nodes: list[dict[str, float]]) -> None:
    """Ray would wait for ever."""
    plan = make_plan({"spaces": "cnn", "dataset": "digits", "training": {"cpus_per_trial": 2}})
    with pytest.raises(
        PlanError, match="a trial of cnn asks for 2 CPU, 2 network_cores, but the nodes offer"
    ):
        _ = ClusterCapacity(plan, 1, 0.0, lambda: nodes).concurrency


@pytest.mark.parametrize(
    ("settings", "cores", "at_once"),
    [
        ({"spaces": "tiny-image"}, 4, 5),  # one more than there are cores
        ({"spaces": "tiny-image", "concurrency": 3}, 4, 3),
        ({"spaces": "tiny-image", "concurrency": 500}, 4, 16),  # four a core at most
        ({"spaces": "toy"}, 2, 3),
        ({"spaces": "toy", "gpus_per_trial": 0.5}, 2, 2),
    ],
)
def test_trials_that_wait_for_stages_are_one_more_than_the_cores(
    settings: dict[str, Any], cores: int, at_once: int
) -> None:
    """One less leaves a core idle, many more are proposed without what the others come to."""
    plan = make_plan({"dataset": "digits", **settings})
    room = Capacity.of(plan, cores)
    assert Capacity(plan, room.cores, 1.0).concurrency == at_once


# --- the preflight


def probe_of(runs: Path) -> Probe:
    return Probe(str(runs))


def test_a_node_with_the_same_software_and_storage_is_fit(tmp_path: Path) -> None:
    """And nothing of the questions is left behind."""
    probe = probe_of(tmp_path / "runs")
    assert probe.complaint(answer(*probe.questions(), "node-1"), "node-1") == ""
    probe.close()
    assert list((tmp_path / "runs").iterdir()) == []


def test_another_version_on_a_node_is_named(tmp_path: Path) -> None:
    """Its trials would be judged by other code than the others'."""
    probe = probe_of(tmp_path)
    found = answer(*probe.questions(), "node-1")
    found["software"] = {
        **found["software"],
        "python": "3.11.0",
        "code": {**found["software"]["code"], "analysis/plan/plan.py": "0" * 16},
    }
    said = probe.complaint(found, "node-1")
    assert "Python is 3.11.0, the driver's is" in said
    assert "analysis/plan/plan.py" in said


def test_a_node_with_a_folder_of_its_own_is_not_fit(tmp_path: Path) -> None:
    """It would write results that nobody finds, wherever it looks as if all went well."""
    probe = probe_of(tmp_path / "runs")
    place, word, imports = probe.questions()
    elsewhere = Path(str(place).replace("/runs/", "/own/"))
    assert "the runs directory cannot be used there" in probe.complaint(
        answer(str(elsewhere), word, imports, "node-1"), "node-1"
    )
    elsewhere.mkdir(parents=True)
    (elsewhere / "driver").write_text("another search's word")
    assert "the runs directory cannot be used there" in probe.complaint(
        answer(str(elsewhere), word, imports, "node-1"), "node-1"
    )
    (elsewhere / "driver").write_text(word)  # as a copy of the folder would have it
    said = probe.complaint(answer(str(elsewhere), word, imports, "node-1"), "node-1")
    assert "cannot be read by the driver" in said


def test_a_module_that_a_node_lacks_is_named(tmp_path: Path) -> None:
    """Before any trial fails of it."""
    probe = probe_of(tmp_path)
    place, word, imports = probe.questions()
    said = probe.complaint(answer(place, word, (*imports, "no_such_module"), "node-1"), "node-1")
    assert "no_such_module cannot be imported (ModuleNotFoundError" in said


def test_a_node_whose_gpu_does_not_work_is_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray counts the GPUs that it was told of; a container without them fails every trial."""
    probe = Probe(str(tmp_path))
    broken = Card("Tesla T4", "7.5", "a first operation failed (CUDA error: no kernel image)")
    monkeypatch.setattr(preflight, "card", lambda: broken)
    said = probe.complaint(answer(*probe.questions(), "node-1", True), "node-1")
    assert said == (
        "its GPU cannot be used: Tesla T4 (compute capability 7.5): a first operation failed "
        "(CUDA error: no kernel image)"
    )
    monkeypatch.setattr(preflight, "card", lambda: Card("NVIDIA L4", "8.9"))
    found = answer(*probe.questions(), "node-1", True)
    assert (found["card"], probe.complaint(found, "node-1")) == (
        "NVIDIA L4 (compute capability 8.9)",
        "",
    )
