"""kNN on tiny images and on bags of SIFT: their trials wait for stages, which they share."""

from __future__ import annotations

from functools import partial

from spaces import BAG_OF_SIFT, TINY_IMAGE, Space
from trainables.contract.assignment import Assignment, Config, Shared
from trainables.contract.learner import Learner, Trial
from trainables.stages.stage import Stage


def _trial(assignment: Assignment) -> Trial:
    from trainables.knn.run import KnnRun  # scikit-learn and SciPy take long to import

    return KnnRun(assignment)


def _work(space: Space, shared: Shared, config: Config) -> Stage:
    from trainables.knn.pipeline import validation_stage

    assert shared.data is not None
    assert shared.validation is not None
    data = shared.data.at(0)
    return validation_stage(space.typed(config), data, shared.validation, shared.seed)


TINY_IMAGES, BAGS = (
    Learner(
        space,
        _trial,
        work=partial(_work, space),
        holds_cores=False,
        validations=("leave-one-out", "k-fold", "val"),
        classifier="knn",
        in_parts=True,
    )
    for space in (TINY_IMAGE, BAG_OF_SIFT)
)
