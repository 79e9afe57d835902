"""The program as a user types it, for tests."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parents[3]
SUPPORT = os.pathsep.join(
    str(ROOT / "tests" / "support" / room) for room in ("harm", "inputs", "searches", "servers")
)
"""Where a process of its own finds what tests share, as ``PYTHONPATH``."""
WITH_SUPPORT = os.pathsep.join([str(ROOT), SUPPORT])
"""The same and the product, or ``tests/trainables`` hides it."""
PATIENCE = 600.0
"""Seconds that anything a test waits for may take: far more than it needs, for the machine may be
busy with other things.
"""


def visiontune(
    *arguments: object, cwd: Path | None = None, timeout: float = PATIENCE
) -> subprocess.CompletedProcess[str]:
    """Run ``visiontune ARGUMENTS`` to its end."""
    return subprocess.run(
        command(*arguments), cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False
    )


def gone(pid: int) -> bool:
    """Whether a process has come to its end, waited for or not."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "search", *(str(argument) for argument in arguments)]


INSTALLED = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from search.cli import main; main()"


def installed(*arguments: object) -> list[str]:
    """The same as the installed program runs it: nothing is looked for in the working directory."""
    return [sys.executable, "-P", "-c", INSTALLED, *(str(argument) for argument in arguments)]


def typed(*arguments: object) -> subprocess.CompletedProcess[str]:
    """``visiontune ARGUMENTS`` in this process: seconds sooner, for commands that start no Ray."""
    from search.cli import main

    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["visiontune", *(str(argument) for argument in arguments)]
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        with environment_kept(), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as ended:
        status = ended.code if isinstance(ended.code, int) else 1
    finally:
        sys.argv = argv
        for number, handler in handlers.items():
            signal.signal(number, handler)
    return subprocess.CompletedProcess(sys.argv, status, out.getvalue(), err.getvalue())


WITHOUT_RAY = {
    "best",
    "cache",
    "confusion",
    "curves",
    "datasets",
    "describe",
    "evaluate",
    "explain",
    "export",
    "predict",
    "spaces",
    "status",
}


def _run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return (
        typed(*arguments)
        if arguments[0] in WITHOUT_RAY and not options
        else visiontune(*arguments, **options)
    )


def output(*arguments: object, **options: Any) -> Any:
    """What ``visiontune ARGUMENTS --json`` prints, which must succeed; of a command that starts no
    Ray, in this process.
    """
    done = _run(*arguments, "--json", **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refusal(*arguments: object, **options: Any) -> str:
    """The one line that ``visiontune ARGUMENTS`` refuses with; its status must be 2."""
    return only_line(_run(*arguments, **options))


def refused(*arguments: object) -> str:
    """``refusal`` in this process, for what is refused before Ray is started."""
    done = typed(*arguments)
    assert "ing Ray" not in done.stderr, "that is for refusal"
    return only_line(done)


def only_line(done: subprocess.CompletedProcess[str]) -> str:
    """The line that a command refused with; its status must be 2."""
    assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
    lines = [
        line
        for line in done.stderr.splitlines()
        if not line.startswith(("starting Ray", "joining Ray"))
    ]
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("visiontune: ")
    return lines[0]


@dataclass(frozen=True)
class Tracked:
    """What MLflow holds of one run: its parents, and its trials by name with every val_accuracy
    point.
    """

    parents: int
    names: list[str]
    points: dict[str, list[float]]


def tracked(runs: Path) -> Tracked:
    """What the MLflow database in ``runs`` holds."""
    import mlflow

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, about its own dependencies
        client = mlflow.MlflowClient(f"sqlite:///{runs / 'mlflow.db'}")
        experiment = client.get_experiment_by_name("visiontune")
        found = client.search_runs([experiment.experiment_id], max_results=1000)
        children = [run for run in found if "mlflow.parentRunId" in run.data.tags]
        points = {
            run.info.run_name: client.get_metric_history(run.info.run_id, "val_accuracy")
            for run in children
        }
    values = {name: [point.value for point in history] for name, history in points.items()}
    return Tracked(
        len(found) - len(children), sorted(run.info.run_name for run in children), values
    )


class Driver:
    """A search in a process of its own, to be watched and killed."""

    def __init__(self, *arguments: object, log: Path) -> None:
        self._log = log
        with open(log, "wb") as file:
            self.process = subprocess.Popen(
                command(*arguments), stdout=file, stderr=file, cwd=ROOT, start_new_session=True
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def wait_for_trials(self, run: Path, count: int, patience: float = PATIENCE) -> None:
        """Until ``count`` trials have a record."""
        end = time.monotonic() + patience
        while len(list(run.glob("trials/*/*/result.json"))) < count:
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.05)

    def ray_processes(self) -> list[psutil.Process]:
        """Every process below the driver: Ray's head, its helpers and its workers."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill_all(self) -> None:
        """SIGKILL to the driver and every Ray process at once; the driver is stopped while they are
        looked up.
        """
        os.kill(self.process.pid, signal.SIGSTOP)
        victims = self.ray_processes()
        os.kill(self.process.pid, signal.SIGKILL)
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        psutil.wait_procs(victims, timeout=PATIENCE)
        self.process.wait(PATIENCE)

    def end(self, patience: float = PATIENCE) -> int:
        return self.process.wait(patience)


@contextlib.contextmanager
def environment_kept() -> Iterator[None]:
    """The variables of this process are after the block what they were before: Ray, started within
    it, sets a dozen.
    """
    before = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    try:
        yield
    finally:
        for name in set(os.environ) - set(before) - {"PYTEST_CURRENT_TEST"}:
            del os.environ[name]
        os.environ.update(before)


def free_port(host: str = "127.0.0.1") -> int:
    """One that nobody listens at."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
