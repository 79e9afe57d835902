"""Stages that compute on a GPU: Ray is asked for it, one process has it, and no trial is beside it.
A GPU that is only declared is enough to see that.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import stage_functions
import torch
from program import SUPPORT, environment_kept

from analysis.plan.plan import make_plan
from search.cluster import ray_internals
from search.cluster.start import local_cluster
from search.driver.networks import stage_device
from spaces import BagOfSiftConfig, TinyImageConfig
from spaces.ours.embedding import EmbeddingConfig
from trainables.data import ReadOptions, read_dataset
from trainables.data.source import DataSource, data_source
from trainables.data.validation import Validation
from trainables.embedding.pipeline import seen_stage
from trainables.knn.pipeline import validation_stage
from trainables.pretrained.facts import Weights
from trainables.stages.registry import StageRegistry, fetch
from trainables.stages.stage import Stage

BAG = BagOfSiftConfig(8, 4, True, "raw", 8, 10, "cosine", "none", 3, "uniform")
TINY = TinyImageConfig("cityblock", 8, "box", False, "l1", 3, "uniform")
CONFIG = EmbeddingConfig(
    backbone="efficientnet-lite0", side=224, crop="squash", views="one", layer="last",
    pooling="average", norm="none", components=0, head="logistic",
)  # fmt: skip
WEIGHTS = Weights("lite0", "efficientnet_lite0", "0" * 64, (0.5,) * 3, (0.5,) * 3)
pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # Ray's own


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """Two cores and a GPU, as Ray believes."""
    own = ray_internals.own_options
    with environment_kept(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray_internals, "own_options", lambda *a: {**own(*a), "num_gpus": 1})
        # so that workers find stage_functions
        os.environ["PYTHONPATH"] = SUPPORT
        with local_cluster(2, print) as ray:
            yield ray


def test_stages_on_a_gpu_share_one_process_that_was_given_it(ray: Any) -> None:
    """Each further process would open a context of its own, some 500 MB of the card, beside what
    Ray believes to be the only one; and the others must take none of it.
    """
    registry = StageRegistry.remote(parts=4)  # type: ignore[attr-defined]
    numbers = Stage(stage_functions.numbers, {"count": 256})
    cores = Stage(stage_functions.placed, {}, (numbers,), 256)
    first = Stage(stage_functions.placed, {"device": "cpu:0"}, (cores,), 256)
    then = Stage(stage_functions.placed, {"device": "cpu:0"}, (first,), 256)
    (there, one, two), _ = fetch(registry, cores, first, then)
    assert set(there[:, 1]) == {0}
    assert set(one[:, 1]) == set(two[:, 1]) == {1}
    assert len(set(one[:, 0]) | set(two[:, 0])) == 1
    assert not set(there[:, 0]) & set(one[:, 0])
    ray.kill(registry)


def test_a_gpu_that_is_only_declared_is_left_alone_and_said(ray: Any) -> None:
    """Every trial would fail with what torch says."""
    lines: list[str] = []
    plan = make_plan({"spaces": "bag-of-sift", "dataset": "digits"})
    found = stage_device(ray, plan, 1.0, lines.append)
    if torch.cuda.is_available():
        assert (found, lines) == ("cuda", [])
    else:
        assert found == "cpu"
        (line,) = lines
        assert "stages are computed on the cores" in line
        assert "torch sees no CUDA device" in line


@pytest.mark.parametrize(
    ("spaces", "gpus", "changes"),
    [
        (["bag-of-sift"], 0.0, {}),
        (["cnn", "bag-of-sift"], 4.0, {"gpus_per_trial": 1}),
        (["cnn", "embedding"], 1.0, {"gpus_per_trial": 0.25}),
        (["toy"], 1.0, {}),
    ],
)
def test_stages_stay_on_the_cores_beside_trials_that_take_gpus(
    spaces: list[str], gpus: float, changes: dict[str, Any]
) -> None:
    """A trial has been promised its share of the card; and where there is none nobody is asked."""
    given = {} if spaces == ["toy"] else {"dataset": "digits"}
    plan = make_plan({"spaces": spaces, **given, **changes})
    assert stage_device(None, plan, gpus, print) == "cpu"


@pytest.fixture(scope="module")
def data() -> DataSource:
    return data_source(read_dataset("digits", ReadOptions(color="rgb")), ReadOptions(color="rgb"))


def on_the_way(stage: Stage) -> dict[str, Stage]:
    found = {stage.name: stage}
    for upstream in stage.inputs:
        found |= on_the_way(upstream)
    return found


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        (BAG, {"word_counts", "nearest_neighbours"}),
        (TINY, {"nearest_neighbours"}),
        (CONFIG, {"network_features"}),
    ],
)
def test_results_are_known_by_the_device_that_the_driver_named(
    data: DataSource, config: Any, wanted: set[str]
) -> None:
    """A GPU rounds otherwise: a search must not meet what the cores have left on disk, nor a trial
    ask for another stage than the one that was made for it, whatever it sees of a GPU itself.
    """

    def stage(data: DataSource) -> Stage:
        if isinstance(config, EmbeddingConfig):
            return seen_stage(config, WEIGHTS, data, "train")
        return validation_stage(config, data, Validation("k-fold", 5, 0), 0)

    here, there = stage(data), stage(replace(data, device="cuda"))
    assert {name for name, one in on_the_way(there).items() if one.device == "cuda"} == wanted
    assert {one.device for one in on_the_way(here).values()} == {"cpu"}
    assert here.digest != there.digest
