"""The kinds of learners there are, a file each; a further one is its file and a line here."""

from __future__ import annotations

from spaces.registry import add
from trainables.contract.assignment import Assignment, Shared
from trainables.contract.learner import LEARNERS, Learner, Trial
from trainables.learners.cnn import NETWORKS
from trainables.learners.embedding import FEATURES
from trainables.learners.knn import BAGS, TINY_IMAGES
from trainables.learners.toy import TOY_STEPS, TOYS_IN_FOLDS

OURS = (
    TINY_IMAGES,
    BAGS,
    FEATURES,
    NETWORKS,
    TOY_STEPS,
    TOYS_IN_FOLDS,
)
for _learner in OURS:
    add(_learner)

__all__ = ["LEARNERS", "Assignment", "Learner", "Shared", "Trial"]
