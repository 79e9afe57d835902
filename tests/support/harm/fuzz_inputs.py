"""Inputs made from good ones by a seeded generator, each given to the program; as a program it
prints what went wrong, a line each.

    cd tests/support && export PYTHONPATH=../..:inputs:searches
    python harm/fuzz_inputs.py KIND SEED COUNT FOLDER

A good answer is exit status 0, or 2 with one line of at most 500 characters, within five seconds of
this process; a bundle that is accepted gives scores that are numbers.
"""

from __future__ import annotations

import io
import json
import math
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from finished import TINY, finished
from fuzz_datasets import arrays, csv, image, npz, parquet
from golden_runs import golden_runs
from hostile import (
    cnn_bundle,
    embedding_bundle,
    ensemble_bundle,
    knn_bundle,
    with_facts,
    with_member,
    with_model,
)
from PIL import Image
from program import typed
from spoiling import changed, spoil, strange, turned

from analysis.plan.plan import make_plan
from analysis.run.directory import RunDirectory
from analysis.run.records import DataFacts
from search.driver.beginning import create
from search.ledger.ledger import Ledger
from spaces.errors import UserError

PLAN = {
    "spaces": ["tiny-image"], "trials": 3, "seed": 1, "sampler": "tpe",
    "sampler_options": {"n_startup_trials": 2}, "name": "x",
    "pruner": "none", "objective": "val_accuracy", "constraints": {"seconds": {"max": 3.0}},
    "max_side": 100, "gpus_per_trial": 0.5,
    "limits": {"seconds": 10, "target": 0.9, "plateau": {"trials": 3, "gain": 0.1}}, "retries": 1,
    "validation": "k-fold", "folds": 3,
    "training": {"epochs": 2, "image_size": 32}, "set": {"k": [1, 3], "size": "8..16",
    "metric": "cosine"}, "concurrency": 2,
    "class_order": ["dog", "cat"], "abbreviations": {"cat": "c"}, "reference": {"floor": 0.1},
    "replicate": {"top": 1, "seeds": 2},
    "tracking": {"enabled": True, "uri": "sqlite:///x.db"}, "cache_gib": 1.0,
}  # fmt: skip


def plan(generator: random.Random, folder: Path) -> tuple[object, ...]:
    value = PLAN
    for _ in range(generator.choice((1, 1, 2, 4))):
        value = changed(generator, value)
    try:
        text = yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "surrogateescape")
    except ValueError:  # more digits than Python writes
        text = b"spaces: [toy]\nseed: " + b"9" * 5000
    if generator.random() < 0.3:
        text = turned(generator, text)
    (folder / "plan.yaml").write_bytes(text)
    return (
        "run",
        folder / "plan.yaml",
        "--dataset",
        f"npz:{folder / 'good.npz'}",
        "--dry-run",
        "--runs-dir",
        folder / "runs",
    )


OPTIONS = (
    "--set", "--limit", "--sampler-option", "--pruner-option", "--trials", "--seed", "--sampler",
    "--pruner", "--objective", "--name",
    "--epochs", "--storage", "--validation", "--concurrency", "--max-model-mb", "--cpus-per-trial",
    "--gpus-per-trial", "--tracking-uri",
    "--replicate",
)  # fmt: skip


def options(generator: random.Random, folder: Path) -> tuple[object, ...]:
    words: list[object] = [
        "run",
        "--space",
        generator.choice(
            ("toy", "tiny-image", "bag-of-sift", "cnn", str(strange(generator))[:300])
        ),
    ]
    for _ in range(generator.choice((1, 2, 3))):
        option = generator.choice(OPTIONS)
        try:
            text = str(strange(generator))
        except ValueError:
            text = "9" * 5000
        key = generator.choice(
            ("k", "size", "learning_rate", "seconds", "n_startup_trials", "x", "")
        )
        words += [
            option,
            f"{key}={text}"
            if option in ("--set", "--limit", "--sampler-option", "--pruner-option")
            else text,
        ]
    # no system passes a NUL
    words = [word.replace("\x00", "") if isinstance(word, str) else word for word in words]
    return (
        *words,
        "--dataset",
        f"npz:{folder / 'good.npz'}",
        "--dry-run",
        "--runs-dir",
        folder / "runs",
    )


