"""``--submit``: a search as a job of a cluster, sent from outside it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from program import PATIENCE, ROOT, free_port, refused, visiontune

from analysis.run.directory import RunDirectory
from search.cluster.start import ClusterError

TOY = ("--space", "toy", "--set", "steps=2", "--set", "pause=0.1", "--trials", "3", "--no-tracking")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "wants a --runs-dir that the cluster finds too"),
        (
            ("--runs-dir", "/tmp/none", "--address", "127.0.0.1:6379"),
            "wants --address http://HOST:8265",
        ),
        (
            ("--runs-dir", "/tmp/none", "--address", "http://127.0.0.1:9"),
            "no Ray job server answers there",
        ),
    ],
)
def test_what_cannot_be_submitted_is_refused_in_one_line(
    options: tuple[str, ...], said: str
) -> None:
    """A relative runs directory would lie in the job's own folder, which the cluster removes."""
    assert said in refused("run", *TOY, "--submit", *options)


class Jobs:
    """Stands for Ray's job server, which the slow tests below send to: keeps what it is sent."""

    def __init__(self) -> None:
        self.entrypoint, self.files, self.environment = "", list[str](), dict[str, Any]()

    def submit_job(self, entrypoint: str, runtime_env: dict[str, Any]) -> str:
        folder = Path(runtime_env["working_dir"])
        self.entrypoint, self.environment = entrypoint, runtime_env
        self.files = sorted(
            path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
        )
        return "job-1"


def test_what_is_sent_is_our_source_and_the_plan_and_nothing_of_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The cluster is others': neither images nor environment nor tests go there, and the driver
    runs on its head.
    """
    from search.cluster import submit

    jobs = Jobs()
    monkeypatch.setattr(submit, "_client", lambda server: jobs)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    assert (
        submit.submit(
            ["run", "--plan", "it is's.yaml"],
            {"it is's.yaml": "spaces: [toy]\n"},
            "http://head:8265/",
            "s3://bucket/runs",
            True,
        )
        == 0
    )
    assert shlex.split(jobs.entrypoint) == [
        *(
            "python",
            "-m",
            "search",
            "run",
            "--plan",
            "it is's.yaml",
            "--runs-dir",
            "s3://bucket/runs",
            "--address",
            "auto",
        )
    ]
    assert {name.partition("/")[0] for name in jobs.files} == {
        "it is's.yaml",
        "analysis",
        "search",
        "spaces",
        "trainables",
    }
    assert {"search/cluster/submit.py", "trainables/cnn/run.py"} <= set(jobs.files)
    assert not [name for name in jobs.files if name.endswith(".pyc")]
    assert list(jobs.environment) == ["working_dir"]


def plug_in(folder: Path) -> Path:
    """The one that the guide prints."""
    guide = (ROOT / "docs" / "guide" / "plugins.md").read_text(encoding="utf-8")
    path = folder / "mine.py"
    path.write_text(guide.split("```python\n")[1].split("```")[0])
    return path


def test_a_plug_in_is_sent_with_the_job(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lies on this machine alone, and its name means nothing there."""
    from search.cluster import submit
    from spaces import plugins

    jobs = Jobs()
    monkeypatch.setattr(submit, "_client", lambda server: jobs)
    plugins.load([str(plug_in(tmp_path))], installed=False)
    try:
        assert submit.submit(["resume", "x"], {}, "http://head:8265", "s3://b/runs", True) == 0
    finally:
        plugins.unload_all()
    assert shlex.split(jobs.entrypoint)[3:] == [
        "resume", "x", "--runs-dir", "s3://b/runs", "--address", "auto", "--plugin", "mine",
    ]  # fmt: skip
    assert "mine.py" in jobs.files


