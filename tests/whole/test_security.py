"""What docs/security.md promises and no other test holds."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from program import PATIENCE, ROOT, command, free_port

from analysis.plan.plan import read_plan
from search.cluster.token import private_token
from search.doctor.cluster_file import read
from spaces.errors import UserError

KNOCK = (
    "from ray._raylet import GcsClient; "
    "print(len(GcsClient(address={!r}).internal_kv_keys(b'', timeout=60)))"
)


def test_every_promise_names_a_test_that_exists() -> None:
    """A promise whose test was renamed away is held by nothing."""
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "docs" / "security.md").read_text())
    assert len(named) >= 15
    files = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    missing = [
        f"{file}::{name}" for file, name in named if f"\ndef {name}(" not in files.get(file, "")
    ]
    assert missing == []


def test_ray_of_a_search_answers_only_who_has_the_token(tmp_path: Path) -> None:
    """Whoever may talk to Ray runs what they like as the user who searches, and other users reach
    loopback too.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")
    } | {"HOME": str(tmp_path)}
    code = (
        "import sys; from search.cluster.start import local_cluster\n"
        "with local_cluster(1) as ray:\n"
        "    print(ray.get_runtime_context().gcs_address, file=sys.__stdout__, flush=True); "
        "sys.stdin.read()"
    )
    start = [sys.executable, "-c", code]
    with subprocess.Popen(
        start, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as search:
        assert search.stdin is not None
        assert search.stdout is not None
        address = search.stdout.readline().strip()
        assert address.startswith("127.0.0.1:"), "nobody on another machine reaches it"
        assert _listening(search.pid) <= {"127.0.0.1", "::1"}
        knock = [sys.executable, "-c", KNOCK.format(address)]
        tries = {
            "none": {"RAY_AUTH_MODE": "disabled"},
            "wrong": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64},
            "right": {"RAY_AUTH_MODE": "token"},
        }
        done = {
            name: subprocess.run(
                knock,
                env=environment | given,
                capture_output=True,
                text=True,
                timeout=PATIENCE,
                check=False,
            )
            for name, given in tries.items()
        }
        search.stdin.close()
        search.wait(PATIENCE)
    assert {name: answer.returncode for name, answer in done.items()} == {
        "none": 1,
        "wrong": 1,
        "right": 0,
    }, done
    assert "auth" in done["none"].stderr.lower()
    assert (tmp_path / ".ray" / "auth_token").stat().st_mode & 0o077 == 0


def test_a_token_that_others_could_read_is_closed_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray itself writes its token for everybody to read."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    private_token()
    token = tmp_path / ".ray" / "auth_token"
    made = token.read_text()
    assert len(made) == 64
    assert os.listdir(token.parent) == ["auth_token"]
    token.chmod(0o644)
    private_token()
    assert token.read_text() == made
    assert token.stat().st_mode & 0o777 == 0o600


def test_a_token_is_its_owner_s_alone_from_its_first_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads it in the instant before it is closed has it for ever; and nobody's file but
    our own is made or opened.
    """
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    link, seen = os.link, list[int]()

    def linking(source: str, target: Path) -> None:
        seen.append(os.stat(source).st_mode & 0o777)
        link(source, target)

    monkeypatch.setattr(os, "link", linking)
    before = os.umask(0)
    try:
        private_token()
    finally:
        os.umask(before)
    folder = tmp_path / ".ray"
    assert seen == [0o600]
    assert folder.stat().st_mode & 0o777 == 0o700
    made = (folder / "auth_token").read_text()
    (folder / "auth_token").unlink()
    private_token()
    assert (folder / "auth_token").read_text() != made, "drawn anew, not made from anything"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "given"))
    private_token()
    assert not (tmp_path / "given").exists(), "who gives a path gives the file"
    (tmp_path / "given").write_text("0" * 64)
    (tmp_path / "given").chmod(0o640)
    private_token()
    assert (tmp_path / "given").stat().st_mode & 0o777 == 0o600
    monkeypatch.setenv("RAY_AUTH_TOKEN", "1" * 64)
    (folder / "auth_token").unlink()
    private_token()
    assert os.listdir(folder) == []


def test_a_token_that_another_search_made_first_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two searches begin at once: with two tokens the first one's workers would be refused."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    link = os.link

    def linking(source: str, target: Path) -> None:
        target.write_text("theirs")
        link(source, target)

    monkeypatch.setattr(os, "link", linking)
    private_token()
    assert (tmp_path / ".ray" / "auth_token").read_text() == "theirs"
    assert os.listdir(tmp_path / ".ray") == ["auth_token"]


@pytest.mark.parametrize("reader", [read_plan, read], ids=["plan", "cluster file"])
def test_a_yaml_file_cannot_run_anything(reader: Callable[[Path], object], tmp_path: Path) -> None:
    """Plans are passed around; YAML can name Python calls."""
    proof = tmp_path / "it-ran"
    file = tmp_path / "file.yaml"
    file.write_text(f"dataset: !!python/object/apply:os.mkdir ['{proof}']\n")
    with pytest.raises(UserError, match="YAML file"):
        reader(file)
    assert not proof.exists()


@pytest.mark.slow
def test_the_ui_listens_on_loopback_alone(tmp_path: Path) -> None:
    """MLflow asks nobody who they are."""
    make = (
        "import sys, pathlib; from search.tracking.connection import connect; "
        "connect(sys.argv[1], "
        "pathlib.Path(sys.argv[2]))"
    )
    subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            make,
            f"sqlite:///{tmp_path / 'mlflow.db'}",
            tmp_path,
        ],
        cwd=ROOT,
        check=True,
    )
    start = command("ui", "--runs-dir", tmp_path, "--port", free_port())
    server = subprocess.Popen(
        start,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        found: set[str] = set()
        for _ in range(3000):
            found = _listening(server.pid)
            if found:
                break
            assert server.poll() is None
            time.sleep(0.1)
        time.sleep(1)  # for whoever might listen later
        assert found | _listening(server.pid) == {"127.0.0.1"}
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait(PATIENCE)


def _listening(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            with contextlib.suppress(psutil.NoSuchProcess):
                found |= {
                    item.laddr.ip.removeprefix("::ffff:")
                    for item in process.net_connections("inet")
                    if item.status == psutil.CONN_LISTEN
                }
    return found
