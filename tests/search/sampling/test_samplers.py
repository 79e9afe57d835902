"""Optuna's own abstract cases for samplers, on those a plan can name, made as a search makes
them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from optuna.distributions import FloatDistribution
from optuna.samplers import BaseSampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
    SingleOnlySamplerTestCase,
)
from optuna.trial import FrozenTrial, create_trial

from search.sampling.guided import Guided
from search.sampling.samplers import make_sampler
from spaces import TOY
from spaces.samplers import SAMPLERS

Maker = Callable[[], BaseSampler]
EXPERIMENTAL = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
QUICK: dict[str, dict[str, Any]] = {
    name: {"n_startup_trials": 0} for name in ("tpe", "gp", "cmaes")
}
"""So that the cases, of few trials, come to what the sampler is for."""
RELATIVE = ("tpe", "cmaes", "qmc")
"""Those that draw several parameters together; so does the Gaussian process, slowly."""
SEVERAL = [
    name
    for name, kind in SAMPLERS.items()
    if kind.objectives == "several" and name not in ("grid", "brute-force")
]
"""Grid and brute force are enumerated, not drawn: the study pair's tests and the ledger's hold
them.
"""


def maker(name: str, **options: Any) -> Maker:
    return lambda: make_sampler(name, {**QUICK.get(name, {}), **options}, seed=0)


@EXPERIMENTAL
class TestBasic(BasicSamplerTestCase):
    """Whatever domains and conditions a space has, each sampler stays within them."""

    @pytest.fixture(params=[name for name in SAMPLERS if name != "brute-force"])
    def sampler(self, request: pytest.FixtureRequest) -> Maker:
        return maker(request.param)


@EXPERIMENTAL
class TestRelative(RelativeSamplerTestCase):
    """Parameters drawn together keep their types and ranges."""

    @pytest.fixture(params=[*RELATIVE, pytest.param("gp", marks=pytest.mark.slow)])
    def sampler(self, request: pytest.FixtureRequest) -> Maker:
        # TPE by groups finds the groups in the study's trials, and the cases have none.
        return maker(request.param, **({"group": False} if request.param == "tpe" else {}))


@EXPERIMENTAL
class TestSeveralObjectives(MultiObjectiveSamplerTestCase):
    """What the table says can follow several objectives does."""

    @pytest.fixture(params=SEVERAL)
    def sampler(self, request: pytest.FixtureRequest) -> Maker:
        return maker(request.param)


class TestOneObjective(SingleOnlySamplerTestCase):
    """What the table says follows one objective refuses several."""

    @pytest.fixture(params=[name for name, kind in SAMPLERS.items() if kind.objectives == "one"])
    def sampler(self, request: pytest.FixtureRequest) -> Maker:
        return maker(request.param)


def test_a_plan_s_options_come_before_our_own() -> None:
    """What somebody asks for is what they get; and what nobody asked for is said in the docs."""
    ours, theirs = (
        make_sampler("tpe", {}, 0),
        make_sampler("tpe", {"group": False, "constant_liar": False, "n_startup_trials": 3}, 0),
    )
    assert [
        getattr(ours, name)
        for name in ("_multivariate", "_group", "_constant_liar", "_n_startup_trials")
    ] == [True, True, True, 5]
    assert [
        getattr(theirs, name)
        for name in ("_multivariate", "_group", "_constant_liar", "_n_startup_trials")
    ] == [True, False, False, 3]


@pytest.mark.parametrize("name", ["tpe", "reuse"])
def test_who_knows_an_earlier_search_goes_by_it(name: str) -> None:
    """With Optuna's 24 draws a warm-started search of the toy needs twice as many trials to come to
    what was found before; what somebody asks for comes first.
    """
    earlier = create_trial(
        value=0.5, params={"quality": 0.5}, distributions={"quality": FloatDistribution(0.0, 1.0)}
    )

    def candidates(before: Sequence[FrozenTrial], **options: Any) -> int:
        sampler = Guided(name, options, 0, TOY, before)._sampler
        tpe = getattr(sampler, "_tpe", sampler)
        return int(tpe._n_ei_candidates)

    assert candidates([earlier]) == 256
    assert candidates([earlier], n_ei_candidates=7) == 7
    assert candidates([]) == 24
