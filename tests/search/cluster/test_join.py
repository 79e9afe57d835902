"""A search on a Ray cluster of several nodes, which are processes of this machine here."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from planted import photograph
from program import PATIENCE, ROOT, Driver, refusal
from s3_server import BUCKET, s3_here

from analysis.run.directory import RunDirectory
from analysis.run.finding import find_run
from trainables.data import ReadOptions, read_dataset

TRIALS = 12


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A head without CPUs and two nodes of 2 CPUs and 1 declared GPU each, on loopback; with S3,
    which all of them know.
    """
    with s3_here(), pytest.MonkeyPatch.context() as patch:
        own = {
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(ROOT),
        }
        for name, value in own.items():
            patch.setenv(name, value)
        import ray
        from ray.cluster_utils import Cluster

        patch.setattr(ray._private.ray_constants, "ENABLE_RAY_CLUSTER", False)
        cluster = Cluster(
            initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False}
        )
        for _ in range(2):
            cluster.add_node(num_cpus=2, num_gpus=1)
        yield cluster
        cluster.shutdown()


def words(runs: object, name: str, address: str) -> tuple[object, ...]:
    settings = (
        "--set",
        "pause=0.5",
        "--set",
        "steps=8",
        "--gpus-per-trial",
        "0.5",
        "--trials",
        TRIALS,
    )
    return (
        "run",
        "--space",
        "toy",
        *settings,
        "--no-tracking",
        "--name",
        name,
        "--runs-dir",
        runs,
        "--address",
        address,
    )


def test_a_search_on_many_nodes_loses_one_and_keeps_every_trial_on_s3(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nodes of a cluster come and go; trials go on elsewhere from checkpoints that every node can
    read.
    """
    monkeypatch.setenv("VISIONTUNE_WORK", str(tmp_path / "head"))
    runs = f"s3://{BUCKET}/runs"
    driver = Driver(*words(runs, "many", nodes.address), log=tmp_path / "log")
    here = next(iter(_copies(tmp_path / "head", driver)))
    driver.wait_for_trials(here / "many", 1)
    nodes.remove_node(next(iter(nodes.worker_nodes)), allow_graceful=False)
    nodes.add_node(num_cpus=2, num_gpus=1)
    assert driver.end() == 0, driver.log
    monkeypatch.setenv("VISIONTUNE_WORK", str(tmp_path / "another"))
    records = find_run(f"{runs}/many", tmp_path).records()
    assert [(record.number, record.state) for record in records] == [
        (number, "COMPLETE") for number in range(TRIALS)
    ]
    assert all(record.steps == 8 for record in records)
    # how many of the nodes had one is the moment's: a new one may come when all are placed
    assert all(record.node for record in records), "each says on which node it ended"


@pytest.mark.slow
def test_a_node_that_is_to_leave_takes_no_step_with_it(nodes: Any, tmp_path: Path) -> None:
    """A spot machine is told two minutes before: its trials go on elsewhere where they were, and
    the user reads why.
    """
    going = nodes.add_node(num_cpus=2, num_gpus=1)
    driver = Driver(*words(tmp_path, "drained", nodes.address), log=tmp_path / "log")
    driver.wait_for_trials(tmp_path / "drained", 1)
    reason = (
        "--reason",
        "DRAIN_NODE_REASON_PREEMPTION",
        "--reason-message",
        "the spot market",
        "--deadline-remaining-seconds",
        "4",
    )
    ray = str(Path(sys.executable).with_name("ray"))
    command = [ray, "drain-node", "--address", nodes.address, "--node-id", going.node_id, *reason]
    subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE)
    assert driver.end() == 0, driver.log
    assert f"{going.node_id[:8]}) is to leave; it gets no more trials" in driver.log
    run = RunDirectory(tmp_path / "drained")
    assert [record.state for record in run.records()] == ["COMPLETE"] * TRIALS
    assert all(
        [row["step"] for row in run.steps("toy", number)] == list(range(8))
        for number in range(TRIALS)
    )


def test_nodes_that_are_not_fit_are_named_before_any_trial(
    nodes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else trials would fail there one by one, or count as results of packages that nobody
    meant.
    """
    monkeypatch.setenv("VISIONTUNE_WORK", str(tmp_path / "head"))
    metadata = tmp_path / "packages" / "scipy-0.0.1.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text("Metadata-Version: 2.1\nName: scipy\nVersion: 0.0.1\n")
    no_storage = nodes.add_node(num_cpus=1, env_vars={"AWS_ENDPOINT_URL": "http://127.0.0.1:9"})
    other_package = nodes.add_node(num_cpus=1, env_vars={"PYTHONPATH": str(metadata.parent.parent)})
    try:
        line = refusal(*words(f"s3://{BUCKET}/unfit", "unfit", nodes.address))
    finally:
        nodes.remove_node(no_storage)
        nodes.remove_node(other_package)
    assert re.search(
        f"{no_storage.node_id[:8]}\\): the runs directory cannot be used there", line
    ), line
    assert re.search(
        f"{other_package.node_id[:8]}\\): package scipy is 0.0.1, the driver's is", line
    ), line
    assert line.count("node ") == 2, "only those that are not fit"
    assert not list((tmp_path / "head").glob("*/unfit"))


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ray://head:10001", "on the head with --address auto"),
        ("127.0.0.1:9", "nothing answers there"),
        ("somewhere", "wants auto or HOST:PORT"),
    ],
)
def test_an_address_that_cannot_be_joined_is_refused_in_one_line(
    address: str, said: str, tmp_path: Path
) -> None:
    """Ray itself waits for a minute and ends the program."""
    lines = refusal(*words(tmp_path, "none", address))
    assert said in lines


