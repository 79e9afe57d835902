"""Plans and options from a stranger, or from a mistake: however large, deep or repeated, they get
one short line, at once.
"""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from program import output, typed

LAUGHS = (
    "a0: &a0 [x, x]\n"
    + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12))
    + "spaces: [toy]\n"
)
PLANS = {
    "aliases of aliases": LAUGHS,
    "an alias within itself": "spaces: &a [*a]\n",
    "open brackets": "spaces: " + "[" * 100_000,
    "open braces": "{" * 100_000,
    "many names": "spaces:\n" + "- toy\n" * 800_000,
    "names up to the limit": "spaces: [toy]\nclass_order:\n" + "- 1\n" * 40_000,
    "many digits": f"spaces: [toy]\ntrials: {'9' * 100_000}\n",
    "many hexadecimal digits": f"spaces: [toy]\nseed: 0x{'f' * 15_000}\n",
    "a sexagesimal number": f"spaces: [toy]\nseed: {'1:' * 400_000}1\n",
    "ten megabytes": f"spaces: [toy]\nname: {'x' * 10_000_000}\n",
    "a long name": f"spaces: [toy]\nname: {'x' * 15_000}\n",
    "a long storage": f"spaces: [toy]\nstorage: 'sqlite:///{':' * 15_000}'\n",
    "a long address of MLflow": f"spaces: [toy]\ntracking: {{uri: 'http://{'x' * 15_000}'}}\n",
    "a long dataset": f"spaces: [tiny-image]\ndataset: 'folder:/{'x' * 15_000}'\n",
    "a long space": f"spaces: [{'x' * 15_000}]\n",
    "a long metric": f"spaces: [toy]\nobjective: {'x' * 15_000}\n",
    "a long setting": f"spaces: [toy]\nset: {{{'x' * 900}: 1}}\n",
    "a huge value": f"spaces: [cnn]\nset: {{learning_rate: 0x{'f' * 15_000}}}\n",
    "many values": (
        "spaces: [cnn]\nset: {learning_rate: "
        f"[{', '.join(f'0.{n}' for n in range(1, 30_000))}]}}\n"
    ),
    "deep values": "spaces: [toy]\nset: {x: " + "[" * 15 + "]" * 15 + "}\n",
    "wrong settings": "spaces: [toy]\n" + "".join(f"wrong{n}: 1\n" for n in range(20_000)),
    "a tag on the wrong value": "spaces: !!timestamp toy\n",
    "a list for a plan": "- toy\n",
    "keys that are no text": "spaces: [toy]\n1: 2\n",
    "not UTF-8": "spaces: [toy]\nname: \udcff\udcfe\n",
}
OPTIONS = {
    "limit": ("--limit", "seconds=" + "[" * 50_000),
    "limit of digits": ("--limit", "seconds=" + "9" * 50_000),
    "sampler option": ("--sampler-option", "n_startup_trials=!!timestamp x"),
    "pruner option": ("--pruner-option", "x" * 50_000 + "=1"),
    "set": ("--set", "k=" + "9" * 50_000),
    "set without value": ("--set", "x" * 50_000),
    "storage": ("--storage", "sqlite:///" + ":" * 100_000),
    "objective": ("--objective", "x" * 50_000),
    "sampler": ("--sampler", "x" * 50_000),
    "dataset": ("--dataset", "x" * 50_000),
    "space": ("--space", "x" * 50_000),
}


def one_short_line(*words: object) -> str:
    """What ``visiontune WORDS`` refuses with: one line, in less than five seconds of work."""
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    done = typed(*words)
    spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - began
    assert done.returncode == 2, done.stderr[:1000]
    assert len(done.stderr.splitlines()) == 1, done.stderr[:1000]
    assert len(done.stderr) <= 500, done.stderr[:1000]
    assert spent < 5, f"{spent:.1f} s of this process"
    return done.stderr


@pytest.mark.parametrize("kind", PLANS)
def test_a_plan_too_large_or_wrong_is_refused_in_a_short_line(tmp_path: Path, kind: str) -> None:
    """A plan that hangs the program or fills the terminal costs its user the session, and a service
    its machine.
    """
    plan = tmp_path / "plan.yaml"
    plan.write_bytes(PLANS[kind].encode(errors="surrogateescape"))
    assert str(plan) in one_short_line("run", plan, "--dry-run", "--runs-dir", tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("kind", OPTIONS)
def test_an_option_too_large_or_wrong_is_refused_in_a_short_line(tmp_path: Path, kind: str) -> None:
    """What is typed is read as what is written in a plan, with the same limits."""
    option, value = OPTIONS[kind]
    space = () if kind == "space" else ("--space", "tiny-image")
    one_short_line("run", *space, option, value, "--dry-run", "--runs-dir", tmp_path / "runs")


def test_a_password_in_what_is_cut_is_not_told(tmp_path: Path) -> None:
    """A line that is cut in the middle of an address must not end within its password."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"spaces: [toy]\nstorage: {{at: ['postgresql://me:{'secret' * 20}@{'x' * 900}/db']}}\n"
    )
    assert "secret" not in one_short_line("run", plan, "--dry-run", "--runs-dir", tmp_path)


def test_aliases_are_fine_where_they_say_no_more_than_a_plan_does(tmp_path: Path) -> None:
    """YAML's own way of saying a thing twice stays allowed."""
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "spaces: [toy]\nobjective: &metric val_accuracy\nreference: {floor: &floor 0.5, again: "
        "*floor}\n"
    )
    assert output("run", plan, "--dry-run", "--runs-dir", tmp_path)["configs"]


def test_a_dry_run_of_a_million_trials_costs_what_one_of_a_thousand_costs(tmp_path: Path) -> None:
    """A dry run is a look: its price is of the plan, not of the search."""
    words = ("run", "--space", "toy", "--trials", 1_000_000, "--dry-run", "--runs-dir", tmp_path)
    assert len(output(*words)["configs"]) == 1000
    shown = typed(*words).stdout
    assert "1,000,000 trials; 20 configurations" in shown
    assert len(shown.splitlines()) < 40
