"""What is recorded: for each space a grid, as lists that a plan narrows its parameters to.

A whole grid is recorded, so that whatever a sampler proposes is an entry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from spaces import get_space
from spaces.space import Space


@dataclass(frozen=True)
class Grid:
    """The grid of one space.

    Attributes:
        name: of the space.
        varied: parameter to its values.
        fixed: parameter to the one value that it has.
        chain: the stages of its pipeline, each the parameters that decide it beside those before.
        stages: name of a stage of ours to its place in that chain; all others are in the last.
    """

    name: str
    varied: dict[str, list[Any]]
    fixed: dict[str, Any]
    chain: tuple[tuple[str, ...], ...] = ()
    stages: tuple[tuple[str, ...], ...] = ()

    @property
    def set(self) -> dict[str, Any]:
        """As ``set`` of a plan has it."""
        return {**self.fixed, **self.varied}

    @property
    def space(self) -> Space:
        """The space, narrowed."""
        return get_space(self.name).narrow(self.set).asked()

    def key(self, config: Any) -> tuple[Any, ...]:
        """What tells a complete configuration from the others."""
        return tuple(config[name] for name in self.varied)


EPOCHS = 12
NETWORKS = Grid(
    "cnn",
    varied={
        "learning_rate": [0.003, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5],
        "width": [1.0, 2.0],
        "momentum": [0.8, 0.95],
        "batch_size": [32, 64],
        "crop": [0, 3],
        "label_smoothing": [0.0, 0.1],
    },
    fixed={
        "model": "lenet",
        "dropout_place": "none",
        "rotation": 0,
        "cutout": 0,
        "jitter": 0,
        "mixup": 0,
        "cutmix": 0,
        "optimizer": "sgd",
        "weight_decay": 0.0005,
        "schedule": "one-cycle",
        "ema": 0,
        "test_flip": False,
    },
)
BAGS = Grid(
    "bag-of-sift",
    varied={
        "step": [6],
        "bin_size": [4, 8],
        "transform": ["raw", "root"],
        "vocabulary_size": [100, 200],
        "scales": [1, 2],
        "metric": ["euclidean", "cosine", "chi-squared", "histogram-intersection"],
        "norm": ["l1", "l2"],
        "k": [1, 5, 9, 15],
        "vote": ["uniform", "distance"],
        "regions": ["none", "pyramid"],
        "idf": [False, True],
    },
    fixed={"vocabulary_step": 8, "mirrored": False},
    chain=(
        ("step", "bin_size", "scales"),
        ("transform", "vocabulary_size"),
        ("regions", "idf", "metric", "norm"),
        ("k", "vote"),
    ),
    stages=(
        ("sampled_descriptors", "dense_descriptors"),
        ("vocabulary", "word_counts"),
        ("inverse_document_frequency", "region_features", "nearest_neighbours"),
    ),
)
EMBEDDINGS = Grid(
    "embedding",
    varied={
        "side": [32, 64, 96, 128],
        "crop": ["squash", "centre"],
        "views": ["one", "mirrored"],
        "layer": ["last", "both"],
        "pooling": ["average", "gem"],
        "norm": ["l2", "standard"],
        "head": ["logistic", "ridge", "lda", "knn"],
        "C": [0.1, 1.0, 10.0],
        "alpha": [0.1, 1.0, 10.0],
        "shrinkage": [0.1, 0.5],
        "k": [3, 9],
    },
    fixed={"components": 0, "metric": "cosine", "vote": "distance"},
    chain=(
        ("side", "crop", "views"),
        ("layer", "pooling", "norm", "head", "C", "alpha", "shrinkage", "k"),
    ),
    stages=(("network_features", "mean_of_views"),),
)
GRIDS = {grid.name: grid for grid in (NETWORKS, BAGS, EMBEDDINGS)}
