"""Every file of each kind of bundle, and of a network that is to become one, damaged in every way,
under every command that uses it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from damages import DAMAGES, Done, content, damages_of, judge
from golden_runs import golden_runs
from hostile import CLASSES, cnn_bundle, embedding_bundle, ensemble_bundle, knn_bundle
from PIL import Image
from program import typed

from analysis.bundle.bundle import read_facts
from analysis.bundle.model_card import model_card

KINDS = {
    "knn": knn_bundle,
    "cnn": cnn_bundle,
    "embedding": embedding_bundle,
    "ensemble": ensemble_bundle,
}
ONLY_READ_BY_PEOPLE = {"README.md", "confusion.png"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each kind of bundle, a picture, images whose classes are known, and a plan that starts from
    the network.
    """
    folder = tmp_path_factory.mktemp("bundles")
    for kind, make in KINDS.items():
        made = make(folder / kind)
        (made / "README.md").write_text(model_card(read_facts(made)))
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(made / "confusion.png")
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (12, 9, 9), dtype=np.uint8)
    labels = np.arange(12) % 3
    np.savez(
        folder / "images.npz", x_train=images, y_train=labels, x_test=images, y_test=labels,
        classes=np.array(CLASSES),
    )  # fmt: skip
    Image.fromarray(images[0]).save(folder / "picture.png")
    plan = {
        "spaces": ["cnn"], "dataset": f"npz:{folder / 'images.npz'}", "trials": 1,
        "training": {"start_from": "BUNDLE"},
    }  # fmt: skip
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder


def predicted(folder: Path, bundle: Path) -> Done:
    return typed("predict", bundle, folder / "picture.png", "--json")


def evaluated(folder: Path, bundle: Path) -> Done:
    return typed("evaluate", bundle, "--dataset", f"npz:{folder / 'images.npz'}", "--json")


def explained(folder: Path, bundle: Path) -> Done:
    """With the page that it writes."""
    page = bundle.with_suffix(".html")
    page.unlink(missing_ok=True)
    done = typed("explain", bundle, folder / "picture.png", "--out", page)
    assert page.exists() is (done.returncode == 0), "a refusal leaves no page"
    told = page.read_text().replace(str(bundle), "") if page.exists() else ""
    digest = hashlib.sha256(told.encode()).hexdigest()
    return Done(done.args, done.returncode, digest, done.stderr)


def started_from(folder: Path, bundle: Path) -> Done:
    """A search whose networks begin with the weights of the bundle, as far as its dry run."""
    plan = bundle.parent / "plan.yaml"
    plan.write_text((folder / "plan.json").read_text().replace("BUNDLE", str(bundle)))
    return typed("run", plan, "--dry-run", "--json", "--runs-dir", bundle.parent / "runs")


COMMANDS: dict[str, Callable[[Path, Path], Done]] = {
    "predict": predicted,
    "evaluate": evaluated,
    "explain": explained,
    "start": started_from,
}


def files_of(folder: Path) -> list[str]:
    """Each once, with those of a bundle's members."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [path.relative_to(folder).as_posix() for path in found]


@pytest.mark.parametrize(
    ("kind", "command"),
    [(kind, name) for kind in KINDS for name in COMMANDS if name != "start" or kind == "cnn"],
)
def test_a_damaged_bundle_is_refused_or_right(
    whole: Path, tmp_path: Path, kind: str, command: str
) -> None:
    """A classifier that a disk changed would go on giving classes, and nobody would know."""
    failures = []
    usual = COMMANDS[command](whole, Path(shutil.copytree(whole / kind, tmp_path / "whole")))
    assert usual.returncode == 0, usual.stderr
    for name in files_of(whole / kind):
        for damage in damages_of(whole / kind / name):
            bundle = Path(shutil.copytree(whole / kind, tmp_path / "bundle"))
            DAMAGES[damage](bundle / name)
            before = content(bundle)
            done = COMMANDS[command](whole, bundle)
            case = f"{command} of {kind} with {name} {damage}: {done.stdout}\n{done.stderr}"
            try:
                judge(done, usual.stdout, bundle / name, case, False, False)
                assert done.returncode or Path(name).name in ONLY_READ_BY_PEOPLE, case
                assert content(bundle) == before, case
            except AssertionError as error:
                failures.append(str(error).partition("\nassert")[0])
            shutil.rmtree(bundle)
    assert not failures, "\n".join(failures)


NETWORK = "trials/cnn/00001"


@pytest.mark.slow
@pytest.mark.parametrize("more", ["", "--onnx"])
def test_a_network_whose_files_are_damaged_is_exported_right_or_refused(
    tmp_path: Path, more: str
) -> None:
    """What is exported is what was recorded; and a refusal leaves nothing behind."""
    runs = golden_runs(tmp_path / "whole", "networks")
    names = [
        path.relative_to(runs / "networks").as_posix()
        for path in sorted((runs / "networks").rglob("*"))
        if path.is_file() and ("trials" not in path.parts or NETWORK in path.as_posix())
    ]
    failures = []
    for name in names:
        for damage in damages_of(runs / "networks" / name):
            if more and not name.endswith(".safetensors"):
                continue
            own = Path(shutil.copytree(runs, tmp_path / "own"))
            DAMAGES[damage](own / "networks" / name)
            before = content(own / "networks")
            words = ("export", "networks", "--out", own / "out", "--runs-dir", own)
            done = typed(*words, *([more] if more else []), "--no-test")
            case = f"export with {name} {damage}: {done.returncode} {done.stdout}\n{done.stderr}"
            try:
                judge(done, done.stdout, own / "networks" / name, case, False, name == "plan.yaml")
                if done.returncode:
                    assert content(own / "networks") == before, case
                    assert not list(own.glob("out")) + list(own.glob(".out*")), case
                else:
                    assert read_facts(own / "out").trial == "networks: cnn/1", case
            except AssertionError as error:
                failures.append(str(error).partition("\nassert")[0])
            shutil.rmtree(own)
    assert not failures, f"{len(failures)}:\n" + "\n".join(failures)
