"""A search may also start from one of other images, and from anybody's study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
import pytest
from earlier_searches import begin, go_on, plan_of
from golden_runs import golden_runs

from analysis.run.directory import RunDirectory
from search.driver.warm_start import find_sources, take
from search.ledger.requests import pending
from search.sampling.guided import earlier_trials
from spaces.errors import UserError


def test_of_other_images_only_the_best_configurations_are_taken(tmp_path: Path) -> None:
    """An accuracy on other images is none on these: a sampler that took it for one would believe
    the earlier data set's best for ever.
    """
    runs = golden_runs(tmp_path / "runs", "knn", "networks")
    data = RunDirectory(runs / "knn").data()
    labels = np.load(runs / "knn" / "val_labels.npy")
    plan = plan_of("same", spaces="tiny-image", dataset="digits", warm_start=["knn"])
    same, said = begin(runs, plan, data, labels)
    assert "are known to the sampler" in said[0]
    others = data.model_copy(update={"fingerprint": "0" * 64})
    plan = plan_of("other", spaces="tiny-image", dataset="digits", warm_start=["knn"])
    other, said = begin(runs, plan, others, labels)
    assert "no more is taken: it is of other images (digits)" in said[0]
    space = plan.search_spaces()["tiny-image"]
    assert len(earlier_trials(same, plan, space)) > 0
    assert earlier_trials(other, plan, space) == []
    ranked = sorted(
        (r for r in RunDirectory(runs / "knn").records() if r.state == "COMPLETE"),
        key=lambda record: -record.metrics["val_accuracy"],
    )
    first = [request.params for request in pending(other)]
    assert 1 < len(first) <= 5
    assert first[0].items() <= ranked[0].config.items()
    networks = RunDirectory(runs / "networks")
    narrow = networks.plan().set
    plan = plan_of("trained", spaces="cnn", dataset="digits", warm_start=["networks"], set=narrow)
    plan = plan.model_copy(update={"training": networks.plan().training})
    longer = plan.training.model_copy(update={"epochs": 99})
    for training, what in ((plan.training, "known to the sampler"), (longer, "with epochs ")):
        said = []
        asked = plan.model_copy(update={"training": training})
        labels = networks.validation_labels()
        take(asked, find_sources(asked, runs), networks.data(), labels, said.append)
        assert what in said[0]


def test_a_study_of_anybody_s_can_be_started_from(tmp_path: Path) -> None:
    """Searches with plain Optuna, in a journal or a database, are earlier searches too."""
    url = f"sqlite:///{tmp_path / 'studies.db'}"
    for name, direction in (("mine", "maximize"), ("other", "minimize")):
        study = optuna.create_study(storage=url, study_name=name, direction=direction)
        study.add_trial(
            optuna.create_trial(
                value=0.75,
                params={"quality": 0.75, "optimiser": "adam", "rate": 1.0, "width": 4},
                distributions={
                    "quality": optuna.distributions.FloatDistribution(0, 1),
                    "optimiser": optuna.distributions.CategoricalDistribution(["adam"]),
                    "rate": optuna.distributions.FloatDistribution(0.1, 2),
                    "width": optuna.distributions.IntDistribution(1, 64),
                },
            )
        )
    fixed = {"steps": 8, "pause": 0.0, "fault": "none"}
    plan = plan_of("new", warm_start=[f"{url}#mine"], set=fixed)
    with pytest.raises(UserError, match="steps is missing"):
        begin(tmp_path, plan)
    study = optuna.load_study(storage=url, study_name="mine")
    (trial,) = study.get_trials()
    trial.set_user_attr("visiontune:config", {**trial.params, **fixed})
    study.add_trial(trial)
    folder, said = begin(tmp_path, plan)
    assert "1 trials are known to the sampler" in said[0]
    assert go_on(folder, 1) == [pytest.approx(0.75, abs=0.01)]
    with pytest.raises(UserError, match=r"say which study, as in .*#NAME; there are mine, other"):
        begin(tmp_path, plan_of("two", warm_start=[url]))
    with pytest.raises(UserError, match="'other' is of minimize, and this search of val_accuracy"):
        begin(tmp_path, plan_of("two", warm_start=[f"{url}#other"]))