@pytest.mark.parametrize(
    ("words", "changes", "sent"),
    [
        (["resume", "x"], {}, False),
        (["run", "--objective", "worst_recall"], {}, True),
        (["run", "--set", "metric=canberra,cityblock"], {}, True),
        (["run", "--set", "metric=canberra"], {"register": "other"}, None),
    ],
)
def test_an_installed_plug_in_is_sent_where_its_names_are_used_or_refused_by_name(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    changes: dict[str, str],
    sent: bool | None,
) -> None:
    """The image may lack it: the job would end with a name that nobody there knows."""
    from search.cluster import submit
    from spaces import plugins

    jobs = Jobs()
    monkeypatch.setattr(submit, "_client", lambda server: jobs)
    plugins.load([str(plug_in(tmp_path))], installed=False)
    try:
        found = replace(plugins.loaded()[0], installed=True, **changes)  # type: ignore[arg-type]
        monkeypatch.setitem(plugins._loaded, "mine", found)
        if sent is None:
            with pytest.raises(ClusterError, match="cannot send plug-in mine of an installed"):
                submit.submit(words, {}, "http://head:8265", "s3://b/runs", True)
            return
        assert submit.submit(words, {}, "http://head:8265", "s3://b/runs", True) == 0
    finally:
        plugins.unload_all()
    assert ("mine.py" in jobs.files) == ("--plugin mine" in jobs.entrypoint) == sent


@pytest.mark.slow
def test_a_job_searches_with_a_plug_in(job_server: str, tmp_path: Path) -> None:
    """What is sent must be found by the driver there, and by its workers."""
    run = ("run", "--space", "tiny-image", "--set", "metric=canberra", "--dataset", "stripes:60")
    done = visiontune(
        *run, "--plugin", plug_in(tmp_path), "--objective", "worst_recall", "--trials", 2,
        "--no-tracking", "--name", "own", "--submit", "--address", job_server,
        "--runs-dir", tmp_path / "runs", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    records = RunDirectory(tmp_path / "runs" / "own").records()
    assert [record.state for record in records] == ["COMPLETE"] * 2


@pytest.fixture(scope="module")
def job_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Ray with its job server, started as a user starts it, on loopback."""
    port = free_port()
    own = {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "PYTHONPATH": "",
    }
    environment = os.environ | own | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2",
        "--node-ip-address=127.0.0.1",
        f"--port={free_port()}", f"--dashboard-port={port}", "--dashboard-host=127.0.0.1",
        "--disable-usage-stats",
    ]  # fmt: skip
    log = tmp_path_factory.mktemp("ray") / "log"
    with open(log, "wb") as out:
        head = subprocess.Popen(
            command,
            env=environment,
            stdout=out,
            stderr=out,
            cwd=tmp_path_factory.mktemp("elsewhere"),
        )
    try:
        assert _listens(port, head), log.read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        head.send_signal(signal.SIGTERM)  # which ends all that it started
        head.wait(PATIENCE)


@pytest.mark.slow
def test_a_search_runs_as_a_job_and_is_followed_to_its_end(job_server: str, tmp_path: Path) -> None:
    """The user's machine sends source and plan; where the driver runs nothing of this checkout is
    known.
    """
    done = visiontune(
        "run", *TOY, "--submit", "--address", job_server, "--runs-dir", tmp_path, "--name", "sent"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3/3 trials" in done.stdout, "progress is to be read in the job's log"
    assert "ray job stop" in done.stderr
    folder = RunDirectory(tmp_path / "sent")
    assert [record.state for record in folder.records()] == ["COMPLETE"] * 3
    code = json.loads((folder.path / "provenance.json").read_text())[0]["code"]
    assert set(code) >= {"search/cluster/submit.py", "trainables/learners/toy.py"}, (
        "the source that was sent"
    )
    again = visiontune(
        "resume", "sent", "--submit", "--address", job_server, "--runs-dir", tmp_path, "--json"
    )
    assert json.loads(again.stdout)["address"] == job_server


@pytest.mark.slow
def test_a_job_that_fails_is_said_to_have_failed(job_server: str, tmp_path: Path) -> None:
    """A script that submits goes by the exit status."""
    words = (
        "run",
        "--space",
        "tiny-image",
        "--dataset",
        f"folder:{tmp_path / 'absent'}",
        "--trials",
        "1",
        "--submit",
    )
    done = visiontune(*words, "--address", job_server, "--runs-dir", tmp_path / "runs")
    assert done.returncode == 1
    assert "no such folder" in done.stdout


def _listens(port: int, head: subprocess.Popen[bytes]) -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and head.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.2)
    return False
