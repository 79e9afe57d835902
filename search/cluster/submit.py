"""``--submit``: a command of ours as a job of a Ray cluster, through Ray's job API.

What is sent is this program's own source, that of plug-ins and a plan, and nothing else: no images,
and no word of this machine's environment. On the cluster the job is the same command with
``--address auto``, so its driver runs on the head.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from analysis.run.provenance import LAYERS, ROOT
from search.cluster.start import ClusterError
from search.cluster.token import token_file
from spaces import plugins
from spaces.errors import on_one_line

JOBS = "http://127.0.0.1:8265"
"""Where Ray's job server is, unless the user says otherwise: on the head itself, or forwarded from
it.
"""
WITHOUT = ("__pycache__", "*.pyc")


def submit(
    words: Sequence[str],
    files: Mapping[str, str],
    address: str | None,
    runs: str,
    json_: bool = False,
) -> int:
    """Send a command, and follow what it prints until it ends or the user has seen enough.

    Args:
        words: of the command, which gets ``--runs-dir`` and ``--address`` here.
        files: name to content, of what the command reads from its working directory.
        address: of Ray's job server.
        runs: the runs directory, as the cluster is to find it.
        json_: print the job's id as JSON, and do not follow it.

    Returns:
        0 if the job has ended well, or is not followed; 1 if it has not.

    Raises:
        ClusterError: if there is no job server at that address, or it refuses the job.
    """
    if not (runs.startswith("/") or "://" in runs):
        raise ClusterError(
            "--submit wants a --runs-dir that the cluster finds too, a URI or an absolute "
            f"path, but got {runs!r}"
        )
    server = _server(address)
    client = _client(server)
    command = ["python", "-m", "search", *words, "--runs-dir", runs, "--address", "auto"]
    asked = list(_sent([*words, *files.values()]))  # modules of the working directory there
    command += [word for plugin in asked for word in ("--plugin", plugin.name)]
    with tempfile.TemporaryDirectory(prefix="visiontune-job-") as folder:
        for layer in LAYERS:
            shutil.copytree(
                ROOT / layer, Path(folder, layer), ignore=shutil.ignore_patterns(*WITHOUT)
            )
        for plugin in asked:
            target = Path(folder, plugin.source.name)
            if plugin.source.is_dir():
                shutil.copytree(plugin.source, target, ignore=shutil.ignore_patterns(*WITHOUT))
            else:
                shutil.copy(plugin.source, target)
        for name, content in files.items():
            Path(folder, name).write_text(content, encoding="utf-8")
        try:
            job = client.submit_job(
                entrypoint=shlex.join(command), runtime_env={"working_dir": folder}
            )
        except RuntimeError as error:
            raise ClusterError(
                f"--address {server}: the job was refused ({on_one_line(error)})"
            ) from error
    if json_:
        print(json.dumps({"job": job, "address": server}))
        return 0
    print(f"job        {job} on {server}", file=sys.stderr)
    print(f"to follow  ray job logs --address {server} --follow {job}", file=sys.stderr)
    print(f"to stop    ray job stop --address {server} {job}", file=sys.stderr)
    try:
        asyncio.run(_follow(client, job))
    except KeyboardInterrupt:
        print(f"job {job} goes on without being followed", file=sys.stderr)
        return 0
    except (RuntimeError, OSError) as error:
        raise ClusterError(
            f"job {job} can no longer be followed ({on_one_line(error)}); it may go on: ray job "
            f"status {job}"
        ) from error
    return 0 if client.get_job_status(job) == "SUCCEEDED" else 1


def _sent(texts: Sequence[str]) -> Iterator[plugins.Plugin]:
    """The plug-ins that go with a command: those asked for, and of the installed ones, which the
    cluster's image may lack or have in another version, those that its words name.

    Raises:
        ClusterError: naming one that cannot be sent.
    """
    named = {word for text in texts for word in re.findall(r"[\w.-]+", text)}
    for plugin in plugins.loaded():
        if not plugin.installed:
            yield plugin
        elif plugin.words & named:
            built = plugin.source.is_dir() and any(plugin.source.rglob("*.so"))
            if built or plugin.register != "register" or "." in plugin.name:
                why = "it is compiled" if built else "its entry point is no module of its own"
                raise ClusterError(
                    f"--submit cannot send plug-in {plugin.name} of an installed package: {why}; "
                    "name its file with --plugin"
                )
            yield plugin


def _server(address: str | None) -> str:
    server = (
        os.environ.get("RAY_API_SERVER_ADDRESS", JOBS)
        if address in (None, "", "auto")
        else str(address)
    )
    if not server.startswith(("http://", "https://")):
        raise ClusterError(
            f"--submit wants --address http://HOST:8265, Ray's job server, but got {server!r}"
        )
    return server.rstrip("/")


def _client(server: str) -> Any:
    if os.environ.get("RAY_AUTH_TOKEN") or token_file().is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")  # as Ray's own command line does
    os.environ["RAY_API_SERVER_ADDRESS"] = server  # Ray would prefer RAY_ADDRESS to what it is told
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(server)
    except Exception as error:  # Ray raises whatever it likes, and some of it is not public
        raise ClusterError(
            f"--address {server}: no Ray job server answers there ({on_one_line(error)}); start "
            "Ray there with ray[default], "
            "or forward its port: ray dashboard cluster.yaml"
        ) from error


async def _follow(client: Any, job: str) -> None:
    async for lines in client.tail_job_logs(job):
        print(lines, end="", flush=True)