def bundle(make: Callable[[Path], Path]) -> Callable[[random.Random, Path], tuple[object, ...]]:
    def spoilt(generator: random.Random, folder: Path) -> tuple[object, ...]:
        source = folder / f"whole-{make.__name__}"
        if not source.is_dir():
            make(source)
        shutil.rmtree(folder / "bundle", ignore_errors=True)
        every = Path(shutil.copytree(source, folder / "bundle"))
        members = list((every / "members").glob("*"))
        spoilt_one = every if generator.random() < 0.5 or not members else members[0]
        action = generator.random()
        manifest, model = (
            spoilt_one / "bundle.json",
            (spoilt_one / "model.safetensors").read_bytes(),
        )
        if action < 0.25:
            manifest.write_bytes(turned(generator, manifest.read_bytes()))
        elif action < 0.6:
            value = changed(generator, json.loads(manifest.read_bytes()))
            try:
                manifest.write_text(json.dumps(value, ensure_ascii=False))
            except ValueError:
                manifest.write_text("9" * 5000)
            if isinstance(value, dict) and generator.random() < 0.8:
                with_facts(spoilt_one, lambda facts: None)
        elif action < 0.8:
            (length,) = struct.unpack("<Q", model[:8])
            header = turned(generator, model[8 : 8 + length])
            with_model(spoilt_one, struct.pack("<Q", len(header)) + header + model[8 + length :])
        else:
            with_model(spoilt_one, turned(generator, model))
        if spoilt_one != every and generator.random() < 0.8:
            with_member(every, 1)
        more = ("--coverage", 0.9) if generator.random() < 0.2 else ()
        return "predict", every, folder / "picture.png", "--json", *more

    return spoilt


def request(generator: random.Random, folder: Path) -> tuple[object, ...]:
    """What another terminal asked of a run; half of the time a driver takes it up."""
    runs = folder / "asked"
    if not runs.is_dir():
        run_at_rest(runs)
    requests = runs / "k" / "requests"
    shutil.rmtree(requests, ignore_errors=True)
    requests.mkdir()
    asked = generator.choice(ASKED)
    path = requests / f"{asked['kind']}-1.json"
    path.write_text(json.dumps(asked))
    spoil(generator, path)
    return ("take" if generator.random() < 0.5 else "status", "k", "--runs-dir", runs)


def served(generator: random.Random, folder: Path) -> tuple[object, ...]:
    """What a client sends to a model that is served: the bytes of pictures, one of them spoilt."""
    if not (folder / "whole-knn_bundle").is_dir():
        knn_bundle(folder / "whole-knn_bundle")
    buffer = io.BytesIO()
    kind = generator.choice(("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"))
    shade = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(shade).save(buffer, kind)
    sent = turned(generator, buffer.getvalue())
    (folder / "sent").write_bytes(b"" if generator.random() < 0.05 else sent)
    return "serve", folder / "whole-knn_bundle", folder / "picture.png", folder / "sent"