def _copies(folder: Path, driver: Driver) -> Iterator[Path]:
    """Working copies below ``folder``, once the driver has made one."""
    import time

    end = time.monotonic() + PATIENCE
    while not list(folder.glob("*/many")):
        assert driver.process.poll() is None, driver.log
        assert time.monotonic() < end, driver.log
        time.sleep(0.1)
    yield from folder.glob("*")


@pytest.mark.slow
def test_a_plug_in_reaches_every_node(nodes: Any, tmp_path: Path) -> None:
    """It lies on the head's disk alone, and trials run elsewhere."""
    guide = (ROOT / "docs" / "guide" / "plugins.md").read_text(encoding="utf-8")
    mine = tmp_path / "mine.py"
    mine.write_text(guide.split("```python\n")[1].split("```")[0])
    settings = ("--set", "metric=canberra", "--objective", "worst_recall", "--no-tracking")
    driver = Driver(
        "run", "--plugin", mine, "--space", "tiny-image", *settings, "--dataset", "stripes:60",
        "--trials", 4, "--name", "own", "--runs-dir", tmp_path, "--address", nodes.address,
        log=tmp_path / "log",
    )  # fmt: skip
    assert driver.end() == 0, driver.log
    records = RunDirectory(tmp_path / "own").records()
    assert [record.state for record in records] == ["COMPLETE"] * 4
    assert all(record.metrics["worst_recall"] >= 0 for record in records)


UNPACKED = """
import json, sys
import numpy as np
import ray
from search.cluster import nodes
from trainables.data import ReadOptions, listed
from trainables.images import packing

packing.MOST = packing.FEWEST = 16
listed.PROBED = 4
spec, address, shards = sys.argv[1:]
ray.init(address=address, log_to_driver=False, logging_level="ERROR")
made, seen = nodes.made_on_all_nodes, []


def shard(make, number):
    node = ray.get_runtime_context().get_node_id()
    return make(number) | {"node": np.frombuffer(node.encode(), np.uint8)}


def watched(make, numbers):
    for found in made(make, numbers):
        seen.append(bytes(found.pop("node", b"")).decode())
        yield found


nodes._shard, nodes.made_on_all_nodes = shard, watched
options = ReadOptions(color="rgb", packed=True, shards=shards)
print(json.dumps([nodes.read_on_all_nodes(spec, options).fingerprint, seen]))
"""


@pytest.mark.slow
def test_images_are_unpacked_by_all_nodes(nodes: Any, tmp_path: Path) -> None:
    """Pixels are the same, whoever reads a file; of a dataset at a URI each node fetches what it
    unpacks, and nobody the tree.
    """
    for label in ("ant", "bee"):
        (tmp_path / "data/train" / label).mkdir(parents=True)
        for number in range(60):
            place = tmp_path / "data/train" / label / f"{number}.jpg"
            photograph(number + 100 * (label == "bee"), 30, 20).save(place)
    plain = read_dataset(f"folder:{tmp_path / 'data'}", ReadOptions(color="rgb")).fingerprint
    for number, place in enumerate((tmp_path / "data", f"file://{tmp_path / 'data'}")):
        own = {**os.environ, "VISIONTUNE_DATA": str(tmp_path / "copies")}
        given = (f"folder:{place}", nodes.address, tmp_path / f"shards{number}")
        done = subprocess.run(
            [sys.executable, "-c", UNPACKED, *given], capture_output=True, text=True,
            timeout=PATIENCE, check=False, env=own,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        fingerprint, seen = json.loads(done.stdout)
        assert fingerprint == plain
        assert len(seen) == 8
        assert len(set(seen)) == 2, "both nodes have made some"
        assert all(seen), "and nothing was made where it is put together"
    copied = [path for path in (tmp_path / "copies").rglob("*.jpg") if path.stat().st_size]
    assert len(copied) <= 5, "those whose headers were looked at"
