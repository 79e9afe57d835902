"""A registered bundle is served by MLflow as ``predict`` answers, and a network runs in
onnxruntime.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import copied
from PIL import Image
from program import PATIENCE, ROOT, free_port, output, refusal, typed, visiontune

from benchmarks.photographs import pieces
from benchmarks.tracking import kill_tree

pytestmark = pytest.mark.filterwarnings("ignore::Warning")  # MLflow's own, of its own dependencies


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three digits as PNG files."""
    from trainables.data import read_dataset

    test = read_dataset("digits").test
    assert test is not None
    paths = [tmp_path_factory.mktemp("pictures") / f"{index}.png" for index in range(3)]
    for index, path in enumerate(paths):
        Image.fromarray(test.images[index]).save(path)
    return paths


@pytest.fixture(scope="module")
def own_mlflow(digits_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of ``digits_runs`` to register in."""
    return copied(digits_runs, tmp_path_factory.mktemp("registered") / "runs")


@pytest.fixture(scope="module")
def registered(own_mlflow: Path) -> tuple[Path, dict[str, Any]]:
    """(bundle, what export said) of the best of ``first``, registered as ``digits``."""
    bundle = own_mlflow.parent / "bundle"
    done = typed(
        "export",
        "first",
        "--runs-dir",
        own_mlflow,
        "--out",
        bundle,
        "--register",
        "digits",
        "--json",
    )
    assert done.returncode == 0, done.stderr
    assert [
        line for line in done.stderr.splitlines() if not line.startswith("waiting for MLflow")
    ] == [], "a busy machine is waited for"
    return bundle, json.loads(done.stdout)


def test_a_registered_bundle_answers_as_predict(
    registered: tuple[Path, dict[str, Any]], own_mlflow: Path, pictures: list[Path]
) -> None:
    """Whoever asks the registry for the best must get what was exported, and see where it comes
    from.
    """
    import mlflow
    import pandas as pd

    bundle, said = registered
    assert (said["registered"], said["version"]) == ("digits", 1)
    uri = f"sqlite:///{own_mlflow / 'mlflow.db'}"
    client = mlflow.MlflowClient(uri)
    version = client.get_model_version_by_alias("digits", "best")
    trial = client.get_run(version.run_id)
    assert trial.info.run_name == said["trial"]
    assert trial.info.status == "FINISHED"
    assert f"accuracy {said['val_accuracy']:.4f}" in version.description
    mlflow.set_tracking_uri(uri)
    model = mlflow.pyfunc.load_model("models:/digits@best")
    assert {item.name for item in model.metadata.get_input_schema()} == {"image"}
    assert {item.name for item in model.metadata.get_output_schema()} == {"class", "scores"}
    answers = model.predict(pd.DataFrame({"image": [path.read_bytes() for path in pictures]}))
    wanted = json.loads(typed("predict", bundle, *pictures, "--json").stdout)
    assert [{"class": row["class"], "scores": row["scores"]} for row in wanted] == answers


@pytest.mark.usefixtures("registered")
def test_the_registered_model_pins_what_it_needs(own_mlflow: Path) -> None:
    """A server elsewhere installs these, and must get the versions that the accuracy was measured
    with.
    """
    (found,) = (own_mlflow / "mlartifacts").glob("models/*/artifacts/requirements.txt")
    lines = found.read_text().split()
    assert all("==" in line for line in lines)
    assert {"numpy", "scipy", "faiss-cpu", "pydantic", "mlflow"} <= {
        line.partition("==")[0] for line in lines
    }
    model = found.parent
    assert (model / "code" / "trainables" / "knn" / "pipeline.py").is_file()
    assert [path.name for path in model.rglob("*.pkl")] == []


def test_a_registry_that_is_away_is_met_before_the_export(own_runs: Path, tmp_path: Path) -> None:
    """A long refit must not end with a server that was down all the time."""
    plan = own_runs / "first" / "plan.yaml"
    plan.write_text(plan.read_text().replace("uri: null", "uri: http://127.0.0.1:9"))
    said = refusal(
        "export", "first", "--runs-dir", own_runs, "--out", tmp_path / "out", "--register", "digits"
    )
    assert "MLflow at http://127.0.0.1:9 cannot be used" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_mlflow_serves_a_registered_bundle(
    registered: tuple[Path, dict[str, Any]], own_mlflow: Path, pictures: list[Path]
) -> None:
    """`mlflow models serve` is how a model gets behind a URL: JSON with base64 in, classes out,
    without visiontune installed.
    """
    bundle, _ = registered
    answer = served("models:/digits@best", own_mlflow, pictures)
    wanted = output("predict", bundle, *pictures, cwd=ROOT)
    assert answer["predictions"] == [
        {"class": row["class"], "scores": row["scores"]} for row in wanted
    ]


@pytest.mark.slow
def test_mlflow_serves_a_head_on_a_pretrained_network(tmp_path: Path) -> None:
    """The network goes into the model with its head: a server needs neither file nor network."""
    photographs = pieces(tmp_path / "photographs", 12)
    run = ("run", "--space", "embedding", "--dataset", f"folder:{photographs}", "--name", "e")
    done = visiontune(*run, "--trials", 2, "--set", "side=64", "--runs-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    export = ("export", "e", "--runs-dir", tmp_path, "--out", tmp_path / "bundle")
    done = typed(*export, "--register", "heads")
    assert done.returncode == 0, done.stderr
    pictures = sorted(photographs.glob("train/*/1*.png"))
    answer = served("models:/heads@best", tmp_path, pictures)
    wanted = output("predict", tmp_path / "bundle", *pictures, cwd=ROOT)
    assert [row["class"] for row in answer["predictions"]] == [row["class"] for row in wanted]
    for row, other in zip(answer["predictions"], wanted, strict=True):
        assert row["scores"] == pytest.approx(other["scores"], abs=1e-5)


def served(model: str, runs: Path, pictures: list[Path]) -> Any:
    """What `mlflow models serve` answers for pictures, without visiontune installed."""
    port = free_port()
    serve = ["serve", "-m", model, "--env-manager", "local", "--port", str(port)]
    command = [sys.executable, "-m", "mlflow", "models", *serve]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # it starts uvicorn by name
    environment = {
        **os.environ,
        "MLFLOW_TRACKING_URI": f"sqlite:///{runs / 'mlflow.db'}",
        "PYTHONPATH": "",
        "PATH": path,
    }
    with open(runs / "serve.log", "wb") as log:
        server = subprocess.Popen(
            command,
            env=environment,
            cwd=runs,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    records = [{"image": base64.b64encode(path.read_bytes()).decode()} for path in pictures]
    try:
        return _ask(
            f"http://127.0.0.1:{port}/invocations",
            {"dataframe_records": records},
            server,
            runs / "serve.log",
        )
    finally:
        kill_tree(server)


def _ask(
    url: str,
    body: dict[str, Any],
    server: subprocess.Popen[bytes],
    log: Path,
    patience: float = PATIENCE,
) -> Any:
    end = time.monotonic() + patience
    request = urllib.request.Request(
        url, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    while True:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(error.read().decode()) from error
        except OSError:
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.5)


def network_bundle(folder: Path) -> Path:
    """A bundle of a small network that was never trained."""
    import torch

    from analysis.bundle.bundle import write_bundle
    from analysis.bundle.cnn import read_cnn
    from analysis.bundle.facts import BundleFacts, Preprocessing
    from analysis.run.records import Measured
    from spaces import CnnConfig
    from trainables.cnn import weights
    from trainables.cnn.models import build

    config = CnnConfig(model="fastnet", width=0.125, test_flip=True, test_shift=1)
    values = asdict(config)
    torch.manual_seed(0)
    mean, std = (120.0, 121.0, 122.0), (60.0, 61.0, 62.0)
    use = weights.NetworkUse(
        size=32, classes=3, mean=mean, std=std, dtype="float32", device="cpu", threads=1, epoch=1
    )
    file = weights.pack(build(config.model, 3, 32, config.tweaks()).state_dict(), use)
    measured = Measured(
        split="val", n=1, scheme="none", accuracy=1, balanced_accuracy=1, macro_f1=1
    )
    seen = Preprocessing(color="rgb", max_side=512, size=32, mean=use.mean, std=use.std)
    facts = BundleFacts(
        format=1, kind="cnn", space="cnn", config=values, classes=("a", "b", "c"),
        preprocessing=seen, val=measured, test=None,
        test_evaluations=0, seed=0, versions={}, dataset="none", fingerprint="",
        test_fingerprint=None, trial="x: cnn/0", model_sha256="",
    )  # fmt: skip
    folder.mkdir()
    write_bundle(folder, read_cnn(folder, facts, file))
    return folder


def test_a_network_gives_the_same_scores_in_onnxruntime_for_any_number_of_images(
    tmp_path: Path,
) -> None:
    """What runs on a phone must be what was measured; a batch size frozen by the export is found
    out there, too late.
    """
    pytest.importorskip("onnxscript", reason="needs visiontune[onnx]")
    import onnxruntime

    from analysis.bundle.bundle import read_bundle
    from analysis.graphs.onnx import TOLERANCE, write_onnx
    from trainables.data import Images

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's own, about its own exporter
        bundle = network_bundle(tmp_path / "bundle")
        assert write_onnx(bundle) <= TOLERANCE
    assert {path.name for path in bundle.iterdir()} == {
        "bundle.json",
        "model.safetensors",
        "model.onnx",
    }
    session = onnxruntime.InferenceSession(
        str(bundle / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    pixels = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    _, wanted = read_bundle(bundle).scores_of(Images.from_arrays(list(pixels)))
    for n in (1, 5):
        (scores,) = session.run(["scores"], {"images": pixels[:n].transpose(0, 3, 1, 2)})
        np.testing.assert_allclose(scores, wanted[:n], atol=TOLERANCE)
        np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_onnx_refuses_a_knn_classifier_in_one_line(digits_runs: Path, tmp_path: Path) -> None:
    """There is no network in it; saying so beats a file that does something else."""
    said = refusal(
        "export",
        "first",
        "--trial",
        "tiny-image/0",
        "--onnx",
        "--runs-dir",
        digits_runs,
        "--out",
        tmp_path / "out",
    )
    assert "--onnx is for networks, but trial tiny-image/0 is a kNN classifier" in said
    assert not (tmp_path / "out").exists()
