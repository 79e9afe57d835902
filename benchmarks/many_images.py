"""A search of more images than memory should hold: memory, speed of reading, and a second start.

    python -m benchmarks.many_images [--images 100000] [--folder DIR] [--side 64] [--parts PARTS]

Makes JPEG files of 500 × 375 pixels in ten classes (in DIR, where they stay, or in a folder that is
removed), and searches one small network on them for one epoch at ``--side`` pixels, twice. Prints
one JSON object:

- ``memory_gib``: the most that all processes of the first search took together (sum of PSS, looked
  at twice a second), beside the target of 6;
- ``seconds``: from ``run`` until the images were there, and until the first epoch was over; of the
  second search, which begins from the shards, too (until the images were there: under 10);
- ``pillow`` and ``ours``: images a second, of Pillow alone (open, decode, RGB) in a process a core,
  three times before and three times after, of other files each time; and of the search, from its
  first shard to its last: ``share`` of Pillow's median is to be 0.8;
- ``streamed``: images a second of a training that reads its images batch by batch, and of one that
  keeps them; ``share`` is to be 0.9, and ``same`` says whether both are the same bits.

PARTS is ``search,streamed``, or one of them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CLASSES, WIDTH, HEIGHT = 10, 500, 375
DECODED, TIMES = 2000, 3
"""Files that Pillow alone is timed on, and how often before the search, and after it."""
TRAINED = 4000
"""Images of the trainings that are compared, at most."""
MARK = "VISIONTUNE_MANY_IMAGES"
"""In the environment of all processes of a search."""
NETWORK = {"model": "fastnet", "width": 0.125, "batch_size": 128, "learning_rate": 0.2}


def make(task: tuple[str, int, int]) -> None:
    """The files from one number up to another: soft shapes of the class, and noise."""
    root, start, stop = task
    for number in range(start, stop):
        label, draw = number % CLASSES, np.random.default_rng(number)
        split = "test" if number % (5 * CLASSES) < CLASSES else "train"
        path = Path(root, split, f"class-{label}", f"{number:07d}.jpg")
        if path.exists():
            continue
        soft = draw.integers(0, 256, (6, 8, 3)) // 2 + 12 * label
        picture = Image.fromarray(soft.astype(np.uint8)).resize((WIDTH, HEIGHT), 3)
        noise = draw.integers(-10, 11, (HEIGHT, WIDTH, 1), dtype=np.int16)
        pixels = np.clip(np.asarray(picture, np.int16) + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path, quality=85)


def made(root: Path, images: int) -> None:
    for split in ("train", "test"):
        for label in range(CLASSES):
            (root / split / f"class-{label}").mkdir(parents=True, exist_ok=True)
    tasks = [(str(root), at, min(at + 500, images)) for at in range(0, images, 500)]
    with get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        pool.map(make, tasks, 1)


def decoded(path: str) -> int:
    with Image.open(path) as image:
        return len(np.asarray(image.convert("RGB")))


def pillow_alone(root: Path, first: int) -> list[float]:
    """Images a second that Pillow decodes in a process a core, ``TIMES`` times, of other files each
    time: those of the same ``first`` (below 2 ``TIMES``) are the same.
    """
    paths = sorted(str(path) for path in root.glob("*/*/*.jpg"))
    step, speeds = max(2 * TIMES, len(paths) // DECODED), []
    with get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        pool.map(decoded, paths[:16])
        for turn in range(first, first + TIMES):
            some = paths[turn::step]
            began = time.monotonic()
            pool.map(decoded, some, 16)
            speeds.append(len(some) / (time.monotonic() - began))
    return speeds


def pss(token: str) -> int:
    """Bytes of all processes that have the token in their environment."""
    total, wanted = 0, f"{MARK}={token}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            if wanted in (folder / "environ").read_bytes():
                text = (folder / "smaps_rollup").read_text()
                total += 1024 * int(text.split("\nPss:")[1].split()[0])
    return total


def searched(root: Path, runs: Path, name: str, side: int) -> dict[str, Any]:
    """Seconds until the images were there and until the first epoch was over, and most memory."""
    plan = runs / f"{name}.yaml"
    training = {"epochs": 1, "image_size": side, "cpus_per_trial": len(os.sched_getaffinity(0))}
    told = {"spaces": ["cnn"], "dataset": f"folder:{root}", "trials": 1, "name": name}
    plan.write_text(json.dumps({**told, "training": training, "set": NETWORK, "audit": "off"}))
    token = os.urandom(8).hex()
    command = [sys.executable, "-m", "search", "run", plan, "--runs-dir", runs, "--no-tracking"]
    most, over = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.5):
            most = max(most, pss(token))

    watcher = threading.Thread(target=watch)
    watcher.start()
    began, there = time.monotonic(), 0.0
    with subprocess.Popen(
        list(map(str, command)), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
        env={**os.environ, MARK: token, "VISIONTUNE_PACKED_GIB": "0"},
    ) as process:  # fmt: skip
        assert process.stderr is not None
        for line in process.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            if "classes; images:" in line:
                there = time.monotonic() - began
    over.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"the search {name} failed")
    (result,) = (runs / name / "trials" / "cnn").glob("*/result.json")
    (steps,) = (runs / name / "trials" / "cnn").glob("*/steps.jsonl")
    epoch = result.stat().st_mtime - time.time() + time.monotonic() - began
    told = json.loads(steps.read_text().splitlines()[0])
    return {
        "images_there": round(there, 1),
        "first_epoch": round(epoch, 1),
        "memory_gib": round(most / 2**30, 2),
        "epoch": told,
    }


def packing_speed(runs: Path, images: int) -> float:
    """Images a second, from the end of the first shard to the end of the last."""
    from trainables.images.image_file import Reading
    from trainables.images.packing import run_length
    from trainables.stages.cache import shards_folder

    notes = [json.loads(path.read_bytes()) for path in shards_folder(runs).glob("*.json")]
    times = sorted(note["written"] for note in notes if note["stage"].startswith("packed"))
    first = run_length(Reading("rgb", square=64))
    return (images - first) / (times[-1] - times[0]) if len(times) > 1 else 0.0


def trained(root: Path, runs: Path, side: int) -> dict[str, Any]:
    """A training with images kept, and one that reads them batch by batch, in turns."""
    from spaces import CnnConfig
    from trainables.cnn import images as rule
    from trainables.cnn.data import CnnData
    from trainables.cnn.training import CnnRun
    from trainables.data import ReadOptions, read_dataset
    from trainables.images.rule import Rule
    from trainables.stages.cache import shards_folder

    options = ReadOptions(
        color="rgb", max_side=4 * side, rule=Rule(orientation="exif"), packed=True, square=side,
        shards=str(shards_folder(runs)),
    )  # fmt: skip
    part = read_dataset(f"folder:{root}", options).train
    rows = np.linspace(0, len(part) - 1, min(TRAINED, len(part))).astype(np.int64)
    part = part.take(rows)
    data, best, weights = CnnData(part.images, part.labels), {}, {}
    for _ in range(3):
        for name, share in (("resident", 1.0), ("streamed", 0.0)):
            rule.RESIDENT_SHARE = share
            run = CnnRun(
                CnnConfig.of(NETWORK), data, classes=CLASSES, epochs=1, seed=0, device="cpu",
                threads=len(os.sched_getaffinity(0)), dtype="float32",
            )  # fmt: skip
            began = time.perf_counter()
            run.step()
            speed = len(part) / (time.perf_counter() - began)
            best[name] = max(best.get(name, 0.0), speed)
            weights[name] = run.judged.state_dict()
    same = all(bool((t == weights["resident"][n]).all()) for n, t in weights["streamed"].items())
    share = best["streamed"] / best["resident"]
    return {**{k: round(v) for k, v in best.items()}, "share": round(share, 3), "same": same}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--parts", default="search,streamed")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="visiontune-") as name:
        root, runs = (told.folder or Path(name, "images")).absolute(), Path(name, "runs")
        runs.mkdir()
        made(root, told.images)
        result: dict[str, Any] = {"images": told.images, "load": os.getloadavg()}
        if "search" in told.parts:
            speeds = pillow_alone(root, 0)
            first = searched(root, runs, "first", told.side)
            ours = packing_speed(runs, told.images)
            speeds += pillow_alone(root, TIMES)
            pillow = float(np.median(speeds))
            result |= {"first": first, "second": searched(root, runs, "second", told.side)}
            result |= {"pillow": list(map(round, speeds)), "ours": round(ours)}
            result |= {"share": round(ours / pillow, 3), "memory_gib": first["memory_gib"]}
        if "streamed" in told.parts:
            result["streamed"] = trained(root, runs, told.side)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
