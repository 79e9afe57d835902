"""Optuna's judgement of which parameters mattered, space by space, from what their trials' folders
hold.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import optuna
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
    get_param_importances,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from analysis.plan.plan import Plan
from analysis.ranking.importance import Importance
from analysis.run.directory import RunDirectory
from search.study.folders import read_shelves, trials_of
from spaces import Space
from spaces.domain import Choice, Parameter
from spaces.objectives import METRICS

FEWEST = 10
"""Complete trials below which nothing is said of a space."""
FEWEST_APPLIED = 5
"""Complete trials that a parameter must apply in to be judged."""
BEST = 5
"""Trials that PED-ANOVA wants among the best at least; a tenth of all where that is more."""


def importances(run: RunDirectory, plan: Plan) -> list[Importance]:
    """What mattered in each space of a run, finished or not."""
    shelves = read_shelves(run, plan.spaces)
    for name, shelf in shelves.items():
        lost = {**dict.fromkeys(shelf.others, ""), **shelf.damaged}
        for number, why in sorted(lost.items()):
            run.trial_files.note_lost(name, number, why)
    return [
        judge(space, list(trials_of(run, plan, space, shelves[name])), plan.objectives)
        for name, space in plan.search_spaces().items()
    ]


def judge(space: Space, trials: Sequence[FrozenTrial], objectives: Sequence[str]) -> Importance:
    """What mattered in one space, to the objective, or to being on the Pareto front of several.

    PED-ANOVA asks what sets the best trials apart, and knows conditional parameters. Where nearly
    all trials are equally bad no set of the best can be drawn; there fANOVA asks what the spread of
    all trials comes from, which it can say only of parameters that every trial has.
    """
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    n = len(complete)
    if n < FEWEST:
        return Importance(
            space.name,
            trials=n,
            reason=f"too few complete trials to judge importance: {n}, it takes {FEWEST}",
        )
    if len({tuple(trial.values) for trial in complete}) == 1:
        return Importance(
            space.name,
            trials=n,
            reason=f"all {n} complete trials are equally good, so no parameter made a difference",
        )
    applied = {p.name: sum(p.name in trial.params for trial in complete) for p in space.parameters}
    unjudged = {p.name: why for p in space.parameters if (why := _not_judged(p, complete))}
    names = [p.name for p in space.parameters if p.name not in unjudged]
    if not names:
        return Importance(
            space.name,
            trials=n,
            applied=applied,
            unjudged=unjudged,
            reason="no parameter of it could be judged",
        )
    study = optuna.create_study(directions=[METRICS[name].direction for name in objectives])
    study.add_trials(complete)
    quantile = min(0.5, max(0.1, BEST / n))
    method, shares = (
        "PED-ANOVA",
        _ask(study, PedAnovaImportanceEvaluator(target_quantile=quantile), names),
    )
    if not sum(shares.values()):
        method, everywhere = "fANOVA", [name for name in names if applied[name] == n]
        unjudged |= {
            name: "applied in some trials only, which fANOVA cannot judge"
            for name in names
            if name not in everywhere
        }
        shares = _ask(
            study, FanovaImportanceEvaluator(seed=0), everywhere, first=len(objectives) > 1
        )
    total = sum(shares.values())
    if not total:
        reason = f"no parameter stands out in {n} complete trials"
        return Importance(space.name, trials=n, applied=applied, unjudged=unjudged, reason=reason)
    best = math.ceil(quantile * n) if method == "PED-ANOVA" else 0
    return Importance(
        space.name,
        method,
        n,
        best,
        {name: share / total for name, share in shares.items()},
        applied,
        unjudged,
    )


def _not_judged(parameter: Parameter, complete: Sequence[FrozenTrial]) -> str:
    """Why nothing can be said of a parameter; empty if something can."""
    domain = parameter.domain
    if len(domain.options) == 1 if isinstance(domain, Choice) else domain.low == domain.high:
        return "has one value in this search"
    values = [trial.params[parameter.name] for trial in complete if parameter.name in trial.params]
    if len(values) < FEWEST_APPLIED:
        where = " and ".join(
            f"{name} is {' or '.join(str(v) for v in allowed)}"
            for name, allowed in (parameter.when or {}).items()
        )
        only = f"applies only where {where}: " if where else ""
        return (
            f"{only}in {len(values)} of {len(complete)} complete trials, it takes {FEWEST_APPLIED}"
        )
    return f"was {values[0]} in every complete trial that has it" if len(set(values)) == 1 else ""


def _ask(
    study: Study, evaluator: BaseImportanceEvaluator, names: list[str], first: bool = False
) -> dict[str, float]:
    """What an evaluator says of these parameters; of the first objective alone if asked."""
    if not names:
        return {}
    with warnings.catch_warnings():  # its warnings are of cases that are handled above
        warnings.simplefilter("ignore")
        target = (lambda trial: trial.values[0]) if first else None
        return get_param_importances(
            study, evaluator=evaluator, params=names, target=target, normalize=False
        )
