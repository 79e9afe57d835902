"""The tables of deliberate mistakes fit the tree, so that ``make mutants`` tells what the tests
notice.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.mutants.table import ROOT, Mutant, TableError, load, node_ids, places

MUTANTS = load()


def test_every_mistake_has_its_place_and_its_tests() -> None:
    """A mistake whose text or test is gone would silently be tried no more."""
    places(MUTANTS)
    node_ids({name for mutant in MUTANTS for name in mutant.tests})
    assert [
        mutant.name
        for mutant in MUTANTS
        if not mutant.tests or mutant.old == mutant.new or not mutant.what
    ] == []


def test_every_mistake_can_be_compiled() -> None:
    """A mistake that Python itself refuses is caught by anything, and says nothing of the tests."""
    found = places(MUTANTS)
    for mutant in MUTANTS:
        file = ROOT / found[mutant.name].file
        if file.suffix == ".py":
            ast.parse(file.read_text(encoding="utf-8").replace(mutant.old, mutant.new), mutant.name)


def test_a_table_that_no_longer_fits_is_named() -> None:
    """Whoever moves code must hear which mistakes have lost their place."""
    gone = Mutant("gone", "x", "this text stands nowhere in the product", "y", ("test_nowhere",))
    with pytest.raises(TableError, match="gone: its text stands 0 times"):
        places([gone])
    with pytest.raises(TableError, match="test_nowhere: 0 tests"):
        node_ids(gone.tests)


def test_the_runner_tells_caught_from_survived(tmp_path: Path) -> None:
    """The figures of ``make mutants`` are worth something only if a mistake is really put in, and
    really judged.
    """
    table = tmp_path / "tables"
    table.mkdir()
    (table / "one.toml").write_text(
        "[[mutant]]\nname = 'noticed'\nwhat = 'a'\n"
        "old = '''    return text.replace(\"&\", \"and\")'''\nnew = '''    return "
        "text'''\ntests = []\n"
    )
    assert [mutant.name for mutant in load(table)] == ["noticed"]
    code = (
        "from pathlib import Path\n"
        "from benchmarks.mutants.__main__ import Copy, tried\n"
        "from benchmarks.mutants.table import Mutant, Place\n"
        f"copy = Copy(Path({str(tmp_path / 'copy')!r}))\n"
        "copy.write('spaces/said.py', 'def said():\\n    return 1\\n')\n"
        "copy.write('tests/test_said.py', 'from spaces.said import said\\n\\n\\n'\n"
        "           'def test_one():\\n    assert said() == 1\\n\\n\\ndef test_none():\\n    "
        "assert said() is not None\\n')\n"
        "place = Place('spaces/said.py')\n"
        "mutant = Mutant('other', 'w', 'return 1', 'return 2', ())\n"
        "for test in ('test_one', 'test_none', 'test_missing'):\n"
        "    print(tried(copy, mutant, place, [f'tests/test_said.py::{test}']).state)\n"
        "print((copy.root / 'spaces/said.py').read_text().split()[-1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.split() == ["caught", "survived", "undecided", "1"], done.stderr
