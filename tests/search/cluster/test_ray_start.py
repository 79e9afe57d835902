"""Ray's start where little is as it should be: on a busy machine, without a home, without room for
its files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
from program import ROOT, command, installed, typed

TOY = ("run", "--space", "toy", "--trials", 2, "--set", "fault=none", "--no-tracking")


def at_start_of(script: str, do: str, folder: Path) -> dict[str, str]:
    """An environment in which every Python process of Ray's that runs ``script`` does something
    before anything else.
    """
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(
        f"import sys, os, time\nif any({script!r} in word for word in sys.orig_argv):\n    {do}\n"
    )
    return {"PYTHONPATH": str(folder)}


def begun(runs: Path, environment: Mapping[str, str], *words: object) -> subprocess.Popen[str]:
    where = {"cwd": ROOT, "env": {**os.environ, **environment}, "text": True}
    return subprocess.Popen(
        command(*TOY, *words, "--runs-dir", runs),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **where,
    )  # type: ignore[call-overload, no-any-return]


def said(search: subprocess.Popen[str]) -> tuple[int, list[str]]:
    """How it ended, and what it said on standard error beside how far it was."""
    _, err = search.communicate(timeout=400)
    return search.returncode, [
        line
        for line in err.splitlines()
        if not line.startswith(("starting Ray", "0/2", "1/2", "2/2"))
    ]


@pytest.mark.slow
def test_two_searches_begun_at_once_finish_though_rays_agent_is_slow(tmp_path: Path) -> None:
    """Ray gives up after 15 s on an agent for figures that nobody reads; two searches at once on
    two cores are enough for that.
    """
    slow = at_start_of("dashboard/agent.py", "time.sleep(30)", tmp_path / "slow")
    searches = [begun(tmp_path / "runs", slow, "--name", name) for name in ("one", "two")]
    assert [said(search) for search in searches] == [(0, []), (0, [])]


@pytest.mark.slow
@pytest.mark.parametrize("script", ["runtime_env/agent/main.py", "workers/default_worker.py"])
def test_a_search_waits_for_whatever_ray_starts_slowly(script: str, tmp_path: Path) -> None:
    """Loading Python from a cold disk takes a minute."""
    slow = at_start_of(script, "time.sleep(40)", tmp_path / "slow")
    assert said(begun(tmp_path / "runs", slow)) == (0, [])


def test_a_search_begins_though_one_of_ray_s_first_workers_dies(tmp_path: Path) -> None:
    """A worker whose start takes too long on a busy machine gives up, and Ray told the driver of
    the cluster only once as many workers as cores had come: it waited for ever, deaf to Ctrl-C.
    """
    died = str(tmp_path / "died")
    once = f"os.path.exists({died!r}) or (open({died!r}, 'w').close(), os._exit(1))"
    dies = at_start_of("workers/default_worker.py", once, tmp_path / "dies")
    assert said(begun(tmp_path / "runs", dies)) == (0, [])
    assert Path(died).exists()


def test_workers_wait_for_ray_though_the_driver_looks_again_and_again(tmp_path: Path) -> None:
    """The driver asks Ray in short turns, to hear of Ctrl-C; a worker that did so would give up at
    the first turn in which a busy machine is slow.
    """
    told = tmp_path / "told"
    note = f"open({str(told)!r}, 'a').write(os.environ['RAY_raylet_start_wait_time_s'] + ' ')"
    looks = at_start_of("workers/default_worker.py", note, tmp_path / "looks")
    assert said(begun(tmp_path / "runs", looks)) == (0, [])
    assert set(told.read_text().split()) == {"300"}


@pytest.mark.slow
def test_ray_that_fails_once_is_started_again(tmp_path: Path) -> None:
    """What killed a process of Ray's (too little memory, say) may be over a moment later."""
    once = (
        f"if not os.path.exists({str(tmp_path / 'died')!r}): "
        f"open({str(tmp_path / 'died')!r}, 'w'), os._exit(1)"
    )
    assert said(
        begun(tmp_path / "runs", at_start_of("runtime_env/agent/main.py", once, tmp_path / "once"))
    ) == (0, [])
    assert (tmp_path / "died").exists()


