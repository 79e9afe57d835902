"""The commands of docs/cluster.md, typed as they stand there.

    python benchmarks/cluster/documented.py

A head with Ray's job server and two workers in network namespaces (``network_nodes``), and an S3
server (moto) on the bridge. Every line of the page's code blocks is given to a shell in the head's
namespace; ``RUN`` is the run before it, ``plan.yaml`` a plan of four trials. What needs Docker,
Kubernetes, a cloud or other machines is printed as left. ``ray up cluster.yaml`` must end with the
cloud's question for credentials, everything else with status 0. Ends with status 1 if one does not.
Needs root.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from namespaces import SKIPPED, say
from network_nodes import ROOT, SUPPORT, Node, Nodes, bridge, missing, nodes

sys.path.extend(SUPPORT)
from s3_server import s3_server

PAGE = ROOT / "docs" / "cluster.md"
LEFT = (
    "docker ",
    "kubectl ",
    "ray attach ",
    "ray exec ",
    "ray dashboard ",
    "ray down ",
    "ray up deploy/",
)
PLAN = "spaces: [tiny-image]\ndataset: digits\ntrials: 4\nset: {size: 8}\n"
PATIENCE = 600
"""Seconds for a command: the machine may be busy."""


def commands(page: str) -> list[str]:
    """Every line of a page's code blocks."""
    return [
        line
        for block in re.findall(r"^```\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]


def place(scratch: Path) -> Path:
    """A folder as the page takes it: this repository's files, and a plan; with a home in which
    there is an SSH key.
    """
    folder = scratch / "typed"
    key = folder / "home" / ".ssh" / "id_ed25519"
    key.parent.mkdir(parents=True)
    key.touch(0o600)  # deploy/onpremise.yaml names it
    for name in ("cluster.yaml", "deploy", "plans"):
        (folder / name).symlink_to(ROOT / name)
    (folder / "plan.yaml").write_text(PLAN)
    return folder


def typed(node: Node, command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command in a shell of the node, with a home of its own; Ray's commands get no
    credentials.
    """
    environment = dict(node.environment) | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(folder / "home"),
    }
    if command.startswith(("ray ", "chmod ")):
        environment = {
            name: value
            for name, value in environment.items()
            if not name.startswith(("AWS_", "RAY_"))
        }
        environment["AWS_EC2_METADATA_DISABLED"] = "true"
    return subprocess.run(
        node.inside("bash", "-c", command),
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=PATIENCE, check=False,
    )  # fmt: skip


def type_all(there: Nodes) -> bool:
    folder, run, good = place(there.scratch), "", True
    for line in commands(PAGE.read_text()):
        if line.startswith(LEFT):
            print(f"left {line}", flush=True)
            continue
        done = typed(there.head, re.sub(r"\bRUN\b", run, line), folder)
        said = done.stdout + done.stderr
        if named := re.search(r"visiontune export (\S+) ", said):
            run = named[1]
        holds = "NoCredentialsError" in said if line.startswith("ray up ") else done.returncode == 0
        good &= say(line, holds)
        if not holds:
            print(said[-3000:], flush=True)
    return good


def main() -> int:
    if reason := missing():
        print(f"skipped: {reason}")
        return SKIPPED
    with (
        bridge() as address,
        s3_server(address) as environment,
        nodes(environment, job_server=True) as there,
    ):
        for number in (11, 12):
            there.add(number)
        return 0 if type_all(there) else 1


if __name__ == "__main__":
    sys.exit(main())
