"""Inputs made from good ones by a seeded generator, each given to the program; as a program it
prints what went wrong, a line each.

PYTHONPATH=. python tests/fuzz_inputs.py KIND SEED COUNT FOLDER

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
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from golden_runs import golden_runs
from hostile import cnn_bundle, knn_bundle, with_facts, with_model
from PIL import Image
from program import typed

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
STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, -(10**30), 10**400, 0.0, -0.0, 1e308,
    1e-308, math.inf, -math.inf, math.nan,
    "",
    " ", "x", "no", "null", "~", "1e3", "0x10", "..", "1..", "..1", "1..2..3", "a\nb", "\x1b[31m",
    "\x00", "é" * 300, "%s{}$(x)`", "[bold]",
    "../..", "/", "x" * 10_000, [], [[]], [None] * 3, [1, "a", True], {}, {"a": {}}, {"": ""}, [{}],
    {"min": 1, "max": 0}, "val_accuracy",
)  # fmt: skip


def strange(generator: random.Random) -> Any:
    return generator.choice(STRANGE)


def changed(generator: random.Random, value: Any) -> Any:
    """``value`` with one or a few places of it changed, dropped, repeated or added."""
    if isinstance(value, dict) and value and generator.random() < 0.9:
        key = generator.choice(list(value))
        action = generator.random()
        if action < 0.15:
            return {name: item for name, item in value.items() if name != key}
        if action < 0.3:
            return {
                **value,
                generator.choice(
                    ["x", "run", "é", "__class__", key + "s" if isinstance(key, str) else "k"]
                ): strange(generator),
            }
        return {**value, key: changed(generator, value[key])}
    if isinstance(value, list) and value and generator.random() < 0.7:
        place = generator.randrange(len(value))
        return [
            *value[:place],
            changed(generator, value[place]),
            *value[place + generator.randrange(2) :],
        ]
    return strange(generator)


def turned(generator: random.Random, content: bytes) -> bytes:
    """``content`` with bytes turned, cut out, repeated or put in."""
    found = bytearray(content)
    for _ in range(generator.choice((1, 1, 2, 5))):
        place, action = generator.randrange(len(found) + 1), generator.random()
        if action < 0.4 and found:
            found[place % len(found)] ^= 1 << generator.randrange(8)
        elif action < 0.6:
            del found[place : place + generator.choice((1, 3, 50, 10_000))]
        elif action < 0.8:
            found[place:place] = found[place : place + 40] * generator.choice((1, 3, 100))
        else:
            found[place:place] = generator.choice(
                (
                    b"\x00",
                    b"\xff\xfe",
                    b"[" * 500,
                    b"{",
                    b"9" * 5000,
                    b"!!python/name:os.system ",
                    b"&a *a ",
                )
            )
    return bytes(found)


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


def arrays() -> dict[str, Any]:
    generator = np.random.default_rng(0)
    return {
        "x_train": generator.integers(0, 256, (8, 6, 6), dtype=np.uint8),
        "y_train": np.arange(8) % 2,
        "x_test": generator.integers(0, 256, (4, 6, 6), dtype=np.uint8), "y_test": np.arange(4) % 2,
        "classes": np.array(["cat", "dog"]),
    }  # fmt: skip


def whole(array: Any) -> bool:
    return bool(array.dtype.kind in "iu")


OTHERS: tuple[Callable[[Any], Any], ...] = (
    lambda a: a.astype(np.float64) if whole(a) else a[1:],
    lambda a: a.astype(np.int64) - 5 if whole(a) else a[:0],
    lambda a: a.astype(np.complex64) if whole(a) else a[::-1],
    lambda a: a.astype(np.uint16) if whole(a) else np.array(["", "\x1b[31m"]),
    lambda a: a[:0],
    lambda a: a[None],
    lambda a: a[..., :0],
    lambda a: np.repeat(a, 3),
    lambda a: np.array(7),
    lambda a: np.array(["a"] * len(a)),
    lambda a: np.array([2**62] * len(a)),
    lambda a: np.full(len(a), np.nan),
)


def npz(generator: random.Random, folder: Path) -> tuple[object, ...]:
    named, path = arrays(), folder / "fuzz.npz"
    if generator.random() < 0.5:
        name = generator.choice(list(named))
        other = generator.choice(OTHERS)
        named[name] = other(named[name])
        if generator.random() < 0.3:
            del named[generator.choice(list(named))]
        np.savez(path, **named)
        content = path.read_bytes()
    else:
        buffer = io.BytesIO()
        np.savez(buffer, **named)
        content = turned(generator, buffer.getvalue())
        if generator.random() < 0.4:  # a header of an array that lies, within a zip that is whole
            with zipfile.ZipFile(path, "w") as packed:
                for name in named:
                    array = io.BytesIO()
                    np.save(array, named[name])
                    packed.writestr(f"{name}.npy", turned(generator, array.getvalue()))
            content = path.read_bytes()
    path.write_bytes(content)
    return (
        "run",
        "--space",
        "tiny-image",
        "--dataset",
        f"npz:{path}",
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
        spoilt_one = Path(shutil.copytree(source, folder / "bundle"))
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
        return "predict", spoilt_one, folder / "picture.png", "--json"

    return spoilt


def spoil(generator: random.Random, path: Path) -> None:
    """One file of JSON: its bytes, or what it says."""
    content = path.read_bytes()
    try:
        value = json.loads(content)
    except ValueError:  # lines, or no JSON
        path.write_bytes(turned(generator, content))
        return
    if generator.random() < 0.4:
        path.write_bytes(turned(generator, content))
        return
    for _ in range(generator.choice((1, 1, 2))):
        value = changed(generator, value)
    try:
        path.write_text(json.dumps(value, ensure_ascii=False), errors="surrogatepass")
    except ValueError:
        path.write_text("9" * 5000)


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


TABLES = ("result.json", "steps.jsonl", "state.json", "data.json", "jobs.json", "facts.jsonl")


def table(generator: random.Random, folder: Path) -> tuple[object, ...]:
    """What a run of old has on the disk, which has no digests to tell what was spoilt."""
    runs, name = folder / "tables", generator.choice(("toy", "knn", "replicas", "killed"))
    shutil.rmtree(runs, ignore_errors=True)
    golden_runs(runs, name)
    paths = [path for path in sorted((runs / name).rglob("*")) if path.name in TABLES]
    spoil(generator, generator.choice(paths))
    command = generator.choice(("status", "best", "leaderboard", "importance", "confusion"))
    return (command, name, "--runs-dir", runs, "--json")


def image(generator: random.Random, folder: Path) -> tuple[object, ...]:
    """A picture of a folder of them."""
    root = folder / "images"
    if not root.is_dir():
        for label in ("cat", "dog"):
            (root / label).mkdir(parents=True)
            for number in range(4):
                shade = np.full((8, 8, 3), 20 * number, np.uint8)
                Image.fromarray(shade).save(root / label / f"{number}.png")
    kind = generator.choice(("png", "jpg", "gif", "bmp", "tif", "webp", "ppm"))
    for left in root.glob("cat/spoilt.*"):
        left.unlink()
    path = root / "cat" / f"spoilt.{kind}"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)).save(path)
    path.write_bytes(turned(generator, path.read_bytes()))
    more = ("--skip-unreadable",) if generator.random() < 0.3 else ()
    runs = folder / "runs"
    words = ("run", "--space", "tiny-image", "--dataset", f"folder:{root}", "--dry-run", *more)
    return (*words, "--runs-dir", runs)


KINDS: dict[str, Callable[[random.Random, Path], tuple[object, ...]]] = {
    "plan": plan,
    "options": options,
    "npz": npz,
    "knn-bundle": bundle(knn_bundle),
    "cnn-bundle": bundle(cnn_bundle),
    "request": request,
    "table": table,
    "image": image,
}


def wrong(words: tuple[object, ...]) -> str:
    """What was wrong with the answer to ``visiontune WORDS``; empty if nothing."""
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    done = taken_up(Path(str(words[-1]))) if words[0] == "take" else typed(*words)
    spent = resource.getrusage(resource.RUSAGE_SELF).ru_utime - began
    if spent > 5:
        return f"took {spent:.1f} s"
    longest = max(map(len, done.stderr.splitlines()), default=0)
    if longest > 500:
        return f"a line of {longest} characters: {done.stderr[:200]!r}"
    if done.returncode == 0:
        if words[0] == "predict":
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
