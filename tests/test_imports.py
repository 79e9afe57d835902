"""Imports go one way, and heavy libraries are loaded only by the files named for them."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from program import PATIENCE, ROOT

LAYERS = ("spaces", "trainables", "analysis", "search")
"""Each may import those before it."""
ROOMS = {
    "trainables": (
        "io", "stages", "images", "data", "tables", "audit", "pretrained", "contract",
        "neighbours", "knn", "cnn/models", "cnn/steps", "cnn", "embedding", "learners", "",
    ),
    "analysis": (
        "plan", "run", "ranking", "figures", "bundle", "ensemble", "graphs", "explain", "report",
        "",
    ),
    "search": (
        "sampling", "study", "ledger", "screen", "cluster", "tracking", "driver", "doctor",
        "reproduce", "cli", "",
    ),
}  # fmt: skip
"""The folders of a layer: each may import those before it, but for ``STRANGERS``."""
STRANGERS = {
    frozenset({"cluster", "tracking"}),
    frozenset({"knn", "cnn"}),
    frozenset({"knn", "embedding"}),
    frozenset({"cnn", "embedding"}),
}
MOST_FILES, MOST_LINES = 15, 350
IMPORTERS = {
    "ray": {
        "search/cluster/start.py",
        "search/cluster/nodes.py",
        "search/cluster/ray_internals.py",
        "search/cluster/submit.py",
        "search/cluster/tune_adapters.py",
        "search/sampling/tune_pruners.py",
        "trainables/worker.py",
        "trainables/stages/registry.py",
    },
    "optuna": {
        "search/study/database.py",
        "search/study/folders.py",
        "search/sampling/guided.py",
        "search/study/importance.py",
        "search/sampling/optuna_internals.py",
        "search/sampling/population.py",
        "search/sampling/pruners.py",
        "search/sampling/reuse.py",
        "search/sampling/prefixes.py",
        "search/ledger/rebuilt_studies.py",
        "search/sampling/samplers.py",
        "search/study/storage.py",
        "search/study/study.py",
        "search/sampling/tune_pruners.py",
    },
    "mlflow": {
        "analysis/bundle/served_model.py",
        "search/tracking/connection.py",
        "search/tracking/mlflow_runs.py",
        "search/tracking/registered.py",
    },
    "cyvlfeat": {"trainables/knn/sift.py"},
    "faiss": {"trainables/neighbours/bounds.py"},
}
PATHS = {layer: sorted((ROOT / layer).rglob("*.py")) for layer in LAYERS}
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for layer in LAYERS
    for path in (ROOT / layer).rglob("*.py")
}


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name | ast.Attribute) and ast.unparse(test).endswith(
        "TYPE_CHECKING"
    )


def imported(source: str, file: str) -> set[str]:
    """Top-level names of what ``source`` imports anywhere when it runs, so not under
    TYPE_CHECKING.
    """
    names: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(
                (node.module or "").partition(".")[0] if not node.level else file.partition("/")[0]
            )
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
            ("import_module", "__import__")
        ):
            names |= {
                text.value.partition(".")[0]
                for text in ast.walk(node)
                if isinstance(text, ast.Constant) and isinstance(text.value, str)
            }
        if isinstance(node, ast.If) and _is_type_checking(node.test):
            waiting += node.orelse
        else:
            waiting += ast.iter_child_nodes(node)
    return names


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import ray.tune as t", {"ray"}),
        ("def f():\n    from ray import tune", {"ray"}),
        ("if TYPE_CHECKING:\n    import ray\nelse:\n    import optuna", {"optuna"}),
        ("if typing.TYPE_CHECKING:\n    import ray", set()),
        ("from .runner import run", {"search"}),
        ("importlib.import_module('search.driver.runner')", {"search"}),
    ],
)
def test_the_walker_finds_imports_wherever_they_stand(source: str, expected: set[str]) -> None:
    """The tests below are worth something only if no import hides from the walker."""
    assert imported(source, "search/example.py") == expected


@pytest.mark.parametrize("library", sorted(IMPORTERS))
def test_only_the_files_named_for_a_library_import_it(library: str) -> None:
    """A library known in a few files can be replaced, mocked or loaded late; one known everywhere
    cannot.
    """
    assert {
        file for file, source in SOURCES.items() if library in imported(source, file)
    } == IMPORTERS[library]


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_imports_only_itself_and_those_below(layer: str) -> None:
    """What runs a configuration must not depend on what searches, or it could not be read and
    tested alone.
    """
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    files = {file: source for file, source in SOURCES.items() if file.startswith(f"{layer}/")}
    assert files
    assert {
        file: names for file, source in files.items() if (names := imported(source, file) & above)
    } == {}


def room_of(module: str, layer: str) -> str | None:
    """The folder of the layer's that holds what ``module`` names; None if that is of no layer."""
    folders = {path.parent.relative_to(ROOT / layer).as_posix() for path in PATHS[layer]}
    parts = module.split(".")
    if parts[0] != layer:
        return None
    inner = "/".join(parts[1:])
    found = [folder for folder in folders if f"{inner}/".startswith(f"{folder}/")]
    return max(found, key=len, default="")


