"""The tables of what a search can be given: what is in them is found, and one line adds one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import PATIENCE, ROOT

from analysis.plan.plan import Plan
from spaces import SPACES, SpaceError, add, renew
from spaces.datasets import READERS, specs
from spaces.domain import Choice, Domain, Float, Integer, Parameter, Value
from spaces.kinds import Augmentation, Distance, Loss, Network, Objective, Reader, function_of
from spaces.objectives import METRICS, metrics_of
from spaces.ours.cnn import AUGMENTATIONS, LOSSES, NETWORKS, CnnConfig
from spaces.ours.knn import DISTANCES
from spaces.registry import registries
from spaces.samplers import PRUNERS, SAMPLERS

DEPTH = Parameter("tiny_depth", Integer(1, 3), "layers", otherwise=1)
NET = Network("tinynet", lambda classes, size, **tweaks: None, (DEPTH,), takes=("width",))


@pytest.fixture
def undone() -> Iterator[None]:
    """What a test adds is taken back at its end."""
    before = [(registry, set(registry)) for registry in registries()]
    yield
    for registry, names in before:
        for name in set(registry) - names:
            registry.remove(name)
    renew()


def places() -> list[tuple[str, str]]:
    """(name, where its function is) of everything of ours."""
    found = [
        (name, kind.build if isinstance(kind, Network) else kind.function)
        for table in (NETWORKS, DISTANCES, LOSSES, AUGMENTATIONS)
        for name, kind in table.items()
    ]
    found += [
        (name, where)
        for name, kind in READERS.items()
        for where in (kind.read, kind.check)
        if where
    ]
    found += [(name, kind.make) for name, kind in SAMPLERS.items()]
    found += [(name, kind.make) for name, kind in PRUNERS.items()]
    return [(name, where) for name, where in found if isinstance(where, str)]


@pytest.mark.parametrize(("name", "where"), places())
def test_what_a_table_names_is_there(name: str, where: str) -> None:
    """A function that is only named is looked for when somebody needs it, which may be a day into
    a search.
    """
    assert callable(function_of(where))


ADDED = {
    "spaces/ours/knn.py": (
        '    Distance("bray-curtis", "trainables.neighbours.distances:bray_curtis"),',
        '    Distance("mine", "trainables.knn.mine:gap", signed=True),',
    ),
    "spaces/ours/cnn.py": (
        '    ("lenet", "lenet:LeNet", ("width", *DROPOUT)),',
        '    ("mine", "mine:Mine", ()),',
    ),
    "spaces/objectives.py": (
        '    Objective("macro_f1", "maximize", "mean F1 over classes"),',
        '    Objective("mine", "minimize", "mistakes", 0, "trainables.knn.mine:mistakes"),',
    ),
    "spaces/datasets.py": (
        "for _reader in (",
        '    Reader("mine", "of mine", "trainables.knn.mine:read", place=""),',
    ),
}
"""File to a line of its table, and the one that is added after it."""
FILES = {
    "trainables/knn/mine.py": """
import numpy as np
from scipy.spatial.distance import cdist
from trainables.data import Dataset, Images, Split

def gap(x, y):
    return cdist(x, y, "canberra")

def mistakes(labels, predictions, classes):
    return float((labels != predictions).sum())

def read(spec, place, options):
    images = Images.from_arrays([np.full((32, 32), 100 * (n % 2), np.uint8) for n in range(8)])
    return Dataset(spec, ("a", "b"), Split(images, np.arange(8) % 2))
""",
    "trainables/cnn/models/mine.py": """
from torch import nn

class Mine(nn.Sequential):
    def __init__(self, classes, size):
        super().__init__(nn.Flatten(), nn.Linear(3 * size * size, classes))
""",
}
USE = """
import numpy as np
from spaces import get_space
from trainables.cnn.models import build
from trainables.data import read_dataset
from trainables.data.scores import judged, score
from trainables.neighbours.distances import distances

