"""Plug-ins: loaded because somebody typed their name, whole or not at all, and used wherever there
is work of theirs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from program import PATIENCE, ROOT, refused, typed
from small_plugin import SMALL, forget, written

from analysis.run.provenance import software, software_changes
from search.cli.options import plugins_named
from spaces import plugins
from spaces.ours.cnn import NETWORKS, CnnConfig
from spaces.ours.knn import DISTANCES
from spaces.plugin_source import PluginError
from spaces.registry import registries
from trainables.stages.stage import Stage, compute

GUIDE = ROOT / "docs" / "guide" / "plugins.md"
MINE = GUIDE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
"""The plug-in that the guide prints."""


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    forget()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return written(tmp_path)


def everything() -> list[list[str]]:
    return [list(registry) for registry in registries()]


def test_what_a_plug_in_adds_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever wrote one must see that it was read, and what may now be asked for."""
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    assert "canberra" in typed("spaces", "--plugin", "mine").stdout
    assert "stripes:N" in typed("datasets", "--plugin=mine.py").stdout
    described = typed("describe", "tinynet", "--plugin", tmp_path / "mine.py", "--json")
    assert json.loads(described.stdout)["total_parameters"] == 3 * 8 * 9 + 8 + 10 * (128 + 1)
    for words in (("--help",), ("run", "--help")):
        shown = " ".join(typed("--plugin", "mine.py", *words).stdout.split())
        assert "plug-in mine adds" in shown
        assert "loss focal" in shown
    assert "--plugin MODULE|FILE" in typed("best", "--help").stdout
    assert "plug-in" not in typed("--help").stdout


