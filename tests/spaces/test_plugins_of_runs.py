"""Runs and bundles say which plug-ins they need, and nothing is imported because they do."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from program import ROOT, refused
from small_plugin import SMALL, forget, written

from analysis.bundle.bundle import read_facts
from analysis.bundle.facts import write_facts
from analysis.run.directory import RunDirectory
from analysis.run.identity import FILE, Identity, read_identity, write_identity
from spaces import plugins

GOLDEN = ROOT / "tests" / "golden"


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    yield
    forget()


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return written(tmp_path)


def golden(tmp_path: Path) -> RunDirectory:
    shutil.copytree(GOLDEN / "runs" / "knn", tmp_path / "runs" / "old")
    return RunDirectory(tmp_path / "runs" / "old")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


COMMANDS = ("status", "best", "report", "resume", "confusion", "importance", "retry", "replicate")


@pytest.mark.parametrize("changed", [False, True])
def test_a_run_is_refused_without_the_plug_in_it_was_begun_with(
    changed: bool, small: Path, tmp_path: Path
) -> None:
    """Its values mean nothing without it, and another thing with another; what is there stays."""
    run = golden(tmp_path)
    identity = read_identity(run.path)
    identity = identity or Identity(study="old-1")
    write_identity(
        run.path, identity.model_copy(update={"plugins": {"small": plugins.source_sha256(small)}})
    )
    if changed:
        small.write_text(SMALL.replace("max", "sum"))
    before = contents(run.path)
    words = ("--plugin", str(small)) if changed else ()
    for command in COMMANDS:
        line = refused(command, "old", "--runs-dir", run.path.parent, *words)
        assert "run old needs plug-in small" in line, command
        assert ("has changed since" if changed else "--plugin") in line
    assert contents(run.path) == before


def test_a_run_that_lost_its_identity_still_says_what_it_needs(tmp_path: Path) -> None:
    """The notes of its sessions say it too."""
    run = golden(tmp_path)
    path = run.path / "provenance.json"
    sessions = json.loads(path.read_text())
    assert run.plugins() == {}
    path.write_text(json.dumps([sessions[-1] | {"plugins": {"small": "0" * 64}}]))
    assert run.plugins() == {"small": "0" * 64}
    path.write_text("[1")
    assert run.plugins() == {}


def test_neither_a_run_nor_a_bundle_has_anything_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both may come from a stranger, and the name they hold may be that of a file beside them."""
    marker = tmp_path / "was-run"
    evil = f"open({str(marker)!r}, 'w')\ndef register(add): pass\n"
    (tmp_path / "evil.py").write_text(evil)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    run = golden(tmp_path)
    (run.path / "evil.py").write_text(evil)
    write_identity(run.path, Identity(study="old-1", plugins={"evil": "0" * 64}))
    assert "needs plug-in evil" in refused("best", "old", "--runs-dir", run.path.parent)
    bundle = tmp_path / "bundle"
    shutil.copytree(GOLDEN / "bundles" / "knn", bundle)
    write_facts(bundle, read_facts(bundle).model_copy(update={"plugins": {"evil": "0" * 64}}))
    assert "needs plug-in evil" in refused("predict", bundle, tmp_path / "x.png")
    plan = tmp_path / "plan.yaml"
    for setting in ("plugin: evil", "plugins: [evil]", "spaces: evil", "dataset: evil:x"):
        plan.write_text(f"spaces: toy\ntrials: 1\n{setting}\n")
        refused("run", plan, "--dry-run")
    assert not marker.exists()
    assert "evil" not in sys.modules


def test_what_does_not_need_one_is_read_by_any_version(tmp_path: Path) -> None:
    """Versions before know no such field, and refuse what they do not know."""
    write_identity(tmp_path, Identity(study="x-1"))
    assert "plugins" not in (tmp_path / FILE).read_text()
    bundle = tmp_path / "bundle"
    shutil.copytree(GOLDEN / "bundles" / "knn", bundle)
    write_facts(bundle, read_facts(bundle))
    assert "plugins" not in (bundle / "bundle.json").read_text()
