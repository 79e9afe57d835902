"""Who proposes configurations, and who stops weak trials: Optuna's samplers, its pruners and Ray
Tune's by name, and what each can do.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from spaces.kinds import Function
from spaces.objectives import JUDGED_BY
from spaces.registry import Registry


@dataclass(frozen=True)
class Sampler:
    """What a sampler is and can do.

    Attributes:
        make: builds it; keyword arguments are options and the seed.
        objectives: how many it can follow.
        needs: ``numeric`` if at least two parameters must be numbers that always apply,
            ``finite`` if every parameter must have a list of values.
        constraints: whether it looks for trials within the plan's constraints.
        learns_from: the trials that guide it.
        settings: options that it has unless told otherwise, in place of its own.
        informed: the same, of one that knows the trials of an earlier search.
        warm: what it takes of an earlier search: the ``values`` of its trials, or only its best
            configurations, as ``points`` to try first.
    """

    name: str
    doc: str
    make: Function
    objectives: Literal["one", "several"] = "several"
    needs: Literal["", "numeric", "finite"] = ""
    constraints: bool = False
    learns_from: str = "nothing"
    settings: Mapping[str, Any] = field(default_factory=dict)
    informed: Mapping[str, Any] = field(default_factory=dict)
    warm: Literal["values", "points"] = "points"


@dataclass(frozen=True)
class Pruner:
    """What a pruner is and what it judges.

    Attributes:
        make: builds it from options.
        judges: kinds of reports (``spaces.Space.reports``) it makes sense for.
        needs: options that have no default.
    """

    name: str
    doc: str
    make: Function
    judges: tuple[str, ...] = ("epoch", "part")
    needs: tuple[str, ...] = ()


GREEDY = {"n_ei_candidates": 256}
"""Of TPE: of so many draws from what was good the most promising is tried, where Optuna has 24:
where much is known, that is worth more than what chance finds.
"""
SOON = {"n_startup_trials": 5}
"""Of TPE: where trials are dear there are few, and ten at random, as Optuna has it, are many of
them (``docs/measurements.md``).
"""
SAMPLERS = Registry(Sampler, "sampler")
for _sampler in (
    Sampler(
        "reuse",
        "tpe that tries many cheap suffixes of each dear prefix, where a space has such; the "
        "default",
        "search.sampling.reuse:Reuse",
        constraints=True,
        learns_from="COMPLETE and PRUNED",
        informed=GREEDY,
        warm="values",
    ),
    Sampler(
        "tpe",
        "tree-structured Parzen estimator",
        "optuna.samplers:TPESampler",
        constraints=True,
        learns_from="COMPLETE and PRUNED, broken constraints included",
        # group: parameters that apply under different conditions are modelled apart
        settings={"multivariate": True, "group": True, "constant_liar": True, **SOON},
        informed=GREEDY,
        warm="values",
    ),
    Sampler(
        "gp",
        "Gaussian process",
        "optuna.samplers:GPSampler",
        constraints=True,
        learns_from="COMPLETE",
        warm="values",
    ),
    Sampler(
        "cmaes",
        "CMA-ES; parameters that are no numbers or do not always apply are drawn at random",
        "optuna.samplers:CmaEsSampler",
        objectives="one",
        needs="numeric",
        learns_from="COMPLETE, with consider_pruned_trials PRUNED too",
        warm="values",
    ),
    Sampler(
        "nsgaii",
        "NSGA-II, genetic",
        "optuna.samplers:NSGAIISampler",
        constraints=True,
        learns_from="COMPLETE",
    ),
    Sampler(
        "nsgaiii",
        "NSGA-III, genetic, for many objectives",
        "optuna.samplers:NSGAIIISampler",
        constraints=True,
        learns_from="COMPLETE",
    ),
    Sampler(
        "qmc",
        "quasi-Monte Carlo (Sobol, scrambled)",
        "optuna.samplers:QMCSampler",
        settings={"scramble": True, "warn_asynchronous_seeding": False},
    ),
    Sampler("random", "uniform", "optuna.samplers:RandomSampler"),
    Sampler(
        "grid",
        "every combination, in the space's own order",
        "search.sampling.samplers:random_in_order",
        needs="finite",
    ),
    Sampler(
        "brute-force",
        "every combination, in random order",
        "search.sampling.samplers:BruteForce",
        needs="finite",
    ),
):
    SAMPLERS.add(_sampler)
PRUNERS = Registry(Pruner, "pruner")
for _pruner in (
    Pruner(
        "none",
        "every trial runs to its end; the default, but for many trials of cnn alone",
        "optuna.pruners:NopPruner",
        ("nothing", "epoch", "fold", "part"),
    ),
    Pruner(
        "median",
        "stops what is below the median of earlier trials at the same step",
        "optuna.pruners:MedianPruner",
    ),
    Pruner(
        "percentile",
        "the same with another percentile (25 keeps the best quarter)",
        "search.sampling.pruners:percentile_pruner",
    ),
    Pruner(
        "median-stopping",
        "Ray Tune's: stops what is at its best below the median of the others' means so far",
        "search.sampling.tune_pruners:median_stopping",
    ),
    Pruner(
        "asha",
        "Ray Tune's asynchronous successive halving (max_t, grace_period, reduction_factor); the "
        "default for 20 or more trials of cnn",
        "search.sampling.tune_pruners:asha",
    ),
    Pruner(
        "successive-halving",
        "Optuna's asynchronous successive halving",
        "optuna.pruners:SuccessiveHalvingPruner",
    ),
    Pruner(
        "hyperband", "successive halving with several brackets", "optuna.pruners:HyperbandPruner"
    ),
    Pruner(
        "threshold",
        "stops what is below lower or above upper",
        "optuna.pruners:ThresholdPruner",
        ("epoch", "fold", "part"),
    ),
    Pruner(
        "patient",
        "stops what has not gained for patience steps",
        "search.sampling.pruners:patient_pruner",
        needs=("patience",),
    ),
    Pruner(
        "wilcoxon",
        "stops what a signed-rank test finds worse than the best, fold by fold or seed by seed",
        "optuna.pruners:WilcoxonPruner",
        ("fold",),
    ),
):
    PRUNERS.add(_pruner)

MANY_TRIALS = 20
"""From which on weak ones are stopped by default: of fewer, too few would come to their end."""


def usual_pruner(
    usual: Collection[str], objectives: Collection[str], trials: int, epochs: int
) -> tuple[str, dict[str, Any]]:
    """The pruner, with its options, of a search that names none: that of its spaces, where these
    have one in common, there are trials to compare, and an objective tells a better epoch from a
    worse one.

    ASHA first looks after a quarter of the epochs: while the learning rate still rises, how good a
    network is says little of how good it ends.

    Args:
        usual: what its spaces have (``spaces.space.Space.pruner``).
        epochs: of a training.
    """
    judged = len(objectives) == 1 and set(objectives) <= set(JUDGED_BY)
    if not judged or trials < MANY_TRIALS or len(set(usual)) != 1:
        return "none", {}
    name = min(usual)
    first = {"grace_period": max(1, epochs // 4), "reduction_factor": 3.0}
    return name, first if name == "asha" else {}