BAD = {
    "missing": (None, "there is no such file"),
    "syntax": ("def register(add:", "fails when it is loaded (SyntaxError: "),
    "raises": ("import no_such_library_at_all", "fails when it is loaded (ModuleNotFoundError: "),
    "exits": ("raise SystemExit(0)", "fails when it is loaded (SystemExit: 0)"),
    "no register": ("x = 1", "has no function register(add)"),
    "raises late": (
        f"{SMALL}\n    \ndef register(add):\n"
        "    from spaces.kinds import Distance\n    add(Distance('mine', gap))\n    1 / 0",
        "fails when it is loaded (ZeroDivisionError: ",
    ),
    "adds what is there": (
        "from spaces.kinds import Distance\ndef register(add):\n"
        "    add(Distance('mine', abs)); add(Distance('cosine', abs))",
        "there is a distance 'cosine' already",
    ),
    "adds nothing known": ("def register(add):\n    add(3)", "what can be added is a "),
    "takes a parameter's name": (
        "from spaces.kinds import Network\nfrom spaces.domain import Float, Parameter\n"
        "def register(add):\n"
        "    add(Network('n', abs, (Parameter('flip', Float(0, 1), '', otherwise=0.0),)))",
        "parameter flip is repeated",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_one_that_cannot_be_loaded_is_one_line_and_leaves_nothing(
    kind: str, tmp_path: Path
) -> None:
    """Half a plug-in would be searched with as if it were the whole."""
    before, modules = everything(), set(sys.modules)
    text, said = BAD[kind]
    path = tmp_path / "bad_one.py"
    if text is not None:
        path.write_text(text)
    line = refused("spaces", "--plugin", path)
    assert line.startswith(f"visiontune: --plugin {path}: "[:80])
    assert said in line
    assert len(line) < 500
    assert everything() == before
    assert "bad_one" not in set(sys.modules) - modules


@pytest.mark.parametrize("name", ["random", "search", "numpy", "a-b", "1x"])
def test_a_file_that_would_hide_a_module_is_refused(name: str, tmp_path: Path) -> None:
    """Workers import it by its name, and would give it to whoever imports the other."""
    path = tmp_path / f"{name}.py"
    path.write_text(SMALL)
    assert "rename the file" in refused("spaces", "--plugin", path)


def test_the_words_that_name_plug_ins_are_checked() -> None:
    """A forgotten value must not swallow the next option."""
    assert "--plugin wants a file or a module" in refused("spaces", "--plugin")
    assert "--plugin wants a file or a module" in refused("spaces", "--plugin", "--json")
    numpy = sys.modules["numpy"]
    assert "numpy: has no function register(add)" in refused("spaces", "--plugin", "numpy")
    assert sys.modules["numpy"] is numpy
    assert plugins_named(["a", "--", "--plugin", "b"]) == (["a", "--", "--plugin", "b"], [])
    assert "no installed module of that name" in refused("spaces", "--plugin", "no_such_thing")


def test_the_environment_names_them_by_whole_paths(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is set once must not be looked for in whatever folder one happens to be in."""
    monkeypatch.setenv(plugins.VARIABLE, str(small))
    plugins.load([])
    assert "mine" in DISTANCES
    plugins.unload_all()
    monkeypatch.chdir(small.parent)
    for word in ("small.py", "small", "./small.py"):
        monkeypatch.setenv(plugins.VARIABLE, word)
        with pytest.raises(PluginError, match=plugins.VARIABLE):
            plugins.load([])
    assert "mine" not in DISTANCES


def test_an_installed_package_names_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever installs it need not name it each time."""
    (tmp_path / "small_package").mkdir()
    (tmp_path / "small_package" / "__init__.py").write_text("")
    (tmp_path / "small_package" / "ours.py").write_text(SMALL.replace("register", "begin"))
    info = tmp_path / "small_package-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: small-package\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        f"[{plugins.GROUP}]\nanything = small_package.ours:begin\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    plugins.load([])
    found = {plugin.name: plugin for plugin in plugins.loaded()}["small_package.ours"]
    assert DISTANCES.module("mine") == "small_package.ours"
    assert found.source == tmp_path / "small_package"
    assert plugins.sha256s(("euclidean",), asked=True) == {}, "it was not asked for"
    assert plugins.sha256s(("mine",)) == {found.name: found.sha256}
    for name in ("small_package.ours", "small_package"):
        sys.modules.pop(name, None)


def test_a_package_s_sha256_is_of_all_its_source(tmp_path: Path) -> None:
    """A change in a file that the first one imports is a change too."""
    package = tmp_path / "small"
    package.mkdir()
    (package / "__init__.py").write_text("from small.part import *\n" + SMALL)
    (package / "part.py").write_text("x = 1\n")
    plugins.load([str(package)], installed=False)
    before = plugins.loaded()[0].sha256
    (package / "part.py").write_text("x = 2\n")
    assert plugins.source_sha256(package) != before


def test_a_changed_plug_in_meets_no_old_result(small: Path) -> None:
    """Its stages are computed by other code then, and so may be all that read them."""

    def digest() -> str:
        return Stage(np.sort, {}, ()).digest

    without = digest()
    plugins.load([str(small)], installed=False)
    before = digest()
    plugins.unload_all()
    small.write_text(SMALL + "\n# another\n")
    plugins.load([str(small)], installed=False)
    assert len({without, before, digest()}) == 3
    plugins.unload_all()
    assert digest() == without


def test_a_stage_of_a_plug_in_is_computed_in_other_processes(small: Path) -> None:
    """They find it by its name, which means nothing to them unless they load it too."""
    plugins.load([str(small)], installed=False)
    import small as module  # type: ignore[import-not-found]

    given = Stage(np.arange, {"stop": 1}, content="given")
    rows = 4 * 64
    stage = Stage(module.doubled, {}, (given,), rows)
    found = compute(stage, {given.digest: np.arange(rows)}, workers=2)
    assert np.array_equal(found, 2 * np.arange(rows))


def test_what_a_plug_in_gives_is_checked(small: Path) -> None:
    """A mistake in it must be told as one, where it is made."""
    from trainables.neighbours.distances import distances

    plugins.load([str(small)], installed=False)
    x = np.ones((2, 3))
    assert distances(x, x, "mine").tolist() == [[0, 0], [0, 0]]
    small.write_text(SMALL.replace(".max(2)", ".max(2).astype('float32')"))
    plugins.unload_all()
    plugins.load([str(small)], installed=False)
    with pytest.raises(ValueError, match=r"mine must give \(2, 2\) float64 .* but gave .* float32"):
        distances(x, x, "mine")


def test_augmentation_and_loss_of_a_plug_in_are_used(tmp_path: Path) -> None:
    """What is switched on must be done, with its own parameters."""
    import torch

    from trainables.cnn.steps.augment import added_by_plugins
    from trainables.cnn.steps.optimizer import loss_of

    path = tmp_path / "mine.py"
    path.write_text(MINE)
    plugins.load([str(path)], installed=False)
    assert "tinynet" in NETWORKS
    plain = CnnConfig()
    scores, labels = torch.randn(8, 3), torch.arange(8) % 3
    expected = torch.nn.functional.cross_entropy(scores, labels, label_smoothing=0.1)
    assert torch.equal(loss_of(plain)(scores, labels), expected)
    assert added_by_plugins(plain) == ()
    asked = CnnConfig.of(
        vars(plain)
        | {
            "loss": "focal",
            "focal_gamma": 0.0,
            "invert": True,
            "invert_share": 1.0,
            "tiny_channels": 4,
        }
    )
    plainly = torch.nn.functional.cross_entropy(scores, labels)
    assert torch.allclose(loss_of(asked)(scores, labels), plainly)
    ((name, change),) = added_by_plugins(asked)
    images = torch.rand(2, 3, 4, 4) * 255
    assert name == "invert"
    assert torch.equal(change(images, torch.Generator()), 255 - images)


def test_a_program_of_one_s_own_loads_them_too(small: Path) -> None:
    """Nothing of it needs the command line."""
    code = (
        f"from spaces import plugins, get_space; plugins.load([{str(small)!r}]); "
        "print('mine' in get_space('tiny-image')['metric'].limits)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
        timeout=PATIENCE, check=False, env=dict(os.environ),
    )  # fmt: skip
    assert done.stdout == "True\n", done.stderr


def test_a_node_with_another_plug_in_is_named(small: Path, tmp_path: Path) -> None:
    """Trials there would be of other code under the same name."""
    plugins.load([str(small)], installed=False)
    ours, there = software(), plugins.there()
    assert plugins.difference(there) == ""
    plugins.unload_all()
    assert software_changes(ours, software(), "the driver's is") == [
        "the code differs: plug-in small"
    ]
    assert "plug-ins there are small=" in plugins.difference(there)


def test_a_worker_tells_what_is_wrong_and_lives(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that fails while it starts is started again, for ever."""
    plugins.load([str(small)], installed=False)
    wanted = plugins.wanted()
    plugins.unload_all()
    monkeypatch.setattr(plugins, "_problems", [])
    monkeypatch.setenv(plugins.WANTED, wanted)
    plugins.load_wanted()
    assert plugins.there() == ("", "plug-in small: there is no installed module small")
    monkeypatch.setattr(plugins, "_problems", [])
    monkeypatch.syspath_prepend(str(small.parent))
    plugins.load_wanted()
    assert plugins.there() == (f"small={plugins.source_sha256(small)}", "")
    plugins.unload_all()
    small.write_text(SMALL + "\n# another\n")
    plugins.load_wanted()
    assert "is another there" in plugins.there()[1]