def answered(bundle: Path, *pictures: Path) -> subprocess.CompletedProcess[str]:
    """What the model that MLflow serves makes of them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, of hints of types
        from mlflow.pyfunc import PythonModelContext

        from analysis.bundle.served_model import BundleModel
    model = BundleModel()
    model.load_context(PythonModelContext({"bundle": str(bundle)}, {}))
    sent = pd.DataFrame({"image": [path.read_bytes() for path in pictures]})
    try:
        return subprocess.CompletedProcess([], 0, json.dumps(model.predict(None, sent)), "")
    except UserError as error:
        return subprocess.CompletedProcess([], 2, "", f"visiontune: {error}\n")


ASKED: tuple[dict[str, Any], ...] = (
    {"kind": "enqueue", "space": "toy", "params": {"quality": 0.5, "steps": 2}, "number": -1},
    {"kind": "retry", "space": "toy", "params": {}, "number": 0},
)


def run_at_rest(runs: Path) -> None:
    """A run ``k`` of the space toy, of which one trial has ended."""
    plan = make_plan({"spaces": ["toy"], "trials": 3, "name": "k", "tracking": {"enabled": False}})
    runs.mkdir()
    facts = DataFacts(spec="none", classes=(), sizes={}, fingerprint="")
    lock = create(RunDirectory(runs / "k"), plan, facts, None)
    ledger = Ledger(RunDirectory(runs / "k"), plan)
    proposal = ledger.propose()
    assert proposal is not None
    ledger.end(proposal.key, {"failure": "boom"})
    os.close(lock)


def taken_up(runs: Path) -> subprocess.CompletedProcess[str]:
    """What a driver makes of the requests of run ``k``: a copy of it, in this process."""
    with tempfile.TemporaryDirectory() as own:
        folder = RunDirectory(Path(shutil.copytree(runs / "k", Path(own) / "k")))
        try:
            plan = folder.plan()
            ledger = Ledger(folder, plan)
            ledger.take_requests()
            proposal = ledger.propose()
            assert proposal is not None
            plan.search_spaces()["toy"].check(proposal.config)
            assert not list(folder.requests.glob("*.json")), "it would be taken up again and again"
        except UserError as error:
            return subprocess.CompletedProcess([], 2, "", f"visiontune: {error}\n")
    return subprocess.CompletedProcess([], 0, "", "")


TABLES = (
    "result.json", "steps.jsonl", "state.json", "data.json", "jobs.json", "facts.jsonl", "run.json",
    "trial.json", "predictions.npy", "shares.npy", "val_labels.npy", "test_scores.json",
    "provenance.json",
)  # fmt: skip


def table(generator: random.Random, folder: Path) -> tuple[object, ...]:
    """What a run has on the disk; one of old has no digests to tell what was spoilt."""
    runs, name = folder / "tables", generator.choice(("toy", "knn", "replicas", "killed", "made"))
    shutil.rmtree(runs, ignore_errors=True)
    if name == "made":
        made = folder / "made"
        if not made.is_dir():
            run_at_rest(made)
            finished(made, f"npz:{folder / 'good.npz'}", [("tiny-image", TINY)])
        name = generator.choice(("k", "made"))
        shutil.copytree(made, runs)
    else:
        golden_runs(runs, name)
    paths = [path for path in sorted((runs / name).rglob("*")) if path.name in TABLES]
    spoil(generator, generator.choice(paths))
    command = generator.choice(("status", "best", "leaderboard", "importance", "confusion"))
    return (command, name, "--runs-dir", runs, "--json")


KINDS: dict[str, Callable[[random.Random, Path], tuple[object, ...]]] = {
    "plan": plan,
    "options": options,
    "npz": npz,
    "knn-bundle": bundle(knn_bundle),
    "cnn-bundle": bundle(cnn_bundle),
    "embedding-bundle": bundle(embedding_bundle),
    "ensemble-bundle": bundle(ensemble_bundle),
    "served": served,
    "request": request,
    "table": table,
    "csv": csv,
    "parquet": parquet,
    "image": image,
}


def wrong(words: tuple[object, ...]) -> str:
    """What was wrong with the answer to ``visiontune WORDS``; empty if nothing."""
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    places = [Path(str(word)) for word in words]
    if words[0] == "take":
        done = taken_up(places[-1])
    else:
        done = answered(*places[1:]) if words[0] == "serve" else typed(*words)
    spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - began
    if spent > 5:
        return f"took {spent:.1f} s"
    longest = max(map(len, done.stderr.splitlines()), default=0)
    if longest > 500:
        return f"a line of {longest} characters: {done.stderr[:200]!r}"
    if done.returncode == 0:
        if words[0] in ("predict", "serve"):
            scores = [score for row in json.loads(done.stdout) for score in row["scores"].values()]
            if not all(math.isfinite(score) for score in scores):
                return "scores that are no numbers"
        return ""
    if (
        done.returncode != 2
        or len(done.stderr.splitlines()) != 1
        or not done.stderr.startswith("visiontune: ")
    ):
        return f"status {done.returncode}: {done.stderr[:300]!r}"
    return "" if done.stderr.rstrip("\n").isprintable() else f"unprintable: {done.stderr[:200]!r}"


def put_good(folder: Path) -> None:
    """What the kinds need beside what they spoil."""
    np.savez(folder / "good.npz", **arrays())
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(
        folder / "picture.png"
    )


def megabytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main() -> None:
    kind, seed, count, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    put_good(folder)
    # which imports what is needed
    typed("run", "--space", "cnn", "--dataset", f"npz:{folder / 'good.npz'}", "--dry-run")
    before = megabytes()
    for number in range(seed, seed + count):
        words = KINDS[kind](random.Random(number), folder)
        print(f"{number}", file=sys.__stderr__, flush=True)  # the last one, where the process dies
        if complaint := wrong(words):
            print(f"{kind} {number}: {complaint}", flush=True)
    print(f"done, {megabytes() - before} MB more than before", flush=True)


if __name__ == "__main__":
    main()
