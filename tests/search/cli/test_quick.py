"""Commands that only read answer at once: they load nothing heavy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from program import PATIENCE, ROOT
from samples import run_with

from analysis.run.records import DriverState

HEAVY = {
    "torch", "torchvision", "ray", "mlflow", "optuna", "sklearn", "pandas", "matplotlib", "plotly",
    "scipy", "faiss", "cyvlfeat", "pyarrow", "sqlalchemy", "jinja2", "kornia",
}  # fmt: skip
LOADED = (
    "import sys\nfrom search.cli import main\nsys.argv[0] = 'visiontune'\ntry: main()\n"
    "finally: print('LOADED', *sys.modules, file=sys.stderr)"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A runs directory with the finished run ``made``."""
    folder = tmp_path_factory.mktemp("runs")
    made = run_with(folder, {1: [0] * 4 + [1] * 4 + [2] * 2, 2: [0] * 10})
    made.write_state(DriverState(id="0", state="finished", seconds=75, trials={"COMPLETE": 2}))
    return folder


def loaded(*words: str, **environment: str) -> tuple[str, set[str]]:
    """What a command prints, and the packages that it loaded."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *words],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    names = done.stderr.partition("LOADED ")[2].split()
    assert (done.returncode, bool(names)) == (0, True), done.stderr
    return done.stdout, {name.partition(".")[0] for name in names}


@pytest.mark.parametrize(
    ("words", "more"),
    [
        ("--help", {"numpy", "pydantic", "yaml", "rich", "PIL"}),
        ("--version", {"numpy", "pydantic", "yaml", "rich", "PIL"}),
        ("predict --help", {"numpy", "yaml", "rich", "PIL"}),
        ("spaces", {"numpy", "yaml", "rich", "PIL"}),
        ("status made", {"numpy", "rich", "PIL"}),
        ("best made", {"rich", "PIL"}),
        ("leaderboard made", {"rich", "PIL"}),
        ("datasets", {"numpy", "yaml", "rich", "PIL"}),
        ("cache list", {"yaml", "rich", "PIL"}),
    ],
)
def test_a_command_that_only_reads_loads_nothing_heavy(
    words: str, more: set[str], runs: Path
) -> None:
    """People type these over and over, and wait for each: torch alone takes seconds."""
    shown, names = loaded(*words.split(), VISIONTUNE_RUNS=str(runs))
    assert shown
    assert names & (HEAVY | more) == set()


def test_a_shell_completes_commands_and_options_at_once() -> None:
    """Whoever presses the tab key waits with the hand on it."""
    for typed, place, expected in (("st", 1, {"status", "stop"}), ("best --to", 2, {"--top"})):
        shown, names = loaded(
            _VISIONTUNE_COMPLETE="complete_bash",
            COMP_WORDS=f"visiontune {typed}",
            COMP_CWORD=str(place),
        )
        assert set(shown.split()) == expected
        assert names & (HEAVY | {"numpy", "yaml", "rich", "PIL"}) == set()


def test_describing_a_network_loads_torch_and_little_else() -> None:
    """Its compiler and torchvision take longer to load than torch itself."""
    shown, names = loaded("describe", "mynet")
    assert "Total params: 6,158,538" in shown
    assert names & (HEAVY | {"sympy", "yaml", "rich"}) == {"torch"}
    large, _ = loaded("describe", "lenet", "--size", "257")
    assert "[-1, 6, " in large