def rooms_imported(source: str, layer: str) -> set[str]:
    """The rooms of its own layer that a file names in its imports, also for its types alone."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            modules |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {room for module in modules if (room := room_of(module, layer)) is not None}


@pytest.mark.parametrize("layer", ROOMS)
def test_no_room_reaches_upward_or_in_a_circle(layer: str) -> None:
    """Whoever opens a room must be able to read it with what lies below it alone."""
    order = ROOMS[layer]
    wrong = []
    for path in PATHS[layer]:
        room = path.parent.relative_to(ROOT / layer).as_posix().replace(".", "")
        assert room in order, f"{room} is a new room: say where it stands"
        for other in rooms_imported(path.read_text(encoding="utf-8"), layer) - {room}:
            if order.index(other) > order.index(room) or frozenset({room, other}) in STRANGERS:
                wrong.append(f"{path.relative_to(ROOT)} imports {layer}/{other}")
    assert wrong == []


def test_rooms_and_files_are_small() -> None:
    """A folder is read at a glance, and a file in one sitting."""
    folders = Counter(path.parent.relative_to(ROOT) for paths in PATHS.values() for path in paths)
    assert {str(folder): n for folder, n in folders.items() if n > MOST_FILES} == {}
    lengths = {file: source.count("\n") for file, source in SOURCES.items()}
    assert {file: n for file, n in lengths.items() if n > MOST_LINES} == {}


def test_spaces_use_the_standard_library_alone() -> None:
    """A space is data: writing one must need nothing that has to be installed."""
    names = set().union(
        *(imported(source, file) for file, source in SOURCES.items() if file.startswith("spaces/"))
    )
    assert names - set(sys.stdlib_module_names) == {"spaces"}


@pytest.mark.parametrize(
    ("module", "kept_out"),
    [
        ("trainables.cnn.images", ("torch", "ray", "optuna", "mlflow")),
        ("trainables.worker", ("torch", "mlflow", "optuna")),
        ("trainables.learners", ("torch", "ray", "mlflow", "optuna", "sklearn", "scipy")),
        ("spaces.ours.cnn", ("torch", "ray", "optuna", "mlflow", "numpy")),
        ("trainables.cnn.training", ("ray", "optuna", "mlflow", "sklearn", "kornia")),
        ("spaces", ("torch", "ray", "optuna", "mlflow", "numpy")),
        ("trainables.knn.pipeline", ("torch", "ray", "optuna", "mlflow")),
        ("search.cli", ("torch", "ray", "mlflow", "optuna")),
        ("search.doctor.machine", ("torch", "ray", "mlflow", "optuna")),
    ],
)
def test_importing_does_not_load_heavy_libraries(module: str, kept_out: tuple[str, ...]) -> None:
    """``visiontune --help`` must answer at once, and a reader of spaces needs no GPU stack."""
    code = f"import sys, {module}; print([name for name in {kept_out!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout.strip() == "[]", done.stderr


def test_a_search_loads_neither_mlflow_nor_torch_where_it_needs_neither(tmp_path: Path) -> None:
    """Each takes seconds: Ray would load MLflow to count for its statistics, and torch would come
    with what explains networks in reports.
    """
    words = ("--space", "tiny-image", "--trials", "2", "--set", "size=8", "--no-tracking", "--json")
    code = (
        "import sys; from search.cli import main\n"
        f"sys.argv += {('run', *words, '--runs-dir', str(tmp_path))!r}\n"
        "try: main()\nfinally: print({'mlflow', 'torch'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "set()", done.stderr
    assert '"COMPLETE": 2' in done.stdout