@pytest.mark.slow
def test_ray_that_cannot_start_is_told_in_one_line(tmp_path: Path) -> None:
    """Ray's own words are a traceback, and those of threads that are cut short some forty lines
    more.
    """
    search = begun(
        tmp_path / "runs",
        at_start_of("runtime_env/agent/main.py", "os._exit(1)", tmp_path / "never"),
    )
    status, lines = said(search)
    assert status == 1
    assert len(lines) == 1, lines
    assert "Ray does not start on this machine" in lines[0]
    assert "cores" in lines[0]
    assert "/logs" in lines[0]
    assert not any(
        f"_{search.pid}/" in " ".join(process.info["cmdline"] or ())
        for process in psutil.process_iter(["cmdline"])
    )
    assert not list((tmp_path / "runs").iterdir())


def test_a_search_needs_no_home(tmp_path: Path) -> None:
    """Containers run as users that have none; Ray would write its token there."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")
    } | {"HOME": "/proc/none"}
    words = installed(*TOY, "--runs-dir", tmp_path / "runs")
    done = subprocess.run(
        words,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("setpriv"), reason="only root may become somebody else"
)
def test_a_search_and_mlflow_need_no_user_that_the_system_knows(tmp_path: Path) -> None:
    """Containers may run under any number, which has neither a name nor a home."""
    (runs := tmp_path / "runs").mkdir()
    runs.chmod(0o777)
    somebody = (
        "setpriv",
        "--reuid=54321",
        "--regid=54321",
        "--clear-groups",
        "--inh-caps=+dac_read_search",
        "--ambient-caps=+dac_read_search",
    )
    environment = {
        name: value for name, value in os.environ.items() if name not in ("HOME", "USER", "LOGNAME")
    }
    words = [*somebody, *installed(*TOY[:-1], "--runs-dir", runs, "--json")]
    done = subprocess.run(
        words, cwd=runs, env=environment, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tracking_error"] == ""


@pytest.mark.parametrize(
    ("name", "place", "words"),
    [
        ("TMPDIR", "/tmp/" + "long/" * 12, ("too many", "set RAY_TMPDIR")),
        ("RAY_TMPDIR", "/tmp/" + "ü" * 30, ("too many", "set RAY_TMPDIR")),
        ("TMPDIR", "/proc/none", ("cannot be written", "set RAY_TMPDIR")),
    ],
)
def test_a_folder_that_is_not_fit_for_rays_files_is_told_with_what_to_set(
    name: str, place: str, words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray says it after a minute, or not at all."""
    for other in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(other, raising=False)
    monkeypatch.setenv(name, place)
    done = typed(*TOY, "--runs-dir", tmp_path / "runs")
    lines = [line for line in done.stderr.splitlines() if not line.startswith("starting Ray")]
    assert (done.returncode, len(lines)) == (2, 1), done.stderr
    assert all(word in lines[0] for word in (*words, place.rstrip("/")))


def test_a_full_folder_for_rays_files_is_told_with_what_to_set(tmp_path: Path) -> None:
    """A small or full /tmp is common in containers; Ray's processes die of it in silence."""
    mount = (
        f"mount -t tmpfs -o size=1m none /mnt && exec {sys.executable} -m search "
        f"{' '.join(map(str, TOY))} --runs-dir {tmp_path}"
    )
    done = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", mount],
        cwd=ROOT, env={**os.environ, "RAY_TMPDIR": "/mnt"}, capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(f"no file system may be mounted here: {done.stderr.strip()}")
    assert done.returncode == 2, done.stderr
    assert "No space left on device" in done.stderr
    assert "set RAY_TMPDIR" in done.stderr


def test_a_working_directory_that_was_deleted_is_named(tmp_path: Path) -> None:
    """A folder may be deleted from another terminal; Python's own word for it is a traceback
    without a path.
    """
    code = (
        "import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone'); "
        f"os.execv({sys.executable!r}, {installed('status', 'x')!r})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "the working directory is not there any more" in done.stderr