assert "mine" in get_space("tiny-image")["metric"].domain
assert "mine" in get_space("cnn")["model"].limits
assert distances(np.array([[1.0]]), np.array([[3.0]]), "mine").tolist() == [[0.5]]
assert sum(p.numel() for p in build("mine", 10, 32).parameters()) == 10 * (3 * 32 * 32 + 1)
images = read_dataset("mine")
said = images.train.labels, 0 * images.train.labels, 2
assert judged(score(*said), *said)["mine"] == 4
print("used")
"""


def test_adding_one_is_a_file_and_a_line(tmp_path: Path) -> None:
    """What has to be said in two places is forgotten in one of them."""
    for layer in ("spaces", "trainables"):
        shutil.copytree(ROOT / layer, tmp_path / layer)
    for name, (after, line) in ADDED.items():
        path = tmp_path / name
        text = path.read_text(encoding="utf-8")
        assert text.count(f"{after}\n") == 1, name
        path.write_text(text.replace(after, f"{after}\n{line}"), encoding="utf-8")
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", USE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout == "used\n", done.stderr


def test_a_distance_becomes_a_value_of_metric(undone: None) -> None:
    """It may be asked for, and is not tried unasked: a study keeps the choices it began with."""
    before = {name: SPACES[name]["metric"].domain for name in ("tiny-image", "bag-of-sift")}
    add(Distance("mine", lambda x, y: x @ y.T, signed=True))
    renew()
    for name, domain in before.items():
        metric = SPACES[name]["metric"]
        assert metric.domain == domain
        assert "mine" in metric.limits
        assert SPACES[name].narrow({"metric": "mine"})["metric"].domain == Choice(("mine",))
        assert "mine" in (SPACES[name]["norm"].when or {})["metric"]
    assert "mine" in (SPACES["tiny-image"]["centring"].when or {})["metric"]


def test_a_network_brings_its_parameters(undone: None) -> None:
    """They apply to it alone, and what it does not take of the shared ones does not apply to it."""
    cnn = SPACES["cnn"]
    before = CnnConfig()
    add(NET)
    renew()
    assert SPACES["cnn"] is cnn
    assert "tinynet" in cnn["model"].limits
    asked = cnn.narrow({"model": "tinynet", "tiny_depth": "2"})
    config = asked.sample(
        lambda name, domain: domain.values()[0] if isinstance(domain, Choice) else 1
    )
    assert config["tiny_depth"] == 2
    assert config["dropout_place"] == "none"
    made = CnnConfig.of(config)
    assert made.tweaks() == {"width": config["width"], "tiny_depth": 2}
    assert type(made) is type(CnnConfig.of(config))
    assert CnnConfig.of(cnn.check({**vars(before)})).tweaks() == before.tweaks()


def test_a_parameter_is_no_other_thing_s_too(undone: None) -> None:
    """Two that are called alike could not be told apart in a record."""
    add(Network("tinynet", lambda: None, (Parameter("width", Float(0, 1), "", otherwise=1.0),)))
    before = SPACES["cnn"].parameters
    with pytest.raises(SpaceError, match="cnn: parameter width is repeated"):
        renew()
    assert SPACES["cnn"].parameters == before


def test_augmentations_and_losses_are_off_unless_asked_for(undone: None) -> None:
    """A configuration from before they were there must mean what it meant."""
    cnn = SPACES["cnn"]
    old = cnn.check(vars(CnnConfig()))
    strength = Parameter("solarise_from", Integer(1, 255), "grey", otherwise=128)
    add(Augmentation("solarise", "turned about", lambda images, generator: images, (strength,)))
    add(
        Loss(
            "focal",
            lambda scores, labels: scores,
            (Parameter("g", Float(0, 5), "", otherwise=2.0),),
        )
    )
    renew()
    full = cnn.check(old)
    assert full == old | {
        "solarise": False, "solarise_from": 128, "loss": "cross-entropy", "g": 2.0,
    }  # fmt: skip
    asked = cnn.check(old | {"loss": "focal", "g": 1.0, "solarise": True, "solarise_from": 3})
    assert (asked["label_smoothing"], asked["g"], asked["solarise_from"]) == (0.0, 1.0, 3)


def test_what_nobody_asked_for_is_in_no_configuration(undone: None) -> None:
    """A run that was searched beside a plug-in, and without anything of it, must be read without
    it.
    """

    def names(**asked: str) -> list[str]:
        plan = Plan(spaces=("cnn",), set=asked)
        config = plan.search_spaces()["cnn"].sample(lambda name, domain: first(domain))
        return list(config)

    before = names()
    strength = Parameter("solarise_from", Integer(1, 255), "grey", otherwise=128)
    add(Augmentation("solarise", "turned about", lambda images, generator: images, (strength,)))
    add(Loss("focal", lambda scores, labels: scores, (DEPTH,)))
    add(Network("tinynet", lambda classes, size, **tweaks: None, takes=("width",)))
    renew()
    assert names() == before
    assert set(names(solarise="true")) - set(before) == {"solarise", "solarise_from"}
    assert set(names(loss="cross-entropy,focal")) - set(before) == {"loss", "tiny_depth"}


def first(domain: Domain) -> Value:
    return domain.options[0] if isinstance(domain, Choice) else domain.low


def test_an_objective_is_taken_from_results(undone: None) -> None:
    """What is computed and not read cannot be compared."""
    add(Objective("kappa", "maximize", "Cohen's", function=lambda *given: 0.5))
    assert metrics_of({"kappa": 0.5, "other": 1}) == {"kappa": 0.5}
    assert METRICS["kappa"].better(1, 0)


def test_a_reader_is_a_kind_of_dataset(undone: None) -> None:
    """It must stand in the list that a user is shown."""
    add(Reader("mine", "of mine", lambda spec, place, options: None, place="[DIR]"))
    assert specs()["mine[:DIR]"] == "of mine"
