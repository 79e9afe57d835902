"""Machines of a cluster on one machine: network namespaces with addresses of their own behind a
bridge, and Ray nodes in them.

Needs root and iproute2. The network is apart, and the folder in which Ray keeps what it does; all
other files are shared. There is one such network on a machine at a time: whoever wants another
waits for it, and clears away what one left that was killed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = [str(ROOT / "tests" / "support" / room) for room in ("inputs", "searches", "servers")]
"""Where what tests share is found: a server of S3, photographs."""
RAY = str(Path(sys.executable).with_name("ray"))
NET = "10.213.0"
BRIDGE = f"{NET}.254"
PORT = 6379
PATIENCE = 600.0
"""Seconds for a Ray node to start: the machine may be busy."""
OBJECT_STORE_BYTES = 100 * 1024**2
"""Of each node: many share one machine's memory."""
LOCK = Path(tempfile.gettempdir()) / "visiontune-network.lock"
"""Held by whoever has made the bridge; a dead process does not."""


def missing() -> str:
    """Why no namespaces can be made here; empty if they can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip"):
        return "the command ip is missing (Debian: apt-get install iproute2)"
    probe = f"probe-{os.getpid()}"
    tried = subprocess.run(
        ["ip", "netns", "add", probe], capture_output=True, text=True, check=False
    )
    if tried.returncode:
        return f"no network namespace can be made: {tried.stderr.strip()}"
    _ip("netns", "delete", probe)
    return ""


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def _clear() -> None:
    """Remove what is left of a network whose maker was killed, with all that runs in it."""
    for name in [
        line.split()[0] for line in _ip("netns", "list").splitlines() if line.startswith("vt-")
    ]:
        for process in _ip("netns", "pids", name).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), signal.SIGKILL)
        _ip("netns", "delete", name)
    with contextlib.suppress(subprocess.CalledProcessError):  # there is none, as there should be
        _ip("link", "delete", "vt-bridge")


@dataclass
class Node:
    """One namespace and the Ray node in it; ``ray`` is what it finds at ``/tmp/ray``."""

    name: str
    address: str
    environment: Mapping[str, str]
    ray: Path
    process: subprocess.Popen[bytes] | None = None

    def inside(self, *command: str) -> list[str]:
        """A command as it is run in this namespace; what it mounts is seen by nobody else."""
        return [
            "ip",
            "netns",
            "exec",
            self.name,
            "sh",
            "-c",
            'mount --bind "$0" /tmp/ray && exec "$@"',
            str(self.ray),
            *command,
        ]

    def run(self, *command: str, log: Path) -> subprocess.Popen[bytes]:
        """A process in this namespace, in a session of its own."""
        with open(log, "ab") as file:
            return subprocess.Popen(
                self.inside(*command),
                stdout=file,
                stderr=file,
                cwd=ROOT,
                env=dict(self.environment),
                start_new_session=True,
            )

    def output(self, *command: str) -> str:
        """What a command in this namespace prints; a failure says its errors."""
        done = subprocess.run(
            self.inside(*command),
            capture_output=True,
            text=True,
            cwd=ROOT,
            env=dict(self.environment),
            check=False,
        )
        if done.returncode:
            raise RuntimeError(
                f"{' '.join(command)} in {self.name} ended with {done.returncode}: "
                f"{done.stderr[-2000:]}"
            )
        return done.stdout

    def kill(self) -> None:
        """SIGKILL to every process of the Ray node, as a power cut."""
        if self.process is None:
            return
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in [
                psutil.Process(self.process.pid),
                *psutil.Process(self.process.pid).children(recursive=True),
            ]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
        self.process.wait(30)
        self.process = None


@dataclass
class Nodes:
    """A head without CPUs, and the workers that were added.

    Attributes:
        scratch: for logs and whatever else; removed at the end.
    """

    scratch: Path
    environment: dict[str, str]
    head: Node = field(init=False)
    made: list[Node] = field(default_factory=list)

    def start(self, *, job_server: bool) -> None:
        """The head."""
        self.head = self._make("vt-head", 1)
        self._ray(
            self.head,
            "--head",
            f"--port={PORT}",
            "--num-cpus=0",
            "--num-gpus=0",
            f"--include-dashboard={job_server}",
        )

    def add(self, number: int, cpus: int = 2, gpus: int = 1) -> Node:
        """A worker whose address ends with ``number``; its GPUs are declared, there need not be
        any.
        """
        node = self._make(f"vt-{number}", number)
        own = json.dumps({"network_cores": cpus})
        self._ray(
            node,
            f"--address={self.head.address}:{PORT}",
            f"--num-cpus={cpus}",
            f"--num-gpus={gpus}",
            f"--resources={own}",
        )
        return node

    def _make(self, name: str, number: int) -> Node:
        address, wire = f"{NET}.{number}", f"vt-w{number}"
        _ip("netns", "add", name)
        node = Node(
            name,
            address,
            self.environment
            | {
                "VISIONTUNE_WORK": str(self.scratch / name),
                "VISIONTUNE_DATA": str(self.scratch / f"{name}-data"),
            },
            self.scratch / f"{name}-ray",
        )
        for folder in (node.ray, Path("/tmp/ray")):
            folder.mkdir(exist_ok=True)
        self.made.append(node)
        _ip("link", "add", wire, "type", "veth", "peer", "name", "eth0", "netns", name)
        _ip("link", "set", wire, "master", "vt-bridge", "up")
        for words in (
            ("address", "add", f"{address}/24", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
            ("link", "set", "lo", "up"),
            ("route", "add", "default", "via", BRIDGE),
        ):
            _ip("-n", name, *words)
        return node

    def _ray(self, node: Node, *options: str) -> None:
        own = (
            f"--node-ip-address={node.address}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            "--disable-usage-stats",
            "--block",
        )
        log = self.scratch / f"{node.name}.log"
        node.process = node.run(RAY, "start", *options, *own, log=log)
        end = time.monotonic() + PATIENCE
        while "Ray runtime started" not in log.read_text():
            if node.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(
                    f"the Ray node {node.name} did not start: {log.read_text()[-2000:]}"
                )
            time.sleep(0.2)

    def close(self) -> None:
        """End every process, and remove the namespaces."""
        for node in reversed(self.made):
            node.kill()
            with contextlib.suppress(subprocess.CalledProcessError):
                _ip("netns", "delete", node.name)


@contextlib.contextmanager
def bridge() -> Iterator[str]:
    """What joins the namespaces, with an address of its own; gives that. Waits until nobody else
    has one.
    """
    with open(LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _clear()
        _ip("link", "add", "vt-bridge", "type", "bridge")
        try:
            _ip("address", "add", f"{BRIDGE}/24", "dev", "vt-bridge")
            _ip("link", "set", "vt-bridge", "up")
            yield BRIDGE
        finally:
            _ip("link", "delete", "vt-bridge")


@contextlib.contextmanager
def nodes(environment: Mapping[str, str], *, job_server: bool = False) -> Iterator[Nodes]:
    """A Ray head behind the ``bridge`` that asks for a token, with or without its job server; all
    is removed at the end.
    """
    scratch = Path(tempfile.mkdtemp(prefix="visiontune-nodes-"))
    token = scratch / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    own = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "PYTHONPATH": str(ROOT),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    made = Nodes(scratch, {**os.environ, **environment, **own})
    try:
        made.start(job_server=job_server)
        yield made
    finally:
        made.close()
        shutil.rmtree(scratch, ignore_errors=True)
